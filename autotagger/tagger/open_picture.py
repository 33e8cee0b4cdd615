"""Opening a picture that a stranger made: whatever opens one, opens it here.

Pillow reads much more of a file than its pixels, some of it into any amount of memory or time: EXIF tags that
share one value, comments that are put together piece by piece, text that unpacks to gigabytes. Nothing of it is
needed here but the orientation. So the parts around the pixels are walked first, without a look into them; what is
beyond its bound is left out, where the picture can do without, or else the file is refused.
"""

import io
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

from autotagger.errors import AssetFailed

#: What Pillow itself calls a decompression bomb. Decoded it is 716 MB; a 100-megapixel camera stays below.
MAX_PIXELS = 178_956_970
#: Longer sides cost time without end for a strip that is one sample wide. JPEG ends at 65,535.
MAX_SIDE = 100_000
#: Of a thumbnail, which is looked at whole in the process that downloads: Immich makes them of 250 pixels a side.
MAX_THUMBNAIL_PIXELS = 16 << 20
#: Bytes of a comment, a text, a colour profile or the EXIF block, unpacked, and of all of them together.
MAX_EXTRA_BYTES, MAX_EXTRAS_BYTES = 1 << 20, 8 << 20
#: Pieces (chunks, segments, blocks) of a file, and frames of an animation: more take minutes to walk through.
MAX_PIECES, MAX_FRAMES = 100_000, 10_000
#: Entries of a directory of tags. TIFF has some 100 tags, cameras use up to 200 of their own.
MAX_TAGS = 4096

#: Raster formats that Pillow decodes by itself. Not among them: those that start a program (EPS) or draw (WMF).
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "MPO", "PPM", "AVIF", "JPEG2000", "TGA", "ICO")
#: Bytes of a value of each type of TIFF.
_TYPE_BYTES = {
    1: 1,
    2: 1,
    3: 2,
    4: 4,
    5: 8,
    6: 1,
    7: 1,
    8: 2,
    9: 4,
    10: 8,
    11: 4,
    12: 8,
    13: 4,
    16: 8,
    17: 8,
    18: 8,
}
_PNG, _EXIF = b"\x89PNG\r\n\x1a\n", b"Exif\x00\x00"
#: Scans that libjpeg divides a progressive JPEG into, by its mode. The last one only adds the finest grain: where
#: that has begun, every part of the picture is there.
_SCANS = {"L": 6, "RGB": 10}

# Our limit is checked before decoding, and an odd palette or EXIF block is not worth a line on stderr.
Image.MAX_IMAGE_PIXELS = None
warnings.filterwarnings("ignore", module=r"PIL\.")


def open_picture(file: BinaryIO, *, max_pixels: int = MAX_PIXELS, all_frames: bool = False) -> Image.Image:
    """Recognise a picture, bound what is around its pixels, and check its size; no pixel is decoded yet.

    `file`: at its beginning; a picture is read whole, of other files only the first bytes.
    `all_frames`: the frames after the first one will be asked for too.

    Raises AssetFailed: `not-a-picture`, `too-many-pixels`, `broken-picture`.
    """
    try:
        image = Image.open(_guarded(file, all_frames=all_frames), formats=_formats())
    except UnidentifiedImageError:
        size = file.seek(0, io.SEEK_END)
        raise AssetFailed(f"not a picture: {size} bytes of no known format", kind="not-a-picture") from None
    except (AssetFailed, MemoryError):
        raise
    except Exception as error:
        raise broken_picture(error) from None
    check_size(image.size, max_pixels)
    _bound_exif(image)
    return image


