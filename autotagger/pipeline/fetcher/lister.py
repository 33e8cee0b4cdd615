"""Listing the library for the ledger: the sweep, which sees everything, and the poll, which sees what is new."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeVar

from loguru import logger

from autotagger.immich.arrivals import arrived, extracted
from autotagger.immich.client import ImmichClient
from autotagger.immich.searches import Narrowing, search_body, totals
from autotagger.immich.sweep import KINDS, sweep
from autotagger.immich.types import Asset, Server
from autotagger.ledger.rows import ListedAsset
from autotagger.pipeline.convert import listed_asset
from autotagger.pipeline.fetcher.sieve import sieve_of, within_of
from autotagger.pipeline.ipc.messages import Listed, Polled, Swept
from autotagger.pipeline.selecting import look_up
from autotagger.selection.rules import Rules
from autotagger.settings import Settings

#: Assets in one message of the listing: some 40 KB, and under a channel's message limit whatever Immich says.
LISTED_AT_ONCE = 100
#: A poll begins so long before the newest asset known: uploads become visible in another order than they came.
OVERLAP_MS = 5 * 60_000
#: An asset that Immich took in so long ago is tagged whether or not its metadata was ever read: Immich is done
#: with 100,000 uploads in hours (docs/immich.md), and a file that cannot be read never gets any.
YOUNG_MS = 7 * 86_400_000

T = TypeVar("T")


class Lister:
    """Lists one account's library. `note`: hands a part to the ledger and waits until it is there; `now_ms`: our
    clock, which decides nothing but what counts as young; `account`: the ledger's id of it,
    `name` as the settings have it."""

    def __init__(
        self,
        client: ImmichClient,
        server: Server,
        settings: Settings,
        *,
        note: Callable[[Listed], Awaitable[None]],
        now_ms: Callable[[], int],
        account: int = 1,
        name: str = "",
    ) -> None:
        self.account = account
        self._client = client
        self._server = server
        self._settings = settings
        self._select = settings.selected_by(name)
        self._rules: Rules | None = None
        self._note = note
        self._now_ms = now_ms
        self._polled_unreadable = 0

    async def sweep(self, number: int) -> Swept:
        """List what is selected, as the ledger's sweep `number`, and what else the searches bring. Raises
        Retryable, and Fatal where a name of [select] is gone."""
        select = self._select
        rules = self._rules = await look_up(self._client, self._server, select)
        view = await self._view(self._now_ms() - YOUNG_MS, within_of(rules), floor_ms=0)
        sieve = await sieve_of(self._client, rules, select.visibilities, check=True)
        listed = kept_in_all = unreadable = 0
        async for part in sweep(
            self._client,
            self._server,
            marker=self._settings.marker,
            types=select.types,
            visibilities=select.visibilities,
            within=sieve.within,
        ):
            kept, others = sieve.split(part.assets)
            marked, left = sieve.split(part.marked)
            await self._tell(view, kept, others, sweep=number)
            await self._tell(view, (), self._own(left), marked=marked, sweep=number)
            listed += len(kept)
            kept_in_all += len(kept) + len(marked)
            unreadable += part.unreadable
        self._tell_unreadable(unreadable)
        left_out = await self._left_out(kept_in_all) if sieve.plan.narrow else None
        poll_from_ms = view.poll_from(self._now_ms())
        return Swept(listed, number, poll_from_ms, unreadable, {self.account: left_out})

    async def poll(self, after_ms: int) -> Polled:
        """List what Immich took in after `after_ms`, its own clock. Raises as `sweep`."""
        select = self._select
        rules = self._rules = self._rules or await look_up(self._client, self._server, select)
        view = await self._view(after_ms, within_of(rules), floor_ms=after_ms)
        sieve = await sieve_of(self._client, rules, select.visibilities, created_after_ms=after_ms, check=False)
        unreadable = 0
        async for part in arrived(
            self._client,
            self._server,
            after_ms=after_ms,
            types=select.types,
            visibilities=select.visibilities,
            within=sieve.within,
        ):
            await self._tell(view, *sieve.split(part.assets))
            unreadable += part.unreadable
        if unreadable != self._polled_unreadable:  # the same ones are in every poll of the next minutes
            self._tell_unreadable(unreadable)
        self._polled_unreadable = unreadable
        return Polled(view.poll_from(self._now_ms()), unreadable)

    def _tell_unreadable(self, count: int) -> None:
        if count:
            logger.warning("{} items of the library could not be read and are left out", count)

    async def _tell(
        self,
        view: "_View",
        kept: Sequence[Asset],
        others: Sequence[Asset],
        *,
        marked: Sequence[Asset] = (),
        sweep: int = 0,
    ) -> None:
        """Hand on what was listed, in parts."""
        for some in _chunks(kept):
            await self._note(Listed(tuple(map(view.told, some)), (), sweep=sweep, account=self.account))
        for some in _chunks(marked):
            await self._note(Listed((), tuple(map(view.told, some)), sweep=sweep, account=self.account))
        for some in _chunks(others):
            left = tuple(map(view.told, some))
            await self._note(Listed((), (), sweep=sweep, account=self.account, unselected=left))

    def _own(self, assets: Iterable[Asset]) -> list[Asset]:
        return [asset for asset in assets if self._server.user_id in (None, asset.owner_id)]

    async def _left_out(self, kept: int) -> int | None:
        """How many assets of the library are not selected; partners' that Immich shows here count, too."""
        if not self._server.may("asset.statistics"):
            return None
        filters = bool(self._client.filters)
        kinds = [KINDS[name] for name in dict.fromkeys(self._select.types)]
        bodies = [
            search_body(filters=filters, visibility=visibility, kind=kind)
            for visibility in self._select.visibilities
            for kind in (kinds if len(kinds) == 1 else [None])
        ]
        return max(0, sum([await self._client.total(totals(body)) for body in bodies]) - kept)

    async def _view(self, after_ms: int, within: Sequence[Narrowing], *, floor_ms: int) -> "_View":
        visibilities = self._select.visibilities
        # Before the listing: what is uploaded in between counts as not ready, never the other way round.
        ready = await extracted(self._client, after_ms=after_ms, visibilities=visibilities, within=within)
        return _View(ready, young_ms=max(after_ms, self._now_ms() - YOUNG_MS), floor_ms=floor_ms)


