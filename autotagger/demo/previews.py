"""Previews and thumbnails as Immich makes them, rendered when first asked for and kept in bounded memory.

Measured on real servers: preview is a JPEG of quality 80 whose short side is at most 1440, never enlarged, with
EXIF rotation applied and transparency flattened to black; the thumbnail is a WebP of at most 250 that keeps alpha.
"""

import asyncio
import io
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from PIL import Image, ImageOps

from autotagger.demo.files import encode
from autotagger.demo.library import Media

PREVIEW_SHORT_SIDE = 1440
THUMBNAIL_SHORT_SIDE = 250
QUALITY = 80
WEBP_LONGEST_SIDE = 16_383
CACHE_BYTES = 64 << 20


def preview(media: Media) -> bytes:
    """JPEG bytes. Raises OSError (or what Pillow raises) for a file that is not a picture."""
    return encode(_shrunk(_flattened(_opened(media)), PREVIEW_SHORT_SIDE), "JPEG", quality=QUALITY)


def webp_preview(media: Media) -> bytes:
    """The preview of a server whose admin chose WebP for it: alpha is kept then."""
    return _webp(_shrunk(_opened(media), PREVIEW_SHORT_SIDE))


def thumbnail(media: Media) -> bytes:
    """WebP bytes, with alpha where the picture has it."""
    return _webp(_shrunk(_opened(media), THUMBNAIL_SHORT_SIDE))


def truncated(body: bytes) -> bytes:
    """The first half of a file: what a full disk leaves."""
    return body[: len(body) // 2]


class MediaCache:
    """Bytes by content, made on one worker thread; the least recently used go first above `limit_bytes`."""

    def __init__(self, limit_bytes: int = CACHE_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self.held_bytes = 0
        self._bodies: OrderedDict[tuple[str, str], bytes] = OrderedDict()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="stand-in-pictures")

    async def get(self, media: Media, what: str) -> bytes:
        """`what`: preview, webp_preview, thumbnail or original."""
        key = (media.key, what)
        body = self._bodies.get(key)
        if body is None:
            body = await asyncio.get_running_loop().run_in_executor(self._thread, _MAKERS[what], media)
            self._keep(key, body)
        else:
            self._bodies.move_to_end(key)
        return body

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _keep(self, key: tuple[str, str], body: bytes) -> None:
        if key in self._bodies:
            return
        self._bodies[key] = body
        self.held_bytes += len(body)
        while self.held_bytes > self._limit_bytes and len(self._bodies) > 1:
            self.held_bytes -= len(self._bodies.popitem(last=False)[1])


def _original(media: Media) -> bytes:
    return media.original()


_MAKERS: dict[str, Callable[[Media], bytes]] = {
    "preview": preview,
    "webp_preview": webp_preview,
    "thumbnail": thumbnail,
    "original": _original,
}


def _webp(picture: Image.Image) -> bytes:
    if max(picture.size) > WEBP_LONGEST_SIDE:
        picture = ImageOps.contain(picture, (WEBP_LONGEST_SIDE, WEBP_LONGEST_SIDE))
    return encode(picture, "WEBP", quality=QUALITY)


def _opened(media: Media) -> Image.Image:
    """The picture as seen, first frame, 8 bits a channel, RGB or RGBA."""
    body = media.still() if media.still else media.original()
    with Image.open(io.BytesIO(body)) as picture:
        picture.seek(0)
        upright = ImageOps.exif_transpose(picture)
    if upright.mode.startswith("I"):
        upright = upright.convert("I").point(lambda value: value / 257).convert("L")
    return upright.convert("RGBA" if upright.has_transparency_data else "RGB")


def _flattened(picture: Image.Image) -> Image.Image:
    if picture.mode != "RGBA":
        return picture
    black = Image.new("RGBA", picture.size, (0, 0, 0, 255))
    return Image.alpha_composite(black, picture).convert("RGB")


def _shrunk(picture: Image.Image, short_side: int) -> Image.Image:
    scale = short_side / min(picture.size)
    if scale >= 1.0:
        return picture
    width, height = picture.size
    return picture.resize((round(width * scale), round(height * scale)), Image.Resampling.LANCZOS)
