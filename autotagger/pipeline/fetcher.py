"""The fetcher: lists the library and downloads pictures into shared-memory slots."""

import asyncio
import io
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

from loguru import logger
from PIL import Image

from autotagger.errors import AssetFailed, Retryable
from autotagger.immich.client import ImmichClient
from autotagger.immich.sweep import sweep
from autotagger.immich.types import Asset, PictureSize
from autotagger.ledger.rows import ListedAsset, Work
from autotagger.pipeline.channel import Channel
from autotagger.pipeline.child import AsyncChild, ChildSpec, run_async_child, trouble_of
from autotagger.pipeline.films import FilmFetcher, pack_film
from autotagger.pipeline.messages import Failed, Fetch, Fetched, Listed, Noted, Outage, Ready, Sweep, Swept
from autotagger.pipeline.slots import SlotMemory

#: Assets in one message of the listing: some 30 KB, and under a channel's message limit whatever Immich says.
LISTED_AT_ONCE = 100
#: Characters kept of a file name (which is for messages only) and of what should be ids and other short words.
MOST_NAME, MOST_WORD = 255, 64
#: Originals can be hundreds of times larger than previews: few at a time, so that memory stays bounded.
ORIGINALS_AT_ONCE = 2
#: Sources that can be transparent, which Immich's JPEG preview flattens to black while taggers want white.
MAY_BE_TRANSPARENT = frozenset({"image/png", "image/webp", "image/gif", "image/apng", "image/avif"})
#: Originals that every Pillow decodes; of others (HEIC, RAW, video) the preview is taken.
DECODABLE = frozenset({"image/jpeg", "image/png", "image/webp", "image/gif", "image/bmp", "image/tiff"})

T = TypeVar("T")


def fetcher_main(channel: Channel, spec: ChildSpec, memory: SlotMemory) -> None:
    """Entry point of the fetcher process."""

    async def main(channel: Channel, spec: ChildSpec) -> None:
        async with ImmichClient(spec.settings.immich, spec.key) as client, asyncio.TaskGroup() as tasks:
            Fetcher(channel, spec, memory, client, tasks).start()

    run_async_child(channel, spec, "fetcher", main)


class Fetcher:
    """Does what the supervisor says: `Sweep` or `Fetch`."""

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
        self._sweep: asyncio.Task[None] | None = None
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
            case Sweep():
                if self._sweep:
                    self._sweep.cancel()
                self._sweep = self._begin(self._list_library())
            case Noted():
                self._noted.set()

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None] | None:
        try:
            return self._tasks.create_task(work)
        except RuntimeError:  # one of the tasks has ended the run, and its reason is on its way
            work.close()
            return None

    # -- discover -----------------------------------------------------------------------------------------

    async def _list_library(self) -> None:
        settings, listed = self._spec.settings, 0
        try:
            async for part in sweep(
                self._client,
                self._spec.server,
                marker=settings.marker,
                types=settings.immich.types,
                visibilities=settings.immich.visibilities,
            ):
                for assets in _chunks(part.assets):
                    await self._note(Listed(tuple(_listed(asset) for asset in assets), ()))
                    listed += len(assets)
                for marked in _chunks(part.marked):
                    await self._note(Listed((), tuple(marked)))
        except Retryable as error:
            self._child.send(Outage(f"listing the library: {error.message}"))
        else:
            self._child.send(Swept(listed))

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


def _chunks(items: tuple[T, ...]) -> Iterable[tuple[T, ...]]:
    return (items[start : start + LISTED_AT_ONCE] for start in range(0, len(items), LISTED_AT_ONCE))


def _listed(asset: Asset) -> ListedAsset:
    return ListedAsset(
        asset_id=asset.id,
        owner_id=asset.owner_id[:MOST_WORD],
        library_id=(asset.library_id or "")[:MOST_WORD],
        kind="ANIMATION" if asset.kind == "IMAGE" and asset.duration_ms else asset.kind,
        mime=asset.mime and asset.mime[:MOST_WORD],
        file_name=asset.file_name[:MOST_NAME],
        checksum=asset.checksum[:MOST_WORD],
        updated_ms=asset.updated_ms,
    )
