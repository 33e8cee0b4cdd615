"""A lost or damaged ledger, written anew from what Immich holds: marked assets, and which of their tags are ours.

It is written beside the old one and takes its place when it is complete; interrupted, it is begun anew.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from loguru import logger

from autotagger import __version__
from autotagger.errors import AssetFailed, AssetGone, Retryable, StartupFailed, Unreachable
from autotagger.immich.client import ImmichClient
from autotagger.immich.sweep import tagged
from autotagger.immich.types import Asset, Server, TaggedAsset
from autotagger.ledger.care import inspect
from autotagger.ledger.database import LedgerLock, told_plainly
from autotagger.ledger.rows import HeldAsset
from autotagger.ledger.writer import LedgerWriter
from autotagger.pipeline.accounts import check_accounts, registered
from autotagger.pipeline.child.base import wall_ms
from autotagger.pipeline.convert import listed_asset
from autotagger.pipeline.decider import TagDecider
from autotagger.pipeline.run import load_model
from autotagger.pipeline.writer.tag_ids import TagIds
from autotagger.settings import Settings

#: What Immich cannot tell, whoever asks.
NOT_KNOWN = (
    "tags that a person added and that the model could add too: they count as autotagger's, and undo removes them",
    "tags of autotagger that the current settings and model cannot produce: they count as a person's",
    "tags that a person removed: retag may add them again",
    "scores (after a change of policy, pictures must be scored again), and which run did what and when",
    "whether autotagger created its tags in Immich: undo leaves them there, empty",
)


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What was found. `unread`: marked assets that Immich did not show; `kept`: where the old ledger is now."""

    assets: int
    ours: int
    others: int
    unread: int
    kept: Path | None


async def rebuild(settings: Settings, *, replace: bool, report: Callable[[int], None]) -> Rebuilt:
    """Write the ledger anew; `report` is told the assets read so far. `replace`: also where it is sound.

    Raises StartupFailed where the ledger is sound and not to be replaced, or a run holds it; ServerRefused and
    Unreachable where Immich is to blame. The old ledger stays as it is until the new one is complete; where a key
    is refused there is none, since it would know nothing of that account.
    """
    path = settings.ledger_path
    if path.exists() and not replace and _is_sound(path):
        raise StartupFailed(f"the ledger {path} is intact; --replace sets it aside anyway", kind="ledger")
    lock = LedgerLock(path)
    try:
        lock.acquire()
        accounts, model = await check_accounts(settings), await load_model(settings)
        for error in accounts.refused.values():
            raise error
        fresh = path.with_name(f"{path.stem}.rebuilding{path.suffix}")
        _remove(fresh)
        with LedgerWriter(fresh) as ledger:
            run = ledger.run = ledger.start_run(__version__, wall_ms())
            decider = TagDecider.of_run(ledger, model, settings, run)
            found = Rebuilt(0, 0, 0, 0, None)
            for account in registered(accounts.accounts, ledger):
                async with ImmichClient(settings.immich, account.key) as client:
                    mine = ledger.of_account(account.id)
                    part = await _Rebuild(mine, client, account.server, settings, decider).all(report)
                found = _sum(found, part)
            ledger.end_run(run, {"rebuilt": found.assets}, wall_ms())
        kept = _put_aside(path)
        fresh.rename(path)
    finally:
        lock.release()
    return Rebuilt(found.assets, found.ours, found.others, found.unread, kept)


def _sum(one: Rebuilt, other: Rebuilt) -> Rebuilt:
    return Rebuilt(
        one.assets + other.assets,
        one.ours + other.ours,
        one.others + other.others,
        one.unread + other.unread,
        None,
    )


class _Rebuild:
    def __init__(
        self, ledger: LedgerWriter, client: ImmichClient, server: Server, settings: Settings, decider: TagDecider
    ) -> None:
        self._ledger = ledger
        self._client = client
        self._user_id = server.user_id
        self._marker = settings.marker
        self._at_once = settings.immich.concurrency
        self._origin = decider.origin
        self._possible = decider.policy.possible | {settings.marker}

    async def all(self, report: Callable[[int], None]) -> Rebuilt:
        """Read every marked asset into the ledger; `report` is told how many so far. Returns the counts."""
        marker_id = await TagIds(self._client).known(self._marker)
        assets = ours = others = unread = 0
        used: set[str] = set()
        if marker_id is None:
            return Rebuilt(0, 0, 0, 0, None)
        async for page in tagged(self._client, marker_id):
            mine = [asset for asset in page if self._user_id in (None, asset.owner_id)]
            for start in range(0, len(mine), self._at_once):
                chunk = mine[start : start + self._at_once]
                read = [one for one in await asyncio.gather(*map(self._read, chunk)) if one]
                unread += len(chunk) - len(read)
                for held in self._record(read):
                    assets, ours, others = assets + 1, ours + len(held.ours), others + len(held.others)
                    used |= held.ours
                report(assets)
        for name in sorted(used):
            self._ledger.record_known(name, [], ours=name == self._marker)
        self._ledger.open_all_collections(wall_ms())
        return Rebuilt(assets, ours, others, unread, None)

    async def _read(self, asset: Asset) -> TaggedAsset | None:
        try:
            return await self._client.asset(asset.id)
        except Unreachable:
            raise
        except AssetGone:  # deleted meanwhile: nothing to know of it
            return None
        except (Retryable, AssetFailed) as error:
            logger.warning("asset {} is skipped: {}", asset.id, error.message)
            return None

    def _record(self, read: Sequence[TaggedAsset]) -> list[HeldAsset]:
        held = [
            HeldAsset(one.asset.id, one.tags & self._possible, one.tags - self._possible)
            for one in read
            if self._marker in one.tags
        ]
        marked = {one.asset_id for one in held}
        with self._ledger.batch():
            self._ledger.add_listed([listed_asset(one.asset) for one in read if one.asset.id in marked])
            self._ledger.record_held(held, self._origin)
        return held


def _is_sound(path: Path) -> bool:
    try:
        return not inspect(path)
    except StartupFailed:
        return False


def _put_aside(path: Path) -> Path | None:
    """Keep the old ledger under another name, with what SQLite has beside it."""
    if not path.exists():
        _remove(path)
        return None
    kept = path.with_name(f"{path.name}.old-{time.time_ns() // 1_000_000_000}")
    with told_plainly(path):
        for suffix in ("-wal", "-shm"):
            beside = path.with_name(path.name + suffix)
            if beside.exists():
                beside.rename(kept.with_name(kept.name + suffix))
        path.rename(kept)
    return kept


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
