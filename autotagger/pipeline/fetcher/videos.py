"""Videos and animations: what of them is downloaded.

A small video is downloaded whole. Of a larger one, ffmpeg reads the index and the key frames that it needs, by way
of byte ranges, and copies these frames (undecoded) into a small file; the inferencers decode. Whatever goes wrong,
Immich's still frame is tagged instead, and a log line says so.
"""

import asyncio
import io
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

from loguru import logger

from autotagger.errors import AssetFailed, AssetGone, AutotaggerError, Retryable, Unreachable
from autotagger.immich.client import ImmichClient
from autotagger.immich.types import Server
from autotagger.ledger.rows import Work
from autotagger.pipeline.ipc.payload import Video
from autotagger.settings import Settings

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

#: Up to this size a video is downloaded whole, in one request.
WHOLE_BYTES = 8 << 20
#: What is read at once of a larger one: a key frame in full HD has some 100 to 400 KB.
BLOCK_BYTES = 1 << 19


class VideoFetcher:
    """Downloads videos, few at a time: `gate` is shared with other large downloads."""

    def __init__(
        self,
        client: ImmichClient,
        settings: Settings,
        server: Server,
        gate: asyncio.Semaphore,
        count: Callable[[str], None],
    ) -> None:
        self._client = client
        self._settings = settings.video
        self._may_download = server.may("asset.download")
        self._gate = gate
        self._count = count
        self._told = False

    async def fetch(self, work: Work) -> Video | None:
        """The video, or None where the still frame has to do (which is logged).

        Raises AssetGone and Unreachable.
        """
        if work.kind != "VIDEO" and not self._may_download:
            self._tell_once(work)
            return None
        failure: str
        try:
            async with self._gate, asyncio.timeout(self._settings.timeout_s):
                video = await (self._video(work) if work.kind == "VIDEO" else self._animation(work))
        except (AssetGone, Unreachable):
            raise
        except (AssetFailed, Retryable) as error:
            failure = error.message
        except TimeoutError:
            failure = f"it did not arrive within {self._settings.timeout_s:.0f} s"
        else:
            self._count("film_downloads")
            return video
        logger.warning("{}: {}; its still frame is tagged instead", work.file_name, failure)
        self._count("still_frames")
        return None

    def _tell_once(self, work: Work) -> None:
        self._count("still_frames")
        if not self._told:
            self._told = True
            logger.warning(
                "{} is an animation: its still frame is tagged. "
                "Add asset.download to the API key to tag animations by all their frames",
                work.file_name,
            )

    async def _animation(self, work: Work) -> Video:
        return Video((await self._client.picture(work.asset_id, "original")).body)

    async def _video(self, work: Work) -> Video:
        most = self._settings.max_bytes
        first = await self._client.playback(work.asset_id, 0, min(WHOLE_BYTES, most), max_bytes=most)
        if len(first.body) == first.total:
            return Video(first.body)
        # Only here, so that a fetcher which never meets a large video does not load ffmpeg.
        from autotagger.tagger.video import excerpt

        remote = RemoteFile(asyncio.get_running_loop(), self._client, work.asset_id, first.body, first.total, most)
        try:
            return Video(await asyncio.to_thread(excerpt, remote, self._settings.frames), excerpt=True)
        except AssetFailed as error:
            raise remote.failure or error from None
        finally:
            remote.give_up()


class RemoteFile(io.RawIOBase):
    """A video in Immich as a file that can be read and sought in, from another thread than the client's.

    At most `max_bytes` are downloaded. What went wrong is `failure`; to the reader it is an OSError.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        client: ImmichClient,
        asset_id: str,
        head: bytes,
        total: int,
        max_bytes: int,
    ) -> None:
        super().__init__()
        self.failure: AutotaggerError | None = None
        self._loop, self._client, self._asset_id = loop, client, asset_id
        self._blocks: dict[int, bytes] = {
            start // BLOCK_BYTES: head[start : start + BLOCK_BYTES]
            for start in range(0, len(head) - BLOCK_BYTES + 1, BLOCK_BYTES)
        }
        self._total = total
        self._left = max_bytes - len(head)
        self._place = 0
        self._over = False

    def give_up(self) -> None:
        """Let the next read fail: nobody waits for it any more."""
        self._over = True

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._place = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._total}[whence]
        return self._place

    def readinto(self, buffer: "WriteableBuffer") -> int:
        """Read at most to the end of a block: bytes put into `buffer`, 0 at the end of the file."""
        view = memoryview(buffer).cast("B")
        if self._place >= self._total or not len(view):
            return 0
        number, offset = divmod(self._place, BLOCK_BYTES)
        piece = self._block(number)[offset : offset + len(view)]
        view[: len(piece)] = piece
        self._place += len(piece)
        return len(piece)

    def _block(self, number: int) -> bytes:
        if number not in self._blocks:
            start = number * BLOCK_BYTES
            length = min(BLOCK_BYTES, self._total - start)
            if length > self._left:
                self._fail(AssetFailed("its key frames lie too far apart for [video] max_bytes", kind="too-large"))
            self._left -= length
            self._blocks[number] = self._download(start, length)
        return self._blocks[number]

    def _download(self, start: int, length: int) -> bytes:
        if self._over:
            raise OSError("nobody waits for it any more")
        call = self._client.playback(self._asset_id, start, length, max_bytes=length)
        try:
            part = asyncio.run_coroutine_threadsafe(call, self._loop).result()
        except (AssetFailed, Retryable) as error:
            self._fail(error)
        if part.start != start or len(part.body) != length:
            self._fail(Retryable("the video changed while it was read", kind="playback"))
        return part.body

    def _fail(self, error: AutotaggerError) -> NoReturn:
        self.failure = error
        raise OSError(error.message)