class _View:
    """What a listing saw. `ready`: those of the assets taken in after `young_ms` that are ready. `floor_ms`: the
    next poll begins no earlier."""

    def __init__(self, ready: set[str], *, young_ms: int, floor_ms: int) -> None:
        self._ready = ready
        self._young_ms = young_ms
        self._floor_ms = floor_ms
        self._newest_ms = 0
        self._oldest_unready_ms: int | None = None

    def told(self, asset: Asset) -> ListedAsset:
        ready = asset.created_ms <= self._young_ms or asset.id in self._ready
        self._newest_ms = max(self._newest_ms, asset.created_ms)
        if not ready:
            self._oldest_unready_ms = min(self._oldest_unready_ms or asset.created_ms, asset.created_ms)
        return listed_asset(asset, ready=ready)

    def poll_from(self, now_ms: int) -> int:
        """Where the next poll begins: before the newest asset, and before all that was not ready yet. An asset
        from the future, of a clock that was wrong, must not hide those of today."""
        newest = max(min(self._newest_ms, now_ms) - OVERLAP_MS, self._floor_ms)
        return newest if self._oldest_unready_ms is None else min(newest, self._oldest_unready_ms - 1)


def _chunks(items: Sequence[T]) -> Iterable[Sequence[T]]:
    return (items[start : start + LISTED_AT_ONCE] for start in range(0, len(items), LISTED_AT_ONCE))
