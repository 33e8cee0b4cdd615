"""Crops, rotations and mirrorings that a user made in Immich (law 19): the file stays, what is shown changes."""

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from PIL import Image, ImageOps

from autotagger.demo.files import encode
from autotagger.demo.library import Media

_FLIPS = {"horizontal": Image.Transpose.FLIP_LEFT_RIGHT, "vertical": Image.Transpose.FLIP_TOP_BOTTOM}


@dataclass(frozen=True, slots=True)
class Crop:
    """Keep this box, pixels of the picture as the edits before it left it."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Rotate:
    """Turn clockwise by 0, 90, 180 or 270 degrees."""

    angle: int


@dataclass(frozen=True, slots=True)
class Mirror:
    """Swap left and right (`horizontal`) or top and bottom (`vertical`)."""

    axis: str


Edit = Crop | Rotate | Mirror


def fits(media: Media, edits: Iterable[Edit]) -> bool:
    """Whether every crop lies inside the picture that it is applied to."""
    width, height = media.width, media.height
    for edit in edits:
        if isinstance(edit, Crop):
            if edit.x + edit.width > width or edit.y + edit.height > height:
                return False
            width, height = edit.width, edit.height
        elif isinstance(edit, Rotate) and edit.angle % 180:
            width, height = height, width
    return True


def edited(media: Media, edits: Sequence[Edit]) -> Media:
    """The picture with the edits applied in their order, as a file of its own (PNG: nothing is lost)."""
    if not edits:
        return media
    width, height = media.width, media.height
    for edit in edits:
        if isinstance(edit, Crop):
            width, height = edit.width, edit.height
        elif isinstance(edit, Rotate) and edit.angle % 180:
            width, height = height, width
    return replace(
        media,
        key=f"{media.key}|{'|'.join(map(repr, edits))}",
        mime="image/png",
        suffix=".png",
        width=width,
        height=height,
        original=partial(_rendered, media, tuple(edits)),
        still=None,
    )


def _rendered(media: Media, edits: tuple[Edit, ...]) -> bytes:
    with Image.open(io.BytesIO(media.original())) as picture:
        shown = ImageOps.exif_transpose(picture)
    for edit in edits:
        shown = _applied(shown, edit)
    return encode(shown, "PNG")


def _applied(picture: Image.Image, edit: Edit) -> Image.Image:
    if isinstance(edit, Crop):
        return picture.crop((edit.x, edit.y, edit.x + edit.width, edit.y + edit.height))
    if isinstance(edit, Rotate):
        return picture.rotate(-edit.angle, expand=True)
    return picture.transpose(_FLIPS[edit.axis])
