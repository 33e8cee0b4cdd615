"""Preprocessing against an independent plain reference, on every awkward kind of picture."""

import io
import subprocess
import sys
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from autotagger.errors import AssetFailed
from autotagger.tagger import preprocess
from autotagger.tagger.catalog import find_model
from autotagger.tagger.engine.openvino import open_session
from autotagger.tagger.engine.protocol import Session
from autotagger.tagger.manifest import CenterCrop, InputSpec, PadToSize, Resize
from autotagger.tagger.open_picture import MAX_PIXELS
from autotagger.tagger.preprocess import prepare
from tests.tagger.support import encoded, noise, reference

pytestmark = pytest.mark.filterwarnings("ignore:::PIL")
WD = InputSpec()


@cache
def palette() -> Session:
    return open_session(find_model("palette", Path("unused"), download=False), device="CPU")


def same_scores(body: bytes, exact: bool = True) -> None:
    ours, theirs = prepare(body, WD), reference(body)
    assert ours.shape == (448, 448, 3)
    assert ours.dtype == np.float32
    assert ours.flags.c_contiguous
    if exact:
        assert np.array_equal(ours, theirs)
    scores = palette().scores(np.stack([ours, np.ascontiguousarray(theirs)]))
    assert np.abs(scores[0] - scores[1]).max() < 1e-4


def with_exif(orientation: int, size: tuple[int, int] = (200, 120)) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(noise(*size), "PNG", exif=exif)


def see_through(mode: str) -> bytes:
    image = noise(120, 90, mode)
    return encoded(image)


def palette_with_alpha() -> bytes:
    image = noise(150, 100, "P")
    return encoded(image, transparency=bytes([0, 60, 128, 255] * 16))


def grey_16_bit() -> bytes:
    values = np.random.default_rng(3).integers(0, 65536, (90, 130), dtype=np.uint16)
    return encoded(Image.fromarray(values))


def animation(kind: str) -> bytes:
    frames = [
        noise(60, 40, seed=seed).quantize(64) if kind == "GIF" else noise(60, 40, seed=seed) for seed in (1, 2, 3)
    ]
    return encoded(frames[0], kind, save_all=True, append_images=frames[1:])


AWKWARD: dict[str, Callable[[], bytes]] = {
    "jpeg": lambda: encoded(noise(300, 200), "JPEG", quality=90),
    "progressive": lambda: encoded(noise(300, 200), "JPEG", progressive=True),
    "grey": lambda: encoded(noise(100, 200, "L"), "JPEG"),
    "cmyk": lambda: encoded(noise(200, 100, "CMYK"), "JPEG"),
    "webp": lambda: encoded(noise(200, 150), "WEBP"),
    "webp alpha": lambda: encoded(noise(200, 150, "RGBA"), "WEBP", lossless=True),
    "bmp": lambda: encoded(noise(31, 47), "BMP"),
    "tiff": lambda: encoded(noise(64, 80), "TIFF"),
    "lab": lambda: encoded(Image.new("LAB", (30, 20), (120, 140, 90)), "TIFF"),
    "float": lambda: encoded(Image.new("F", (30, 20), 99.0), "TIFF"),
    "one bit": lambda: encoded(noise(70, 50, "L").convert("1")),
    "16 bit": grey_16_bit,
    "16 bit tiff": lambda: encoded(Image.open(io.BytesIO(grey_16_bit())), "TIFF"),
    "palette": lambda: encoded(noise(150, 100, "P")),
    "palette alpha": palette_with_alpha,
    "palette one clear colour": lambda: encoded(noise(150, 100, "P"), transparency=3),
    "rgba": lambda: see_through("RGBA"),
    "la": lambda: see_through("LA"),
    "rgb with a clear colour": lambda: encoded(Image.new("RGB", (40, 30), (9, 8, 7)), transparency=(9, 8, 7)),
    "grey with a clear shade": lambda: encoded(noise(99, 30, "L"), transparency=128),
    "gif": lambda: encoded(noise(120, 90, "P"), "GIF"),
    "clear gif": lambda: encoded(noise(120, 90, "P"), "GIF", transparency=5),
    "animated gif": lambda: animation("GIF"),
    "animated webp": lambda: animation("WEBP"),
    "animated png": lambda: animation("PNG"),
    "1x1": lambda: encoded(Image.new("RGB", (1, 1), (200, 10, 40))),
    "2x3": lambda: encoded(noise(2, 3)),
    "odd padding": lambda: encoded(noise(300, 201)),
    "right size": lambda: encoded(noise(448, 448)),
    "right width": lambda: encoded(noise(448, 300)),
    "one off": lambda: encoded(noise(449, 447)),
    "wide": lambda: encoded(noise(3000, 90)),
    "tall": lambda: encoded(noise(90, 3000)),
    "needle": lambda: encoded(noise(1, 2000)),
    "wide, in part": lambda: encoded(noise(5001, 300), "BMP"),
    "tall, in part": lambda: encoded(noise(300, 5001), "BMP"),
    "large, in part": lambda: encoded(noise(4200, 2000), "BMP"),
}


