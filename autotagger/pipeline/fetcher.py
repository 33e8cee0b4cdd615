"""The fetcher: lists the library and downloads pictures into shared-memory slots."""

import asyncio
import io
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from loguru import logger
from PIL import Image

from autotagger.errors import AssetFailed, Retryable
from autotagger.immich.client import ImmichClient
from autotagger.immich.types import PictureSize
from autotagger.ledger.rows import Work
from autotagger.pipeline.channel import Channel
from autotagger.pipeline.child import AsyncChild, ChildSpec, run_async_child, trouble_of, wall_ms
from autotagger.pipeline.films import FilmFetcher, pack_film
from autotagger.pipeline.lister import Lister
from autotagger.pipeline.messages import (
    Failed,
    Fetch,
    Fetched,
    Listed,
    Noted,
    Outage,
    Poll,
    Polled,
    Ready,
    Sweep,
    Swept,
)
from autotagger.pipeline.slots import SlotMemory

#: Originals can be hundreds of times larger than previews: few at a time, so that memory stays bounded.
ORIGINALS_AT_ONCE = 2
#: Sources that can be transparent, which Immich's JPEG preview flattens to black while taggers want white.
MAY_BE_TRANSPARENT = frozenset({"image/png", "image/webp", "image/gif", "image/apng", "image/avif"})
#: Originals that every Pillow decodes; of others (HEIC, RAW, video) the preview is taken.
DECODABLE = frozenset({"image/jpeg", "image/png", "image/webp", "image/gif", "image/bmp", "image/tiff"})


def fetcher_main(channel: Channel, spec: ChildSpec, memory: SlotMemory) -> None:
    """Entry point of the fetcher process."""

    async def main(channel: Channel, spec: ChildSpec) -> None:
        async with ImmichClient(spec.settings.immich, spec.key) as client, asyncio.TaskGroup() as tasks:
            Fetcher(channel, spec, memory, client, tasks).start()

    run_async_child(channel, spec, "fetcher", main)


class Fetcher:
    """Does what the supervisor says: `Sweep`, `Poll` or `Fetch`."""

    def __init__(
        self,
        channel: Channel,
        spec: ChildSpec,
        memory: SlotMemory,
        client: ImmichClient,
        tasks: asyncio.TaskGroup,
    ) -> None:
        self._spec = spec
        self._memory = memory
        self._client = client
        self._tasks = tasks
        self._child = AsyncChild(channel, self._handle)
        client.exchanged = self._child.exchanged
        self._noted = asyncio.Event()
        self._lister = Lister(client, spec.server, spec.settings, note=self._note, now_ms=wall_ms)
        self._listing: asyncio.Task[None] | None = None
        self._originals = asyncio.Semaphore(ORIGINALS_AT_ONCE)
        self._told_of_flattening = False
        self._films = FilmFetcher(client, spec.settings, spec.server, self._originals, self._child.count)

    def start(self) -> None:
        self._tasks.create_task(self._child.beat())
        self._child.send(Ready(capacity=2 * self._spec.settings.immich.concurrency))

    def _handle(self, message: object) -> None:
        match message:
            case Fetch():
                self._begin(self._fetch(message))
            case Sweep(number):
                self._list(lambda: self._lister.sweep(number))
            case Poll(after_ms):
                self._list(lambda: self._lister.poll(after_ms))
            case Noted():
                self._noted.set()

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None] | None:
        try:
            return self._tasks.create_task(work)
        except RuntimeError:  # one of the tasks has ended the run, and its reason is on its way
            work.close()
            return None

    # -- discover -----------------------------------------------------------------------------------------

    def _list(self, listing: Callable[[], Awaitable[Swept | Polled]]) -> None:
        if self._listing:
            self._listing.cancel()
        self._listing = self._begin(self._report(listing))

    async def _report(self, listing: Callable[[], Awaitable[Swept | Polled]]) -> None:
        try:
            self._child.send(await listing())
        except Retryable as error:
            self._child.send(Outage(f"listing the library: {error.message}"))

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
            end = Fetched(order.flight, len(body), self._memory.write(order.slot, body))
        except (Retryable, AssetFailed) as error:
            end = Failed(order.flight, trouble_of(error))
        self._child.flush()
        self._child.send(end)

    async def _body(self, work: Work) -> bytes:
        """What the inferencer gets: a picture, or a film with the still frame to fall back to."""
        if work.kind == "IMAGE" or self._spec.settings.video.frames == 1:
            return await self._picture(work)
        size: PictureSize = "thumbnail" if self._spec.settings.immich.picture == "thumbnail" else "preview"
        still = await self._download(work, size)  # first: without it Immich has not got to the asset yet
        film = await self._films.fetch(work)
        if film is None:
            return still if work.kind == "VIDEO" else await self._picture(work)
        return pack_film(work.file_name, film, still)

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
        if not has_transparency(await self._download(work, "thumbnail")):
            return False
        if self._spec.server.may("asset.download"):
            return True
        if not self._told_of_flattening:
            self._told_of_flattening = True
            logger.warning(
                "{} is transparent and its preview is not: it is tagged as if on black. "
                "Give the API key asset.download to have such pictures tagged on white",
                work.file_name,
            )
        self._child.count("flattened")
        return False

    async def _original(self, work: Work) -> bytes:
        try:
            async with self._originals:
                return await self._download(work, "original")
        except AssetFailed as error:
            if error.kind != "too-large":
                raise
            logger.warning("{}: {}; its preview is tagged instead", work.file_name, error.message)
            return await self._download(work, "preview")

    async def _download(self, work: Work, size: PictureSize) -> bytes:
        picture = await self._client.picture(work.asset_id, size)
        self._child.count(f"{size}_downloads")
        return picture.body


def has_transparency(thumbnail: bytes) -> bool:
    """Whether a thumbnail has a pixel that is not opaque. One that cannot be read has none that we know of."""
    try:
        with Image.open(io.BytesIO(thumbnail)) as image:
            if not image.has_transparency_data:
                return False
            alpha = image.convert("RGBA").getchannel("A")
            return alpha.histogram()[255] < alpha.width * alpha.height
    except Exception:  # Pillow raises nearly anything on broken bytes
        return False
