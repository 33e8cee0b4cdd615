"""The fetcher: lists the library and downloads pictures into shared-memory slots."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

from loguru import logger

from autotagger.errors import AssetFailed, AssetGone, Retryable, ServerRefused, Unreachable
from autotagger.immich.client import ImmichClient
from autotagger.immich.types import PictureSize
from autotagger.ledger.rows import Work
from autotagger.pipeline.child.base import trouble_of, wall_ms
from autotagger.pipeline.child.event_loop import AsyncChild, run_async_child
from autotagger.pipeline.child.spec import ChildSpec
from autotagger.pipeline.clients import clients_of, is_account_s_own
from autotagger.pipeline.fetcher.lister import Lister
from autotagger.pipeline.fetcher.videos import VideoFetcher
from autotagger.pipeline.ipc.channel import Channel
from autotagger.pipeline.ipc.messages import (
    Failed,
    Fetch,
    Fetched,
    Listed,
    Next,
    Noted,
    Outage,
    Poll,
    Polled,
    Ready,
    Refused,
    Sweep,
    Swept,
    Trouble,
)
from autotagger.pipeline.ipc.payload import pack_original, pack_video
from autotagger.pipeline.ipc.slots import SlotMemory

#: Originals can be hundreds of times larger than previews: few at a time, so that memory stays bounded.
ORIGINALS_AT_ONCE = 2
#: Sources that can be transparent, which Immich's JPEG preview flattens to black while taggers want white.
MAY_BE_TRANSPARENT = frozenset({"image/png", "image/webp", "image/gif", "image/apng", "image/avif"})
#: Originals that every Pillow decodes; of others (HEIC, RAW, video) the preview is taken.
DECODABLE = frozenset({"image/jpeg", "image/png", "image/webp", "image/gif", "image/bmp", "image/tiff"})


def fetcher_main(channel: Channel, spec: ChildSpec, memory: SlotMemory) -> None:
    """Entry point of the fetcher process."""

    async def main(channel: Channel, spec: ChildSpec) -> None:
        async with clients_of(spec.settings.immich, spec.accounts) as clients, asyncio.TaskGroup() as tasks:
            Fetcher(channel, spec, memory, clients, tasks).start()

    run_async_child(channel, spec, "fetcher", main)


class Fetcher:
    """Does what the supervisor says: `Sweep`, `Poll` or `Fetch`."""

    def __init__(
        self,
        channel: Channel,
        spec: ChildSpec,
        memory: SlotMemory,
        clients: Mapping[int, ImmichClient],
        tasks: asyncio.TaskGroup,
    ) -> None:
        self._spec = spec
        self._memory = memory
        self._clients = clients
        self._servers = {account.id: account.server for account in spec.accounts}
        self._tasks = tasks
        self._child = AsyncChild(channel, self._handle)
        for client in clients.values():
            client.exchanged = self._child.exchanged
        self._noted = asyncio.Event()
        self._listers = {
            account.id: Lister(
                clients[account.id],
                account.server,
                spec.settings,
                note=self._note,
                now_ms=wall_ms,
                account=account.id,
                name=account.name,
            )
            for account in spec.accounts
        }
        self._poll_from: dict[int, int] = {}
        self._listing: asyncio.Task[None] | None = None
        self._originals = asyncio.Semaphore(ORIGINALS_AT_ONCE)
        self._told_of_flattening = False
        self._videos = {
            account.id: VideoFetcher(
                clients[account.id], spec.settings, account.server, self._originals, self._child.count
            )
            for account in spec.accounts
        }

    def start(self) -> None:
        self._tasks.create_task(self._child.heartbeat())
        self._child.send(Ready(capacity=2 * self._spec.settings.immich.concurrency))

    def _handle(self, message: object) -> None:
        match message:
            case Fetch():
                self._begin(self._fetch(message))
            case Sweep(number):
                self._list(lambda lister: lister.sweep(number))
            case Poll(after_ms):
                self._list(lambda lister: lister.poll(self._poll_from.get(lister.account, after_ms)))
            case Refused(account):
                self._listers.pop(account, None)
            case Noted():
                self._noted.set()

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None] | None:
        """A task for a piece of work; None where another piece has found that the run cannot go on."""
        try:
            return self._tasks.create_task(work)
        except RuntimeError:  # the group has ended, and the connections are being closed
            work.close()
            return None

    # -- discover -----------------------------------------------------------------------------------------

    def _list(self, listing: Callable[[Lister], Awaitable[Swept | Polled]]) -> None:
        if self._listing:
            self._listing.cancel()
        self._listing = self._begin(self._list_all(listing))

    async def _list_all(self, listing: Callable[[Lister], Awaitable[Swept | Polled]]) -> None:
        """List one account's library after the other's. Each account is polled from where it was listed to."""
        ends: list[Swept | Polled] = []
        for lister in list(self._listers.values()):
            try:
                ends.append(end := await listing(lister))
                if len(self._spec.accounts) > 1:
                    self._poll_from[lister.account] = end.poll_from_ms
            except Retryable as error:
                unreachable = isinstance(error, Unreachable)
                self._child.send(Outage(f"listing the library: {error.message}", unreachable))
                return
            except ServerRefused as error:
                self._leave(lister.account, error)
        poll_from_ms = min(end.poll_from_ms for end in ends)
        unreadable = sum(end.unreadable for end in ends)
        swept = [end for end in ends if isinstance(end, Swept)]
        if swept:
            left_out = {account: count for end in swept for account, count in end.left_out.items()}
            listed = sum(end.listed for end in swept)
            self._child.send(Swept(listed, swept[0].number, poll_from_ms, unreadable, left_out))
        else:
            self._child.send(Polled(poll_from_ms, unreadable))

    def _leave(self, account: int, error: ServerRefused) -> None:
        """An account whose key is refused is left alone as long as there is another; else raise `error`."""
        if not is_account_s_own(error) or self._listers.keys() <= {account}:
            raise error
        if self._listers.pop(account, None):
            self._child.send(Refused(account, error.message, error.kind, error.exit_code))

    async def _note(self, part: Listed) -> None:
        """Hand a part of the listing on and wait until it is in the ledger: the writer sets the pace."""
        self._noted.clear()
        self._child.send(part)
        await self._noted.wait()

    # -- download -----------------------------------------------------------------------------------------

    async def _fetch(self, order: Fetch) -> None:
        end: Fetched | Failed
        try:
            body = await self._body(order.work)
            if not body:
                raise Retryable(f"Immich sent no bytes for {order.work.file_name}", kind="empty-picture")
            end = Fetched(order.job, len(body), self._memory.write(order.slot, body))
        except (Retryable, AssetFailed) as error:
            end = Failed(order.job, trouble_of(error))
        except ServerRefused as error:
            self._leave(order.work.account, error)
            end = Failed(order.job, Trouble(Next.PAUSED, error.kind, error.message))
        self._child.flush()
        self._child.send(end)

    async def _body(self, work: Work) -> bytes:
        """What the inferencer gets: a picture, or a video with the still frame to fall back to."""
        if work.kind == "IMAGE" or self._spec.settings.video.frames == 1:
            return await self._picture(work)
        size: PictureSize = "thumbnail" if self._spec.settings.immich.picture == "thumbnail" else "preview"
        still = await self._download(work, size)  # first: without it Immich has not got to the asset yet
        video = await self._videos[work.account].fetch(work)
        if video is None:
            return still if work.kind == "VIDEO" else await self._picture(work)
        return pack_video(work.file_name, video, still)

    async def _picture(self, work: Work) -> bytes:
        """The best picture for a tag model that Immich has of this asset."""
        size = self._spec.settings.immich.picture
        if size == "preview" and await self._is_transparent(work):
            return await self._original(work)
        if size == "original" and work.kind != "VIDEO" and work.mime in DECODABLE:
            return await self._original(work)
        return await self._download(work, "thumbnail" if size == "thumbnail" else "preview")

    async def _is_transparent(self, work: Work) -> bool:
        """Whether the preview lost transparency that the original has and that we may download."""
        if work.kind == "VIDEO" or work.mime not in MAY_BE_TRANSPARENT & DECODABLE:
            return False
        from autotagger.tagger.open_picture import (
            has_transparency,
        )  # for libraries with transparent pictures alone

        if not has_transparency(await self._download(work, "thumbnail")):
            return False
        if self._servers[work.account].may("asset.download"):
            return True
        if not self._told_of_flattening:
            self._told_of_flattening = True
            logger.warning(
                "{} is transparent and its preview is not: it is tagged as if on black. "
                "Add asset.download to the API key to tag such pictures on white",
                work.file_name,
            )
        self._child.count("flattened")
        return False

    async def _original(self, work: Work) -> bytes:
        """The original, with the preview to fall back to when it cannot be decoded; the preview alone when the
        original cannot be had. Raises AssetGone and Unreachable, and what the preview raises."""
        preview = await self._download(work, "preview")
        try:
            async with self._originals:
                return pack_original(work.file_name, await self._download(work, "original"), preview)
        except (AssetGone, Unreachable):
            raise
        except (AssetFailed, Retryable) as error:
            logger.warning("{}: {}; its preview is tagged instead", work.file_name, error.message)
            return preview

    async def _download(self, work: Work, size: PictureSize) -> bytes:
        picture = await self._clients[work.account].picture(work.asset_id, size)
        self._child.count(f"{size}_downloads")
        return picture.body
