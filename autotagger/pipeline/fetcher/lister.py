"""Listing the library for the ledger: the sweep, which sees everything, and the poll, which sees what is new."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeVar

from loguru import logger

from autotagger.immich.arrivals import arrived, extracted
from autotagger.immich.client import ImmichClient
from autotagger.immich.sweep import sweep
from autotagger.immich.types import Asset, Server
from autotagger.ledger.rows import ListedAsset
from autotagger.pipeline.convert import listed_asset
from autotagger.pipeline.ipc.messages import Listed, Polled, Swept
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
    clock, which decides nothing but what counts as young; `account`: the ledger's id of it."""

    def __init__(
        self,
        client: ImmichClient,
        server: Server,
        settings: Settings,
        *,
        note: Callable[[Listed], Awaitable[None]],
        now_ms: Callable[[], int],
        account: int = 1,
    ) -> None:
        self.account = account
        self._client = client
        self._server = server
        self._settings = settings
        self._note = note
        self._now_ms = now_ms
        self._polled_unreadable = 0

    async def sweep(self, number: int) -> Swept:
        """List everything, as the ledger's sweep `number`. Raises Retryable."""
        immich = self._settings.immich
        view = await self._view(self._now_ms() - YOUNG_MS, floor_ms=0)
        listed = unreadable = 0
        async for part in sweep(
            self._client,
            self._server,
            marker=self._settings.marker,
            types=immich.types,
            visibilities=immich.visibilities,
        ):
            for assets in _chunks(part.assets):
                await self._note(Listed(tuple(map(view.told, assets)), (), sweep=number, account=self.account))
                listed += len(assets)
            for marked in _chunks(part.marked):
                await self._note(Listed((), tuple(map(view.told, marked)), sweep=number, account=self.account))
            unreadable += part.unreadable
        self._tell_unreadable(unreadable)
        return Swept(listed, number, view.poll_from(self._now_ms()), unreadable)

    async def poll(self, after_ms: int) -> Polled:
        """List what Immich took in after `after_ms`, its own clock. Raises Retryable."""
        immich = self._settings.immich
        view = await self._view(after_ms, floor_ms=after_ms)
        unreadable = 0
        async for part in arrived(
            self._client, self._server, after_ms=after_ms, types=immich.types, visibilities=immich.visibilities
        ):
            for some in _chunks(part.assets):
                await self._note(Listed(tuple(map(view.told, some)), (), account=self.account))
            unreadable += part.unreadable
        if unreadable != self._polled_unreadable:  # the same ones are in every poll of the next minutes
            self._tell_unreadable(unreadable)
        self._polled_unreadable = unreadable
        return Polled(view.poll_from(self._now_ms()), unreadable)

    def _tell_unreadable(self, count: int) -> None:
        if count:
            logger.warning("{} items of the library could not be read and are left out", count)

    async def _view(self, after_ms: int, *, floor_ms: int) -> "_View":
        visibilities = self._settings.immich.visibilities
        # Before the listing: what is uploaded in between counts as not ready, never the other way round.
        ready = await extracted(self._client, after_ms=after_ms, visibilities=visibilities)
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
