"""From the bytes of a picture to the tensor that a model wants: the contract of its manifest, exactly.

The contract (docs/models.md): upright, transparency on white, padded to a square with the picture in the middle,
resized to the model's side, channels and scale as trained. It is defined on the padded square, which for a
400 x 20000 strip would take 1.2 GB, so the square is never built. Pillow resizes rows first, then columns
(since version 13 the other way round for tall pictures that are not padded first: a sample may then be 1 off),
each output sample from the input samples within its filter's reach; white gives white. So the first pass goes
over strips of rows that hold content, and on a large square each pass makes only the part around the content
and is told where on the square's own grid that part lies. The result is the plain way's (tests hold it against
that): to the last bit up to `_WHOLE_SIDE`, and beyond it with Pillow. Pillow-SIMD rounds its weights by the
largest one it is asked for, which may be at a border we leave out: then a sample in a thousand is 1 off.

Whoever makes the tensor of any picture another one raises model.PREPROCESSING_VERSION.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from autotagger.errors import AssetFailed
from autotagger.tagger.manifest import CenterCrop, Filter, InputSpec, PadToSize, Stage
from autotagger.tagger.open_picture import MAX_PIXELS, decoded

#: Of a strip, padding included. Bounds memory beside the decoded picture: 16 MB in each of a few copies.
_STRIP_PIXELS = 4 << 20

#: Sides up to it are padded in full: that costs little, and is exact with every Pillow.
_WHOLE_SIDE = 4096

_FILTERS = {
    "nearest": (Image.Resampling.NEAREST, 0.5),
    "box": (Image.Resampling.BOX, 0.5),
    "bilinear": (Image.Resampling.BILINEAR, 1.0),
    "hamming": (Image.Resampling.HAMMING, 1.0),
    "bicubic": (Image.Resampling.BICUBIC, 2.0),
    "lanczos": (Image.Resampling.LANCZOS, 3.0),
}
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

Decoding = Literal["exact", "fast"]

#: Fast decoding keeps at least so many samples of a picture for each of the model's: docs/performance.md says
#: what difference from exact decoding that leaves.
FAST_OVERSAMPLING = 1.5


def prepare(
    body: bytes | memoryview, spec: InputSpec, *, max_pixels: int = MAX_PIXELS, decoding: Decoding = "exact"
) -> NDArray[np.float32]:
    """Make the tensor of one picture, shape `spec.shape`, C-contiguous, without the batch dimension.

    `decoding`: "fast" lets libjpeg decode a large JPEG at a half, a quarter or an eighth of its size, never below
    `FAST_OVERSAMPLING` times the model's; other formats are decoded whole all the same.
    Of an animation the first frame counts. `body` is not kept. Needs the decoded picture and about 64 MB.
    Raises AssetFailed: `not-a-picture` (no known format), `too-many-pixels` (before decoding anything),
    `broken-picture` (cut short or damaged).
    """
    shrink = (lambda image: _shrink_on_load(image, spec)) if decoding == "fast" else None
    return prepare_image(decoded(body, max_pixels=max_pixels, shrink=shrink), spec)


def prepare_image(image: Image.Image, spec: InputSpec) -> NDArray[np.float32]:
    """As `prepare`, of a picture (or a frame) that is decoded already. Raises AssetFailed (`too-many-pixels`)."""
    tensor = _tensor(_square(_Upright(image), spec), spec)
    return tensor if _is_raw(spec) else _normalised(tensor, spec)


def _tensor(square: Image.Image, spec: InputSpec) -> NDArray[np.float32]:
    """Pillow itself puts the channels in order: numpy takes ten times as long to read them backwards."""
    pixels = np.frombuffer(square.tobytes("raw", spec.channels), np.uint8)
    pixels = pixels.reshape(square.height, square.width, 3)
    if spec.layout == "NHWC":
        return pixels.astype(np.float32)
    tensor = np.empty((3, square.height, square.width), np.float32)
    for channel in range(3):
        tensor[channel] = pixels[:, :, channel]
    return tensor


def _square(picture: "_Upright", spec: InputSpec) -> Image.Image:
    if spec.stages:
        return _staged(picture, spec)
    if spec.pad == "none":
        return _resized(picture, (spec.size, spec.size), spec.resize, spec.color)
    if spec.order == "resize-first":
        return _fit(picture, spec)
    return _pad(picture, spec)


def _is_raw(spec: InputSpec) -> bool:
    return spec.scale == 1.0 and not any(spec.mean) and set(spec.std) == {1.0}


def _normalised(tensor: NDArray[np.float32], spec: InputSpec) -> NDArray[np.float32]:
    """Mean and std are given in the order of `spec.channels`."""
    shape = (1, 1, 3) if spec.layout == "NHWC" else (3, 1, 1)
    mean = np.array(spec.mean, np.float32).reshape(shape)
    std = np.array(spec.std, np.float32).reshape(shape)
    return (tensor * np.float32(spec.scale) - mean) / std


def _shrink_on_load(image: Image.Image, spec: InputSpec) -> None:
    """Have a JPEG decoded at the smallest scale that leaves enough samples on the side that decides."""
    if image.format != "JPEG":
        return
    sides = [
        side for stage in spec.stages for side in (stage.size if isinstance(stage.size, tuple) else [stage.size])
    ]
    wanted = FAST_OVERSAMPLING * max([spec.size, *sides])
    # Padded to a square, the longer side becomes the model's; squashed or resized in stages, each may.
    decisive = min(image.size) if spec.stages or spec.pad == "none" else max(image.size)
    width, height = (max(1, math.ceil(side * wanted / decisive)) for side in image.size)
    image.draft(image.mode, (width, height))


class _Upright:
    """A decoded picture that is turned upright and made RGB on white a few rows at a time."""

    def __init__(self, image: Image.Image) -> None:
        self._image = image
        self._orientation = _orientation(image)
        self.width, self.height = image.size[::-1] if self._orientation >= 5 else image.size

    def rows(self, top: int, bottom: int, color: tuple[int, int, int]) -> Image.Image:
        """RGB of the rows `top` to `bottom`, transparency composited on `color`."""
        part = self._image
        if (top, bottom) != (0, self.height):
            part = part.crop(self._box(top, bottom))
        part = _opaque(part, color)
        turn = _UPRIGHT.get(self._orientation)
        return part.transpose(turn) if turn is not None else part

    def _box(self, top: int, bottom: int) -> tuple[int, int, int, int]:
        """Where the rows lie in the picture as it is stored."""
        if self._orientation in (3, 4, 7, 8):  # stored from the other end
            top, bottom = self.height - bottom, self.height - top
        if self._orientation >= 5:  # stored as columns
            return (top, 0, bottom, self.width)
        return (0, top, self.width, bottom)


def _orientation(image: Image.Image) -> int:
    """EXIF orientation 1..8; 1 where there is none, or the EXIF block is damaged: the picture itself is fine."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except MemoryError:
        raise
    except Exception:  # whatever the parser trips over
        return 1
    return value if value in _UPRIGHT else 1