@pytest.mark.parametrize("kind", AWKWARD)
def test_agrees_with_the_reference(kind: str) -> None:
    same_scores(AWKWARD[kind](), exact="in part" not in kind)


@pytest.mark.parametrize("kind", ["wide, in part", "tall, in part"])
def test_in_part_is_at_most_one_level_off_anywhere(kind: str) -> None:
    body = AWKWARD[kind]()
    apart = np.abs(prepare(body, WD) - reference(body))
    assert apart.max() <= 1.0
    assert (apart > 0).mean() < 0.01


@pytest.mark.parametrize("orientation", range(1, 9))
def test_is_turned_upright(orientation: int, monkeypatch: pytest.MonkeyPatch) -> None:
    body = with_exif(orientation)
    same_scores(body)
    monkeypatch.setattr(
        preprocess, "_STRIP_PIXELS", 3000
    )  # some rows at a time, from whichever end they are stored
    same_scores(body)


@pytest.mark.parametrize("kind", ["rgba", "palette alpha", "16 bit", "cmyk", "wide", "tall", "odd padding"])
def test_strips_change_nothing(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preprocess, "_STRIP_PIXELS", 5000)
    same_scores(AWKWARD[kind]())


@pytest.mark.parametrize("filter_name", ["box", "bilinear", "hamming", "bicubic", "lanczos"])
@pytest.mark.parametrize("size", [(300, 4800), (4800, 301)])
def test_every_filter_in_part(filter_name: str, size: tuple[int, int]) -> None:
    image = noise(*size)
    side = max(size)
    square = Image.new("RGB", (side, side), "white")
    square.paste(image, ((side - size[0]) // 2, (side - size[1]) // 2))
    for model_side in (448, 384, 299):
        plain = square.resize((model_side, model_side), Image.Resampling[filter_name.upper()])
        spec = InputSpec.model_validate({"size": model_side, "channels": "RGB", "resize": filter_name})
        assert np.abs(prepare(encoded(image, "BMP"), spec) - np.asarray(plain, np.float32)).max() <= 1.0


def test_a_memoryview_will_do_and_is_not_held() -> None:
    body = bytearray(encoded(noise(50, 40)))
    view = memoryview(body)
    tensor = prepare(view, WD)
    view.release()
    body.clear()  # would raise BufferError were it still held
    assert tensor.shape == WD.shape


def test_other_contracts() -> None:
    body = encoded(noise(100, 60))
    bgr = prepare(body, WD)
    rgb = prepare(body, InputSpec(channels="RGB"))
    assert np.array_equal(bgr, rgb[:, :, ::-1])
    assert np.array_equal(prepare(body, InputSpec(layout="NCHW")), bgr.transpose(2, 0, 1))
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
    scaled = prepare(body, InputSpec(channels="RGB", layout="NCHW", scale=1 / 255, mean=mean, std=std))
    assert np.allclose(scaled, ((rgb / 255 - mean) / std).transpose(2, 0, 1), atol=1e-6)
    black = prepare(body, InputSpec(color=(0, 0, 0)))
    assert (black[0] == 0).all()
    squashed = Image.open(io.BytesIO(body)).resize((448, 448), Image.Resampling.BICUBIC)
    assert np.array_equal(prepare(body, InputSpec(pad="none", channels="RGB")), np.asarray(squashed, np.float32))


def failure(body: bytes, max_pixels: int = MAX_PIXELS) -> AssetFailed:
    with pytest.raises(AssetFailed) as caught:
        prepare(body, WD, max_pixels=max_pixels)
    assert "\n" not in caught.value.message
    return caught.value


@pytest.mark.parametrize("body", [b"", b"\x00", b"<!doctype html><html>", b"%!PS-Adobe-3.0 EPSF-3.0\n"])
def test_not_a_picture(body: bytes) -> None:
    assert failure(body).kind == "not-a-picture"


@pytest.mark.parametrize(
    "kind", ["jpeg", "progressive", "webp", "bmp", "tiff", "palette", "rgba", "16 bit", "gif", "animated webp"]
)
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_cut_short(kind: str, share: float) -> None:
    if (kind, share) == ("progressive", 0.9):
        pytest.skip("all of the picture is there: tests/tagger/test_open_picture.py")
    body = AWKWARD[kind]()
    assert failure(body[: int(len(body) * share)]).kind in {"broken-picture", "not-a-picture"}


@pytest.mark.parametrize("kind", ["jpeg", "webp", "tiff", "palette alpha", "gif", "16 bit", "animated png"])
def test_damage_anywhere_is_a_picture_or_a_failure(kind: str) -> None:
    body = AWKWARD[kind]()
    random, kinds = np.random.default_rng(7), set()
    for _ in range(60):
        damaged = bytearray(body)
        for place in random.integers(0, len(body), 8):
            damaged[place] = random.integers(0, 256)
        try:
            prepare(bytes(damaged), WD, max_pixels=1_000_000)
        except AssetFailed as error:
            kinds.add(error.kind)
    assert kinds <= {"broken-picture", "not-a-picture", "too-many-pixels"}


def test_damaged_exif_does_not_matter() -> None:
    body = encoded(noise(60, 40), "JPEG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff garbage")
    assert prepare(body, WD).shape == WD.shape


def bomb(width: int, height: int) -> bytes:
    """A PNG whose header promises `width` x `height` pixels, and nothing behind it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x02\x00\x00\x00"
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_too_many_pixels_are_refused_before_decoding() -> None:
    assert failure(bomb(20_000, 20_000)).kind == "too-many-pixels"
    assert failure(bomb(1, 100_001)).kind == "too-many-pixels"
    assert failure(bomb(13_000, 13_000)).kind == "broken-picture"  # within the limit, but nothing in it
    assert failure(encoded(noise(30, 30)), max_pixels=899).kind == "too-many-pixels"
    assert prepare(encoded(noise(30, 30)), WD, max_pixels=900).shape == WD.shape


def run(program: str, body: bytes) -> subprocess.CompletedProcess[bytes]:
    """In a process of its own: warnings are not errors there, and memory is its alone."""
    return subprocess.run([sys.executable, "-c", program], input=body, capture_output=True, check=True)


def test_a_strip_of_400_by_20000_needs_little_memory_and_makes_no_noise() -> None:
    program = """
import resource, sys
from autotagger.tagger.manifest import CenterCrop, InputSpec, PadToSize, Resize
from autotagger.tagger.preprocess import prepare
body = sys.stdin.buffer.read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
prepare(body, InputSpec())
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    clear = Image.new("P", (400, 20_000), 3)
    ran = run(program, encoded(clear, transparency=bytes([255, 0, 7])))
    assert int(ran.stdout) < 64 + 8  # MB, 8 being the decoded picture
    assert ran.stderr == b""


def test_odd_pictures_leave_no_line_on_stderr() -> None:
    program = """
import sys
from autotagger.tagger.manifest import CenterCrop, InputSpec, PadToSize, Resize
from autotagger.tagger.preprocess import prepare
prepare(sys.stdin.buffer.read(), InputSpec())
"""
    bodies = [
        AWKWARD["palette alpha"](),
        encoded(noise(60, 40), "JPEG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff"),
    ]
    assert [run(program, body).stderr for body in bodies] == [b"", b""]


def wrong_ways(body: bytes) -> dict[str, NDArray[np.float32]]:
    right = prepare(body, WD)
    return {
        "channel order": np.ascontiguousarray(right[:, :, ::-1]),
        "range 0..1": right / np.float32(255),
        "range -1..1": right / np.float32(127.5) - np.float32(1),
        "black padding": prepare(body, InputSpec(color=(0, 0, 0))),
        "no padding": prepare(body, InputSpec(pad="none")),
        "padding at one end": np.roll(right, -WD.size // 3, axis=0),
    }


def test_the_palette_model_is_wrong_at_once_when_preprocessing_is() -> None:
    body = encoded(Image.new("RGB", (600, 150), (240, 120, 40)))
    right = palette().scores(prepare(body, WD)[None])[0] >= 0.35
    for way, tensor in wrong_ways(body).items():
        wrong = palette().scores(tensor[None])[0] >= 0.35
        assert (right != wrong).any(), way


# --- other ways to a square ---


def by_hand(body: bytes, size: tuple[int, int], method: Image.Resampling) -> Image.Image:
    return Image.open(io.BytesIO(body)).convert("RGB").resize(size, method)


@pytest.mark.parametrize("shape", [(300, 200), (200, 301), (1000, 30), (64, 64), (3, 900)])
@pytest.mark.parametrize("pad", ["center", "edge"])
def test_resizing_first_then_padding(shape: tuple[int, int], pad: Literal["center", "edge"]) -> None:
    body = encoded(noise(*shape))
    spec = InputSpec(
        size=128, channels="RGB", resize="box", pad=pad, order="resize-first", pad_color=(1, 2, 3), color=(9, 9, 9)
    )
    width, height = (max(1, 128 * side // max(shape)) for side in shape)
    content = np.asarray(by_hand(body, (width, height), Image.Resampling.BOX), np.float32)
    left, top = (128 - width) // 2, (128 - height) // 2
    ours = prepare(body, spec)
    assert ours.shape == (128, 128, 3)
    # Pillow 13 reduces the longer side first when it sees both at once: rounding once more in another order.
    off = np.abs(ours[top : top + height, left : left + width] - content)
    assert off.max() <= (1 if shape[1] > shape[0] else 0)
    corner = content[0, 0] if pad == "edge" else np.array([1, 2, 3], np.float32)
    if left or top:
        around = np.stack([ours[0, 0] - corner, ours[-1, -1] - (content[-1, -1] if pad == "edge" else corner)])
        assert np.abs(around).max() <= off.max()


def test_transparency_and_padding_may_have_different_grounds() -> None:
    body = encoded(Image.new("RGBA", (100, 50), (0, 0, 0, 0)))
    ours = prepare(body, InputSpec(size=64, order="resize-first", channels="RGB", pad_color=(0, 0, 0)))
    assert ours[32, 32].tolist() == [255, 255, 255]
    assert ours[0, 0].tolist() == [0, 0, 0]
    first = prepare(body, InputSpec(size=64, channels="RGB", pad_color=(0, 0, 0)))
    assert first[32, 32].tolist() == [255, 255, 255]
    assert first[0, 0].tolist() == [0, 0, 0]


@pytest.mark.parametrize("shape", [(300, 200), (200, 301), (1000, 30), (64, 64)])
def test_stages_are_what_pillow_does_one_after_the_other(shape: tuple[int, int]) -> None:
    body = encoded(noise(*shape))
    stages = (
        PadToSize(size=(160, 160), color=(7, 8, 9)),
        Resize(size=140, filter="bicubic"),
        CenterCrop(size=(128, 128)),
    )
    ratio = 160 / max(shape)
    size = (max(1, round(shape[0] * ratio)), max(1, round(shape[1] * ratio)))
    canvas = Image.new("RGB", (160, 160), (7, 8, 9))
    canvas.paste(by_hand(body, size, Image.Resampling.BILINEAR), ((160 - size[0]) // 2, (160 - size[1]) // 2))
    plain = canvas.resize((140, 140), Image.Resampling.BICUBIC).crop((6, 6, 134, 134))
    ours = prepare(body, InputSpec(size=128, channels="RGB", stages=stages))
    assert np.array_equal(ours, np.asarray(plain, np.float32))


def test_the_shorter_side_keeps_the_ratio_and_the_crop_its_middle() -> None:
    body = encoded(noise(300, 200))
    stages = (Resize(size=100, filter="bicubic"), CenterCrop(size=(100, 100)))
    ours = prepare(body, InputSpec(size=100, channels="RGB", stages=stages))
    plain = by_hand(body, (150, 100), Image.Resampling.BICUBIC).crop((25, 0, 125, 100))
    assert np.array_equal(ours, np.asarray(plain, np.float32))
    cropped = prepare(body, InputSpec(size=100, channels="RGB", stages=(CenterCrop(size=(100, 100)),)))
    assert np.array_equal(cropped, np.asarray(Image.open(io.BytesIO(body)), np.float32)[50:150, 100:200])


def test_a_strip_whose_shorter_side_would_grow_without_end_is_refused() -> None:
    body = encoded(noise(1, 20_000))
    with pytest.raises(AssetFailed, match="would not fit in memory") as caught:
        prepare(body, InputSpec(size=448, stages=(Resize(size=448), CenterCrop(size=(448, 448)))))
    assert caught.value.kind == "too-many-pixels"


def test_fast_decoding_takes_a_large_jpeg_at_half_its_size_and_stays_near() -> None:
    """1440 / 2 = 720 samples are more than 1.5 x 448; the picture is smooth, as a photograph mostly is."""
    body = encoded(noise(48, 32).resize((1440, 960), Image.Resampling.BICUBIC), "JPEG", quality=90)
    exact, fast = prepare(body, WD), prepare(body, WD, decoding="fast")
    difference = np.abs(exact - fast)
    assert 0.0 < difference.mean() < 1.5
    halved = Image.open(io.BytesIO(body))
    halved.draft("RGB", (720, 480))
    assert halved.size == (720, 480)
    assert np.array_equal(fast, prepare(encoded(halved, "PNG"), WD))


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_fast_decoding_of_other_formats_is_the_exact_one(kind: str) -> None:
    body = encoded(noise(900, 700), kind)
    assert np.array_equal(prepare(body, WD, decoding="fast"), prepare(body, WD))


def test_fast_decoding_leaves_a_jpeg_whole_that_is_hardly_larger_than_needed() -> None:
    body = encoded(noise(1343, 900), "JPEG")  # its half would be below 1.5 x 448
    assert np.array_equal(prepare(body, WD, decoding="fast"), prepare(body, WD))