def decoded(
    body: bytes | memoryview, *, max_pixels: int = MAX_PIXELS, shrink: Callable[[Image.Image], None] | None = None
) -> Image.Image:
    """A picture with its pixels; a JPEG may lack its last bytes. `shrink` prepares the decoder. Raises AssetFailed
    as `open_picture`."""
    file = io.BytesIO(body)
    try:
        return _loaded(file, max_pixels, shrink)
    except AssetFailed as error:
        if error.kind != "broken-picture" or bytes(body[:2]) != b"\xff\xd8":
            raise
        # With the mark of its end, libjpeg makes grey of what is missing.
        image = _loaded(io.BytesIO(file.getvalue() + b"\xff\xd9"), max_pixels, shrink)
        if not _is_nearly_whole(image, file.getvalue()):
            raise
        return image


def load_picture(image: Image.Image) -> None:
    """Decode. Raises AssetFailed (`broken-picture`)."""
    try:
        image.load()
    except MemoryError:
        raise
    except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error, zlib.error ...
        raise broken_picture(error) from None
    _bound_exif(image)  # in a PNG it may come last


def has_transparency(thumbnail: bytes) -> bool:
    """Whether a thumbnail has a pixel that is not opaque. One that cannot be read has none that we know of."""
    try:
        with open_picture(io.BytesIO(thumbnail), max_pixels=MAX_THUMBNAIL_PIXELS) as image:
            if not image.has_transparency_data:
                return False
            load_picture(image)
            alpha = image.convert("RGBA").getchannel("A")
            return alpha.histogram()[255] < alpha.width * alpha.height
    except AssetFailed:
        return False


def broken_picture(error: Exception) -> AssetFailed:
    """What any decoder's error means. Raises MemoryError when it means nothing about the picture."""
    return AssetFailed(f"the picture cannot be decoded: {error}", kind="broken-picture")


def check_size(size: tuple[int, int], max_pixels: int = MAX_PIXELS) -> None:
    """Raises AssetFailed (`too-many-pixels`) for a picture or video of `size` (width, height)."""
    width, height = size
    if width * height > max_pixels:
        raise AssetFailed(
            f"the picture has {width} x {height} pixels, more than {max_pixels:,}", kind="too-many-pixels"
        )
    if max(width, height) > MAX_SIDE:
        raise AssetFailed(
            f"the picture is {width} x {height} pixels, longer than {MAX_SIDE:,}", kind="too-many-pixels"
        )


def _formats() -> list[str]:
    Image.init()  # imports the decoders, once
    return [name for name in _FORMATS if name in Image.OPEN]


def _loaded(file: BinaryIO, max_pixels: int, shrink: Callable[[Image.Image], None] | None) -> Image.Image:
    image = open_picture(file, max_pixels=max_pixels)
    if shrink:
        shrink(image)
    load_picture(image)
    return image


