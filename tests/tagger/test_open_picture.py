"""The guarded opener: pictures that ask for memory or time without end, and pictures that lack a little."""

import io
import multiprocessing
import resource
import struct
import time
import zlib
from contextlib import suppress
from functools import cache
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from autotagger.errors import AssetFailed
from autotagger.memory import limit_growth
from autotagger.tagger.manifest import InputSpec
from autotagger.tagger.open_picture import MAX_FRAMES, decoded, has_transparency, open_picture
from autotagger.tagger.preprocess import prepare
from autotagger.tagger.video import frames_of
from tests.faults import hostile
from tests.forked import FORKED
from tests.tagger.support import encoded, noise

pytestmark = pytest.mark.filterwarnings("ignore:::PIL")
SPEC = InputSpec()
#: What a small picture may take beside its file, which is there three times: as it came, copied, without extras.
BUDGET_BYTES, BUDGET_S = 64 << 20, 8.0


@cache
def fine() -> dict[str, bytes]:
    return hostile.spins_and_swells()


@cache
def refused() -> dict[str, bytes]:
    return hostile.refused_at_once()


def _measured(body: bytes, frames: bool, answer: Connection) -> None:
    """In a process of its own, which can have no more memory or time than it should need."""
    resource.setrlimit(resource.RLIMIT_CPU, (int(BUDGET_S) + 1, int(BUDGET_S) + 1))
    limit_growth(3 * len(body) + BUDGET_BYTES)
    try:
        if frames:
            frames_of(io.BytesIO(body), 4, timeout_s=BUDGET_S)
        else:
            prepare(body, SPEC)
        answer.send("decoded")
    except AssetFailed as error:
        answer.send(error.kind)
    except MemoryError:
        answer.send("no more memory")


def outcome(body: bytes, *, frames: bool = False) -> Any:
    ours, theirs = multiprocessing.Pipe(duplex=False)
    process = FORKED.Process(target=_measured, args=(body, frames, theirs))
    process.start()
    theirs.close()
    try:
        return ours.recv()
    except EOFError:
        process.join()
        return f"ended with {process.exitcode}"
    finally:
        process.join()
        process.close()
        ours.close()


@pytest.mark.parametrize("frames", [False, True], ids=["picture", "frames"])
@pytest.mark.parametrize("name", hostile.spins_and_swells())
def test_what_is_around_the_pixels_takes_neither_memory_nor_time(name: str, frames: bool) -> None:
    assert outcome(fine()[name], frames=frames) == "decoded"


@pytest.mark.parametrize("name", hostile.refused_at_once())
def test_a_file_that_no_picture_is_like_is_refused_at_once(name: str) -> None:
    assert outcome(refused()[name]) in {"broken-picture", "not-a-picture"}


def test_more_frames_than_anybody_looks_at_are_refused() -> None:
    begin, frame = hostile.commented_gif(0), b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x00"
    assert begin[-1:] == b";"
    body = begin[:-1] + frame * (MAX_FRAMES + 1) + b";"
    with pytest.raises(AssetFailed, match="frames"):
        frames_of(io.BytesIO(body), 4, timeout_s=BUDGET_S)
    prepare(body, SPEC)  # the first one is a picture all the same


@pytest.mark.parametrize(
    "extra",
    [
        hostile.chunk(b"zTXt", b"x\x00\x00" + zlib.compress(b"harmless" * 50)),
        hostile.chunk(b"iCCP", b"x\x00\x00" + zlib.compress(bytes(3000))),
        hostile.chunk(b"tEXt", b"Comment\x00by hand"),
    ],
)
def test_what_is_small_stays_where_it_is(extra: bytes) -> None:
    body = hostile.png(before=extra)
    with open_picture(io.BytesIO(body)) as image:
        image.load()
        assert {"x", "icc_profile", "Comment"} & image.info.keys()


def turned(kind: str, **options: Any) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "a camera"
    return encoded(noise(80, 40), kind, exif=exif, **options)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_the_orientation_is_read_as_before(kind: str) -> None:
    body = turned(kind)
    with Image.open(io.BytesIO(body)) as image:
        assert image.getexif()[0x0112] == 6
    with open_picture(io.BytesIO(body)) as image:
        image.load()
        assert image.getexif()[0x0112] == 6


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(["JPEG", "PNG", "GIF", "TIFF", "WEBP"]),
    places=st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 255)), max_size=8),
    length=st.integers(0, 4000),
)
def test_any_damage_is_a_picture_or_a_failure(kind: str, places: list[tuple[int, int]], length: int) -> None:
    body = bytearray(encoded(noise(40, 30, "P"), kind) if kind == "GIF" else turned(kind))
    for place, value in places:
        body[place % len(body)] = value
    with suppress(AssetFailed):
        decoded(bytes(body[:length]), max_pixels=1 << 20).getexif()


# -- a little is missing ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", [1, 2, 3, 40])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_jpeg_that_lacks_its_last_bytes_is_the_picture(missing: int, progressive: bool, mode: str) -> None:
    body = encoded(noise(200, 160, mode), "JPEG", progressive=progressive)
    whole, cut = (np.asarray(decoded(each), np.float32) for each in (body, body[:-missing]))
    assert np.abs(whole - cut)[:140].max() <= (32 if progressive else 0)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.8])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_that_lacks_more_is_broken(share: float, progressive: bool) -> None:
    body = encoded(noise(200, 160), "JPEG", progressive=progressive)
    if progressive:
        share /= 3  # its first scans are the smaller ones
    with pytest.raises(AssetFailed) as caught:
        decoded(body[: int(len(body) * share)])
    assert caught.value.kind == "broken-picture"


@pytest.mark.parametrize("color", [(255, 255, 255), (1, 2, 3)])
def test_16_bit_grey_with_a_transparent_grey_goes_on_the_ground(color: tuple[int, int, int]) -> None:
    values = np.full((32, 32), 40_000, np.uint16)
    values[:16] = 513
    raw = b"".join(b"\x00" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", 32, 32, 16, 0, 0, 0, 0)
    body = (
        b"\x89PNG\r\n\x1a\n"
        + hostile.chunk(b"IHDR", header)
        + hostile.chunk(b"tRNS", struct.pack(">H", 513))
        + hostile.chunk(b"IDAT", zlib.compress(raw))
        + hostile.chunk(b"IEND", b"")
    )
    spec = InputSpec(size=32, channels="RGB", resize="nearest", color=color)
    tensor = prepare(body, spec)
    assert (tensor[2:14] == np.array(color, np.float32)).all()
    assert (tensor[18:30] == 156).all()


# -- thumbnails -------------------------------------------------------------------------------------------------


def test_transparency_is_what_a_pixel_shows() -> None:
    clear, opaque = (Image.new("RGBA", (20, 20), (9, 9, 9, alpha)) for alpha in (0, 255))
    assert has_transparency(encoded(clear, "WEBP"))
    assert not has_transparency(encoded(opaque, "PNG"))
    assert not has_transparency(encoded(opaque.convert("RGB"), "JPEG"))


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", hostile.png(size=(30_000, 30_000), pixels=b""), hostile.png(size=(5000, 5000), pixels=b"")],
)
def test_a_thumbnail_that_is_none_has_no_transparency(body: bytes) -> None:
    began = time.process_time()
    assert not has_transparency(body)
    assert time.process_time() - began < BUDGET_S
