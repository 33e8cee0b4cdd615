"""Pictures that were never meant to be decoded, and JSON that was never meant to be read."""

import gzip
import io
import random
import struct
import zlib
from collections.abc import Mapping
from typing import Any

from PIL import Image

from autotagger.pipeline.ipc.payload import Video, pack_video

#: Bytes that no call may cost in memory, and more than `immich.max_picture_bytes` lets through in the tests.
HUGE = 12 << 20


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def drawn(mode: str = "RGB", size: tuple[int, int] = (40, 30)) -> Image.Image:
    return Image.new(mode, size)


def chunk(kind: bytes, data: bytes) -> bytes:
    """One chunk of a PNG, its checksum right."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(*, size: tuple[int, int] = (8, 8), before: bytes = b"", pixels: bytes | None = None) -> bytes:
    """A grey PNG with chunks of one's own before the pixels."""
    rows = zlib.compress(b"\x00" * (size[1] * (1 + size[0])) if pixels is None else pixels)
    header = struct.pack(">IIBBBBB", *size, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + before + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def animated(kind: str) -> bytes:
    """Three frames, the second of them broken."""
    frames = [Image.new("RGB", (40, 30), (40 * number, 9, 200)) for number in range(3)]
    whole = bytearray(encoded(frames[0], kind, save_all=True, append_images=frames[1:]))
    middle = len(whole) // 2
    whole[middle : middle + 12] = random.Random(kind).randbytes(12)
    return bytes(whole)


def tiff_with_endless_directory() -> bytes:
    """A directory whose next one is itself."""
    return (
        b"II*\x00\x08\x00\x00\x00"
        + struct.pack("<H", 1)
        + struct.pack("<HHII", 256, 4, 1, 8)
        + b"\x08\x00\x00\x00"
    )


def box(kind: bytes, brand: bytes) -> bytes:
    """The beginning of an ISO media file (HEIC, AVIF, MP4), and noise."""
    return struct.pack(">I", 24) + kind + brand + b"\x00\x00\x00\x00mif1" + brand + random.Random(1).randbytes(600)


def pictures() -> dict[str, bytes]:
    """Bodies of a preview by what is odd about them."""
    jpeg = encoded(drawn(), "JPEG", quality=90)
    exif = b"Exif\x00\x00MM\x00*\xff\xff\xff\xff" + b"\x00" * 40
    return {
        "cut in its header": jpeg[:20],
        "cut in its pixels": encoded(Image.effect_noise((64, 64), 90), "JPEG")[:-900],
        "no bytes at all": b"",
        "one byte": b"\xff",
        "zeros": bytes(4096),
        "a web page": b"<!doctype html><html><body>502 Bad Gateway</body></html>",
        "JSON": b'{"message": "Asset media not found"}',
        "SVG": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
        "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n",
        "PDF": b"%PDF-1.7\n1 0 obj<</Type/Catalog>>endobj\n",
        "ZIP": b"PK\x03\x04" + bytes(60),
        "video": box(b"ftyp", b"mp42"),
        "HEIC that is none": box(b"ftyp", b"heic"),
        "AVIF that is none": box(b"ftyp", b"avif"),
        "JPEG XL that is none": b"\xff\x0a" + random.Random(2).randbytes(200),
        "WebP with a lying length": b"RIFF\xff\xff\xff\x7fWEBPVP8 \xff\xff\xff\x7f" + bytes(40),
        "a video of ours cut in its head": pack_video("x", Video(b""), b"still")[:20],
        "a video of ours without a still frame": pack_video("\x1b[31m", Video(b"no video"), b""),
        "a bomb of pixels": png(size=(30_000, 30_000), pixels=b""),
        "a bomb of one long side": png(size=(1, 2_000_000), pixels=b""),
        "no pixel": png(size=(0, 0)),
        "a bomb of text": png(before=chunk(b"zTXt", b"x\x00\x00" + zlib.compress(bytes(HUGE)))),
        "a bomb of colours": png(before=chunk(b"iCCP", b"x\x00\x00" + zlib.compress(bytes(HUGE)))),
        "a broken colour profile": encoded(drawn(), "JPEG", icc_profile=random.Random(3).randbytes(900)),
        "a broken EXIF block": encoded(drawn(), "JPEG", exif=exif),
        "16 bit": encoded(Image.new("I;16", (40, 30), 40_000), "PNG"),
        "CMYK": encoded(drawn("CMYK"), "JPEG"),
        "LAB": encoded(drawn("LAB"), "TIFF"),
        "floats": encoded(Image.new("F", (40, 30), float("nan")), "TIFF"),
        "a TIFF without an end": tiff_with_endless_directory(),
        "a JPEG 2000 that is none": b"\x00\x00\x00\x0cjP  \r\n\x87\n" + random.Random(4).randbytes(200),
        "an animated GIF with a broken frame": animated("GIF"),
        "an animated WebP with a broken frame": animated("WEBP"),
        "an animated PNG with a broken frame": animated("PNG"),
    }


#: Whatever is said about their length or packing: these come with headers of their own.
PACKED_BOMB = gzip.compress(bytes(4 * HUGE))
NAMES = (
    *("\x1b[31mred\x1b[0m", "\u202egnp.exe\u202c", "<script>alert(1)</script>", "a\x00b", "tab\tand\nnewline"),
    *(
        "x" * 10_000_000,
        "\ud83d".encode("utf-16", "surrogatepass").decode("utf-16", "replace"),
        "%s{}%(a)s",
        "../../etc",
    ),
)
IDS = (
    *("../../api-keys", "", None, 5, ["a"], {"id": 1}, "00000000-0000-1000-8000-000000000000"),
    *("4e23bd36-c1fb-4797-817e-f3b6e8dfb0a2/../x", "4e23bd36-c1fb-4797-817e-f3b6e8dfb0a2\n"),
)


def items(good: Mapping[str, Any]) -> list[Any]:
    """What a page of a listing may hold beside good items; none of it can be an asset of ours."""
    odd: list[Any] = [None, 5, "x", [], {}, [[[]]], *({**good, "id": value} for value in IDS)]
    odd += [
        {name: value for name, value in good.items() if name != missing} for missing in ("id", "ownerId", "type")
    ]
    return [*odd, {**good, "type": "AUDIO"}, {**good, "updatedAt": 5}, {**good, "ownerId": {"a": None}}]


# -- what asks for memory or time without end, in files that any server takes ----------------------------------


def shared_tags(tags: int, value_bytes: int, *, order: str = "<") -> bytes:
    """A TIFF's first directory whose tags all have the same value, which takes `tags` times its memory to read."""
    head = (b"II*\x00" if order == "<" else b"MM\x00*") + struct.pack(order + "L", 8)
    place = 8 + 2 + 12 * tags + 4
    entries = b"".join(
        struct.pack(order + "HHLL", 0xC000 + number % 0x3000, 7, value_bytes, place) for number in range(tags)
    )
    return head + struct.pack(order + "H", tags) + entries + bytes(4) + bytes(value_bytes)


def exif_jpeg(block: bytes, *, segment_bytes: int = 65_000) -> bytes:
    """A JPEG with an EXIF block of any length, in as many segments as it takes."""
    pieces = [block[start : start + segment_bytes] for start in range(0, len(block), segment_bytes)]
    segments = b"".join(
        b"\xff\xe1" + struct.pack(">H", 8 + len(piece)) + b"Exif\x00\x00" + piece for piece in pieces
    )
    plain = encoded(drawn(size=(64, 48)), "JPEG")
    return plain[:2] + segments + plain[2:]


def commented_gif(comments: int, *, blocks: int = 1, block: bytes = b"x" * 255, frames: int = 1) -> bytes:
    """A GIF with comments, each of so many blocks, before its first frame."""
    images = [Image.new("P", (16, 16), number % 200) for number in range(frames)]
    plain = (
        encoded(images[0], "GIF", save_all=True, append_images=images[1:])
        if frames > 1
        else encoded(images[0], "GIF")
    )
    begin = 13 + 3 * 2 ** ((plain[10] & 7) + 1) if plain[10] & 0x80 else 13
    comment = b"\x21\xfe" + (bytes([len(block)]) + block) * blocks + b"\x00"
    return plain[:begin] + comment * comments + plain[begin:]


def spins_and_swells() -> dict[str, bytes]:
    """Pictures that are fine but for what is around the pixels: read as it is, it takes gigabytes or minutes."""
    text = chunk(b"zTXt", b"x\x00\x00" + zlib.compress(bytes(HUGE)))
    return {
        "PNG: EXIF tags that share one value": png(before=chunk(b"eXIf", shared_tags(400, 8 << 20))),
        "PNG: small EXIF tags that share one value": png(before=chunk(b"eXIf", shared_tags(4000, 400_000))),
        "PNG: the same behind the pixels": png()[:-12]
        + chunk(b"eXIf", shared_tags(4000, 400_000))
        + chunk(b"IEND", b""),
        "PNG: many texts": png(before=text * 60),
        "PNG: a huge plain text": png(before=chunk(b"tEXt", b"x\x00" + b"y" * (64 << 20))),
        "PNG: a huge international text": png(
            before=chunk(b"iTXt", b"x\x00\x01\x00\x00\x00" + zlib.compress(bytes(HUGE)))
        ),
        "PNG: a huge colour profile": png(before=chunk(b"iCCP", b"x\x00\x00" + zlib.compress(bytes(HUGE)))),
        "JPEG: EXIF tags that share one value": exif_jpeg(shared_tags(4000, 900_000)),
        "JPEG: EXIF in tiny pieces": exif_jpeg(bytes(500_000), segment_bytes=8),
        "JPEG: EXIF without end": exif_jpeg(bytes(40 << 20)),
        "GIF: comments without end": commented_gif(90_000),
        "GIF: one comment of many blocks": commented_gif(1, blocks=160_000),
    }


def refused_at_once() -> dict[str, bytes]:
    """Files that no picture is like."""
    return {
        "TIFF: tags that share one value": shared_tags(8000, 8 << 20),
        "TIFF: the same, big-endian": shared_tags(8000, 8 << 20, order=">"),
        "JPEG: segments without end": b"\xff\xd8" + b"\xff\xed\x00\x02" * 2_000_000,
        "PNG: chunks without end": png(before=chunk(b"abCd", b"") * 300_000),
        "GIF: blocks without end": commented_gif(1_000_000, blocks=0),
        "GIF: nothing but nothing": encoded(drawn("P"), "GIF")[:13] + bytes(20 << 20),
    }
