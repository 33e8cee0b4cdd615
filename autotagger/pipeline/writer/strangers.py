"""Markers that we did not set (docs/immich.md, law 14): which of them are copies of ours, and who else sets them.

- Immich's duplicate resolution copies the tags of what goes to the trash, the marker too, onto what is kept. A
  picture that holds all tags of an asset of ours that is gone, and that we did not tag, got them from there: it is
  adopted, its copied tags are ours, and it is decided as any other.
- Every other marked asset that the ledger does not know is left as it is, and told.
- Where assets get the marker that we had listed without it, another autotagger is at work: told, kept in the
  ledger, and from then on nothing that is missing is taken for a person's removal.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from loguru import logger

from autotagger.errors import AssetFailed, AssetGone, Retryable, Unreachable
from autotagger.immich.sweep import tagged
from autotagger.immich.types import Asset, TaggedAsset
from autotagger.ledger.states import State
from autotagger.pipeline.convert import listed_asset
from autotagger.pipeline.writer.account_context import AccountContext

#: Reads under way at once.
READ_AT_ONCE = 25
#: Assets of ours that are looked for when they are missing; more are no duplicates that a person resolved.
MAX_MISSING = 500
#: Assets that are gone among which the source of copied tags is looked for.
MAX_GONE = 5_000
#: What is kept is written within minutes of what goes to the trash, by the database's clock.
COPIED_WITHIN_MS = 600_000
ADVICE = "give each autotagger its own `marker`, or stop one of them"


@dataclass(frozen=True, slots=True)
class Source:
    """An asset of ours that went. `ours`: its tags of ours with their origins; `held`: all that it holds in the
    trash, or the same; `trashed_ms`: when it was written last, None where it is deleted."""

    key: int
    ours: Mapping[str, int]
    held: frozenset[str]
    trashed_ms: int | None = None

    def copied(self, held: frozenset[str], links: Iterable[str]) -> dict[str, int]:
        """Those of its tags that an asset got which holds `held`, and of which the ledger knows `links`."""
        new = held - set(links)
        return {name: origin for name, origin in self.ours.items() if name in new} if self.held <= held else {}


class Strangers:
    """One account's. `expect` says that a sweep is noted, `look` finds out; `survey` is for operations, which list
    nothing."""

    def __init__(self, context: AccountContext) -> None:
        self._context = context
        self._ledger = context.ledger
        self._expected = False
        self._gone: list[int] = []

    def expect(self, gone: Sequence[int] = ()) -> None:
        """A sweep is noted; `gone`: keys of assets that it found to be gone."""
        self._expected = True
        self._gone += gone

    async def look(self) -> bool:
        """Look at what a sweep brought; returns whether there was anything. Raises Unreachable."""
        if not self._expected:
            return False
        sources = await self._sources(self._gone)
        done = await self._adopt_strangers(sources, decide=True)
        done |= await self._adopt_known(sources, decide=True)
        self._expected, self._gone = False, []
        return done

    async def survey(self, *, decide: bool) -> None:
        """The same before an operation, which lists nothing: `decide` False for undo."""
        marked = await self._marked(None)
        if not marked:
            return
        mine = self._ledger.tagged_assets()
        missing = [key for asset_id, key in mine.items() if asset_id not in marked]
        sources = await self._sources(missing if len(missing) <= MAX_MISSING else [])
        known = self._ledger.keys_of(marked)
        if not decide:
            new = [listed_asset(asset) for asset_id, asset in marked.items() if asset_id not in known]
            self._ledger.add_marked([], new)
            await self._adopt_strangers(sources, decide=False)
        await self._adopt_known(sources, decide=decide)

    # -- inside -------------------------------------------------------------------------------------------

    async def _sources(self, keys: Sequence[int]) -> list[Source]:
        """Those of the assets that are in the trash or deleted, as Immich has them, and what was gone before."""
        if len(keys) > MAX_MISSING:
            keys = []
        ids = {key: asset_id for asset_id, key in self._ledger.ids_of(keys).items()}
        read = await self._read([ids[key] for key in keys if key in ids])
        older = [key for key in self._ledger.gone_keys(MAX_GONE) if key not in ids]
        ours = self._ledger.origins_of([*ids, *older])
        found: list[Source] = []
        for key, asset_id in ids.items():
            held = read.get(asset_id)
            if held is None or not held.asset.trashed or not ours[key]:
                continue
            found.append(Source(key, ours[key], held.tags | ours[key].keys(), held.asset.updated_ms))
        deleted = [key for key, asset_id in ids.items() if asset_id in read and read[asset_id] is None]
        found += (Source(key, ours[key], frozenset(ours[key])) for key in (*deleted, *older) if ours[key])
        return found

    async def _adopt_strangers(self, sources: Sequence[Source], *, decide: bool) -> bool:
        """Look at marked assets that we never tagged, and tell of those that are left."""
        left = got_it = 0
        any_at_all = False
        while new := self._ledger.new_strangers(READ_AT_ONCE):
            any_at_all = True
            read = await self._read([one.asset_id for one in new]) if sources else {}
            for one in new:
                held = read.get(one.asset_id)
                copied = self._best(sources, held, ()) if held else {}
                if held and copied:
                    logger.info("asset {} got tags of ours from another one: it is adopted", one.asset_id)
                    self._ledger.adopt(one.key, copied, held.tags - copied.keys(), decide=decide)
                    self._context.count("adopted", 1)
                else:
                    left, got_it = left + 1, got_it + one.got_it
            self._ledger.leave_strangers([one.key for one in new])
        if left > got_it:
            logger.warning(
                "{} assets hold the marker {} and this ledger knows nothing of their tags: they are left as they "
                "are. After the loss of a ledger `autotagger ledger rebuild` takes them over; if another "
                "autotagger sets the same marker, {}",
                *(left - got_it, self._context.marker, ADVICE),
            )
        if got_it:
            contest(self._context)
        return any_at_all

    async def _adopt_known(self, sources: Sequence[Source], *, decide: bool) -> bool:
        """What of ours was written when another asset of ours went to the trash may have got its tags."""
        recent = [source for source in sources if source.trashed_ms is not None]
        if not recent:
            return False
        since_ms = min(source.trashed_ms or 0 for source in recent) - COPIED_WITHIN_MS
        listed = await self._marked(since_ms)
        near = [
            asset
            for asset in listed.values()
            if any(abs(asset.updated_ms - (source.trashed_ms or 0)) <= COPIED_WITHIN_MS for source in recent)
        ]
        known = self._ledger.keys_of(asset.id for asset in near)
        keys = {asset_id: key for asset_id, (key, state) in known.items() if state is State.VERIFIED}
        if len(keys) > MAX_MISSING:
            return False
        links = self._ledger.links_of(list(keys.values()))
        adopted = False
        for asset_id, held in (await self._read(list(keys))).items():
            copied = self._best(recent, held, links[keys[asset_id]]) if held else {}
            if copied:
                adopted = True
                logger.info("asset {} got {} tags of ours from another one", asset_id, len(copied))
                self._ledger.adopt(keys[asset_id], copied, decide=decide)
                self._context.count("adopted", 1)
        return adopted

    @staticmethod
    def _best(sources: Sequence[Source], held: TaggedAsset, links: Iterable[str]) -> dict[str, int]:
        """What was copied from all the sources whose tags it holds: several duplicates may have gone at once."""
        copied: dict[str, int] = {}
        for source in sources:
            copied |= source.copied(held.tags, links)
        return copied

    async def _marked(self, since_ms: int | None) -> dict[str, Asset]:
        marker_id = await self._context.tag_ids.known(self._context.marker)
        found: dict[str, Asset] = {}
        if marker_id is not None:
            async for page in tagged(self._context.client, marker_id, updated_after_ms=since_ms):
                found |= {asset.id: asset for asset in page}
        return found

    async def _read(self, asset_ids: Sequence[str]) -> dict[str, TaggedAsset | None]:
        """What Immich holds of them: None where it is gone; what cannot be read is left out."""
        found: dict[str, TaggedAsset | None] = {}
        for start in range(0, len(asset_ids), READ_AT_ONCE):
            some = asset_ids[start : start + READ_AT_ONCE]
            for asset_id, end in zip(some, await asyncio.gather(*map(self._one, some)), strict=True):
                if end is not False:
                    found[asset_id] = end if isinstance(end, TaggedAsset) else None
        return found

    async def _one(self, asset_id: str) -> TaggedAsset | bool | None:
        try:
            return await self._context.client.asset(asset_id)
        except Unreachable:
            raise
        except AssetGone:
            return None
        except (Retryable, AssetFailed):
            return False


def contest(context: AccountContext) -> None:
    """Another autotagger has been seen."""
    if context.ledger.contest(context.now_ms()):
        logger.warning(
            "another autotagger sets the marker {} in this library: what it tags is left to it, and what goes "
            "missing is not taken for a person's removal; {}",
            *(context.marker, ADVICE),
        )