def _opaque(image: Image.Image, color: tuple[int, int, int]) -> Image.Image:
    if image.mode.startswith("I"):
        return _from_16_bit(image, color)
    if image.mode in ("RGBA", "LA", "PA", "RGBa") or "transparency" in image.info:
        see_through = image.convert("RGBA")
        canvas = Image.new("RGB", image.size, color)
        canvas.paste(see_through, mask=see_through)  # rounds as alpha_composite does on an opaque ground
        return canvas
    return image if image.mode == "RGB" else image.convert("RGB")


def _from_16_bit(image: Image.Image, color: tuple[int, int, int]) -> Image.Image:
    """Grey 0..65535, scaled: Pillow's own conversion clips. 257 = 65535 / 255. One grey may mean transparency."""
    stored = np.asarray(image)
    values = np.clip(stored, 0, 65535).astype(np.uint32)
    picture = Image.fromarray(((values + 128) // 257).astype(np.uint8)).convert("RGB")
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        picture.paste(color, mask=Image.fromarray(np.where(stored == transparent, 255, 0).astype(np.uint8)))
    return picture


@dataclass(frozen=True, slots=True)
class _Axis:
    """One axis of the padded square: `length` samples of content after `offset` of padding, `side` in all.

    Output samples `first` to `last` are the ones that content can reach. Their borders fall on exact binary
    fractions of the square (see `_axis`), so that Pillow, which keeps them as 32-bit floats, works out the
    very positions and weights that it would for the whole square. `start` to `stop` are the input samples
    within the filter's reach of them.
    """

    length: int
    offset: int
    first: int
    last: int
    start: int
    stop: int
    near: float
    far: float


def _axis(length: int, side: int, spec: InputSpec) -> _Axis:
    if side <= _WHOLE_SIDE:
        return _Axis(length, (side - length) // 2, 0, spec.size, 0, side, 0.0, float(side))
    scale = side / spec.size
    reach = _FILTERS[spec.resize][1] * scale + 1.0
    offset = (side - length) // 2
    step = spec.size // math.gcd(spec.size, 64)  # every `step`-th border is a multiple of side / 64
    first = max(0, math.floor((offset - reach) / scale / step) * step)
    last = min(spec.size, math.ceil((offset + length + reach) / scale / step) * step)
    near, far = first // step * side * step / spec.size, last // step * side * step / spec.size
    start, stop = max(0, math.floor(near - reach)), min(side, math.ceil(far + reach))
    return _Axis(length, offset, first, last, start, stop, near - start, far - start)


def _pad(picture: _Upright, spec: InputSpec) -> Image.Image:
    """What padding to a square and resizing that would give."""
    side = max(picture.width, picture.height)
    across, down = _axis(picture.width, side, spec), _axis(picture.height, side, spec)
    method = _FILTERS[spec.resize][0]
    columns = across.last - across.first
    # First pass: rows, strip by strip, into a picture that has its final width and its height on the square.
    tall = Image.new("RGB", (columns, down.stop - down.start), spec.padding)
    for top, bottom in _strips(picture.height, across.stop - across.start):
        strip = picture.rows(top, bottom, spec.color)
        if (across.start, across.stop) != (across.offset, across.offset + across.length):
            padded = Image.new("RGB", (across.stop - across.start, bottom - top), spec.padding)
            padded.paste(strip, (across.offset - across.start, 0))
            strip = padded
        strip = strip.resize((columns, bottom - top), method, box=(across.near, 0, across.far, bottom - top))
        tall.paste(strip, (0, down.offset - down.start + top))
    # Second pass: columns.
    content = tall.resize((columns, down.last - down.first), method, box=(0, down.near, columns, down.far))
    square = Image.new("RGB", (spec.size, spec.size), spec.padding)
    square.paste(content, (across.first, down.first))
    return square


def _fit(picture: _Upright, spec: InputSpec) -> Image.Image:
    """The longer side to the model's, rounded down as the models' authors do, then padding around it."""
    longer = max(picture.width, picture.height)
    width, height = (max(1, spec.size * side // longer) for side in (picture.width, picture.height))
    content = _resized(picture, (width, height), spec.resize, spec.color)
    left, top = (spec.size - width) // 2, (spec.size - height) // 2
    if spec.pad == "edge":
        around = ((top, spec.size - height - top), (left, spec.size - width - left), (0, 0))
        return Image.fromarray(np.pad(np.asarray(content), around, mode="edge"))
    square = Image.new("RGB", (spec.size, spec.size), spec.padding)
    square.paste(content, (left, top))
    return square


def _staged(picture: _Upright, spec: InputSpec) -> Image.Image:
    """The stages of the manifest. The first one works on the picture strip by strip, the others in memory."""
    image: Image.Image | None = None
    for stage in spec.stages:
        size = _target(stage, (picture.width, picture.height) if image is None else image.size)
        if isinstance(stage, CenterCrop):
            whole = image or picture.rows(0, picture.height, spec.color)
            left, top = (round((have - want) / 2) for have, want in zip(whole.size, size, strict=True))
            image = whole.crop((left, top, left + size[0], top + size[1]))
            continue
        if image is None:
            image = _resized(picture, size, stage.filter, spec.color)
        else:
            image = image.resize(size, _FILTERS[stage.filter][0])
        if isinstance(stage, PadToSize):
            canvas = Image.new("RGB", stage.size, stage.color)
            canvas.paste(image, ((stage.size[0] - size[0]) // 2, (stage.size[1] - size[1]) // 2))
            image = canvas
    assert image is not None  # there is at least one stage
    return image


def _target(stage: Stage, size: tuple[int, int]) -> tuple[int, int]:
    """Width and height that a stage gives the picture, before what it pads."""
    width, height = size
    if isinstance(stage, PadToSize):
        ratio = min(stage.size[0] / width, stage.size[1] / height)
        return max(1, round(width * ratio)), max(1, round(height * ratio))
    if not isinstance(stage.size, int):
        return stage.size
    shorter = min(width, height)
    target = stage.size * width // shorter, stage.size * height // shorter
    if target[0] * target[1] > MAX_PIXELS:
        raise AssetFailed(
            f"the picture is {width} x {height} pixels: with its shorter side resized to {stage.size}, as this "
            "model wants it, it would not fit in memory",
            kind="too-many-pixels",
        )
    return target


def _resized(picture: _Upright, size: tuple[int, int], resize: Filter, color: tuple[int, int, int]) -> Image.Image:
    """Width and height each to its own, as Pillow does it with the whole picture."""
    method = _FILTERS[resize][0]
    tall = Image.new("RGB", (size[0], picture.height), color)
    for top, bottom in _strips(picture.height, picture.width):
        strip = picture.rows(top, bottom, color)
        tall.paste(strip.resize((size[0], bottom - top), method), (0, top))
    return tall.resize(size, method)


def _strips(height: int, width: int) -> Iterator[tuple[int, int]]:
    rows = max(1, _STRIP_PIXELS // width)
    for top in range(0, height, rows):
        yield top, min(top + rows, height)