def _is_nearly_whole(image: Image.Image, body: bytes) -> bool:
    """Whether a JPEG that breaks off shows nearly all of the picture. What is missing at its end is of one colour:
    less than half a row of blocks may be."""
    if image.info.get("progressive"):
        return body.count(b"\xff\xda") >= _SCANS.get(image.mode, len(body))
    bottom = image.crop((image.width // 2, max(0, image.height - 8), image.width * 3 // 4 + 1, image.height))
    low, high = bottom.convert("L").getextrema()
    return low != high


# -- before anything is parsed --------------------------------------------------------------------------------


def _guarded(file: BinaryIO, *, all_frames: bool) -> BinaryIO:
    """`file`, or what is left of it without the parts that are beyond their bounds."""
    head = file.read(12)
    file.seek(0)
    if head.startswith(b"\xff\xd8"):
        return _without(file, _jpeg)
    if head.startswith(_PNG):
        return _without(file, _png)
    if head.startswith((b"GIF87a", b"GIF89a")):
        return _without(file, _gif_frames if all_frames else _gif)
    if head[:4] in (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"):
        return _without(file, _tiff)
    return file


def _without(file: BinaryIO, walk: Callable[[bytes], list[tuple[int, int]]]) -> BinaryIO:
    body = file.getvalue() if isinstance(file, io.BytesIO) else file.read()
    file.seek(0)
    cuts = walk(body)
    if not cuts:
        return file
    kept, place = [], 0
    for start, stop in cuts:
        kept.append(memoryview(body)[place:start])
        place = stop
    return io.BytesIO(b"".join([*kept, memoryview(body)[place:]]))


def _refused(what: str) -> AssetFailed:
    return AssetFailed(f"the picture is not opened: {what}", kind="broken-picture")


def _jpeg(body: bytes) -> list[tuple[int, int]]:
    """Cuts out EXIF blocks and lists of further pictures (MPF) that are too large or not sound."""
    exif: list[tuple[int, int]] = []
    cuts: list[tuple[int, int]] = []
    block = bytearray()
    for marker, start, stop in _segments(body):
        if marker == 0xE1 and body[start + 4 : start + 10] == _EXIF:
            exif.append((start, stop))
            block += body[start + 10 : stop]  # Pillow puts them together as well
            if len(block) > MAX_EXTRA_BYTES:
                break
        elif (
            marker == 0xE2 and body[start + 4 : start + 8] == b"MPF\x00" and not _is_sound(body[start + 8 : stop])
        ):
            cuts.append((start, stop))
    if len(block) > MAX_EXTRA_BYTES or (exif and not _is_sound(bytes(block))):
        cuts += [
            (start, stop)
            for marker, start, stop in _segments(body)
            if marker == 0xE1 and body[start + 4 : start + 10] == _EXIF
        ]
    return sorted(cuts)


def _segments(body: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, begin and end of each segment before the pixels, for as long as they follow upon each other."""
    place = 2
    for _ in range(MAX_PIECES):
        if body[place : place + 1] != b"\xff" or place + 4 > len(body):
            return
        marker = body[place + 1]
        if marker == 0xDA:
            return
        if marker == 0xFF or 0xD0 <= marker <= 0xD9 or marker <= 1:  # a fill byte, or one without a length
            place += 1 if marker == 0xFF else 2
            continue
        stop = place + 2 + max(2, int.from_bytes(body[place + 2 : place + 4], "big"))
        yield marker, place, min(stop, len(body))
        place = stop
    raise _refused(f"more than {MAX_PIECES:,} segments")


def _png(body: bytes) -> list[tuple[int, int]]:
    """Cuts out texts, colour profiles and EXIF blocks that are too large, packed or not."""
    cuts: list[tuple[int, int]] = []
    left, place = MAX_EXTRAS_BYTES, len(_PNG)
    for _ in range(MAX_PIECES):
        if place + 12 > len(body):
            return cuts
        length = int.from_bytes(body[place : place + 4], "big")
        kind, stop = body[place + 4 : place + 8], place + 12 + length
        if kind in (b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"eXIf"):
            extra = _unpacked_bytes(kind, body[place + 8 : place + 8 + min(length, MAX_EXTRA_BYTES + 1)])
            left -= extra
            if extra > MAX_EXTRA_BYTES or left < 0:
                cuts.append((place, min(stop, len(body))))
        place = stop
    raise _refused(f"more than {MAX_PIECES:,} chunks")


def _unpacked_bytes(kind: bytes, data: bytes) -> int:
    """Bytes that a chunk's content takes, or a few more than may be."""
    if kind in (b"zTXt", b"iCCP"):
        packed = data.partition(b"\x00")[2][1:]
    elif kind == b"iTXt" and data.partition(b"\x00")[2][:1] == b"\x01":
        packed = data.partition(b"\x00")[2][2:].partition(b"\x00")[2].partition(b"\x00")[2]
    else:
        return len(data)
    try:
        return max(len(data), len(zlib.decompressobj().decompress(packed, MAX_EXTRA_BYTES + 1)))
    except zlib.error:
        return len(data)


def _gif(body: bytes) -> list[tuple[int, int]]:
    return _gif_comments(body, frames=1)


def _gif_frames(body: bytes) -> list[tuple[int, int]]:
    return _gif_comments(body, frames=MAX_FRAMES)


def _gif_comments(body: bytes, *, frames: int) -> list[tuple[int, int]]:
    """Cuts out the comments when they are too large together; looks as far as the last of `frames`."""
    cuts: list[tuple[int, int]] = []
    seen = 0
    for count, (kind, start, stop) in enumerate(_gif_blocks(body)):
        if kind == 0x2C:
            seen += 1
            if frames == 1:
                break
        elif kind == 0xFE:
            cuts.append((start, stop))
        if count - seen > MAX_PIECES or seen > frames:
            raise _refused(f"more than {MAX_PIECES:,} blocks or {frames:,} frames")
    return cuts if sum(stop - start for start, stop in cuts) > MAX_EXTRA_BYTES else []


def _gif_blocks(body: bytes) -> Iterator[tuple[int, int, int]]:
    """What it is (0x2C: a frame, else the label of an extension), begin and end of each block."""
    place = 13 + _colours(body[10:11])
    while place + 2 < len(body):
        start, first = place, body[place]
        if first == 0x21:
            kind, place = body[place + 1], place + 2
        elif first == 0x2C:
            kind, place = first, place + 11 + _colours(body[place + 9 : place + 10])
            yield kind, start, start  # at its beginning: its data are not looked at for the first frame alone
        elif first == 0x3B:
            return
        else:
            place += 1  # Pillow looks for the next block as well
            yield 0, start, place
            continue
        while place < len(body) and (length := body[place]):
            place += 1 + length
        place += 1
        if kind != 0x2C:
            yield kind, start, min(place, len(body))


def _colours(flags: bytes) -> int:
    """Bytes of a GIF's table of colours."""
    return 3 * 2 ** ((flags[0] & 7) + 1) if flags and flags[0] & 0x80 else 0


def _tiff(body: bytes) -> list[tuple[int, int]]:
    if not _is_sound(body):
        raise _refused("its tags share their values")
    return []


def _bound_exif(image: Image.Image) -> None:
    """Forget an EXIF block that is too large or not sound: the picture itself is fine. It is not parsed yet."""
    for name in ("exif", "Raw profile type exif"):
        block = image.info.get(name)
        if block is None:
            continue
        if isinstance(block, str):
            block = _from_hex(block)  # as ImageMagick writes it into a text
        if not isinstance(block, bytes) or len(block) > MAX_EXTRA_BYTES or not _is_sound(block):
            del image.info[name]


def _from_hex(text: str) -> bytes | None:
    """What Pillow makes of it: three lines of head, then digits."""
    try:
        return bytes.fromhex("".join(text.split("\n")[3:]))
    except ValueError:
        return None


def _is_sound(block: bytes) -> bool:
    """Whether a TIFF's first directory can be read without taking more memory than the block has: whether its tags
    have values of their own. One that says nothing about itself holds nothing either."""
    block = block.removeprefix(_EXIF)
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None:
        return True
    wide = block[2:4] in (b"+\x00", b"\x00+")
    place_form, count_form, entry = ("Q", "Q", "HHQ") if wide else ("L", "H", "HHL")
    try:
        (place,) = struct.unpack_from(order + place_form, block, 8 if wide else 4)
        (count,) = struct.unpack_from(order + count_form, block, place)
    except struct.error:
        return True
    place += struct.calcsize(count_form)
    size = 20 if wide else 12
    total = 0
    for number in range(min(count, MAX_TAGS + 1, max(0, len(block) - place) // size)):
        _, kind, values = struct.unpack_from(order + entry, block, place + number * size)
        bytes_of_it = _TYPE_BYTES.get(kind, 0) * values
        # Of what reaches beyond the end, nothing is kept; but it is read, which is for a few damaged tags alone.
        total += bytes_of_it if bytes_of_it <= len(block) else len(block) // 16
        if number >= MAX_TAGS or total > len(block):
            return False
    return True
