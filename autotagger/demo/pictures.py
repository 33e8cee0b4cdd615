"""The drawn library: every awkward kind of asset once or more, then ordinary pictures up to the wanted number."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from PIL import Image

from autotagger.demo import files
from autotagger.demo.drawing import THEMES, Theme
from autotagger.demo.library import (
    FIRST_UPLOAD_MS,
    PARTNER,
    READ_ONLY_LIBRARY,
    STRANGER,
    WRITABLE_LIBRARY,
    AssetSpec,
    Fate,
    Library,
    Media,
    Preview,
    uuid4_from,
)
from autotagger.tagger.suffixes import PICTURES

DAY_MS = 86_400_000
FIRST_PHOTO_MS = int(datetime(2015, 1, 1, tzinfo=UTC).timestamp() * 1000)
ORDINARY_SIZES = ((640, 480), (800, 600), (1024, 1024), (720, 1280), (1600, 900), (1700, 2200), (300, 400))
TIES = 7
"""Ordinary pictures that share one fileCreatedAt: a burst, a bulk download. Immich breaks ties by chance."""
TINY_TIES = 300
#: Ordinary pictures in ten that are in the album Anime; the others are in Family.
ANIME_IN_TEN = 3
TINY_PICTURES = 8

Draw = Callable[[int, files.Size, Theme], Media]


@dataclass(frozen=True, slots=True)
class _Awkward:
    """An awkward kind: how its file is made and what is special about the asset."""

    name: str
    draw: Draw = files.jpeg
    size: files.Size = (640, 480)
    theme: int = 0
    fate: Fate = Fate.GOOD
    owner_id: str | None = None
    library_id: str | None = None
    visibility: str = "timeline"
    preview: Preview = Preview.READY
    trashed: bool = False


def _unreadable(seed: int, _size: files.Size, _theme: Theme) -> Media:
    return files.corrupt(seed)


AWKWARD = (
    _Awkward("exif-rotated", files.exif_rotated_jpeg, (600, 900), 2),
    _Awkward("transparent-png", files.transparent_png, (640, 640), 3),
    _Awkward("preview-later", theme=4, fate=Fate.WAITING, preview=Preview.LATER),
    _Awkward("preview-truncated", size=(1200, 900), theme=5, fate=Fate.BROKEN, preview=Preview.TRUNCATED),
    _Awkward("corrupt", _unreadable, fate=Fate.CORRUPT, preview=Preview.NEVER),
    _Awkward("read-only", theme=6, fate=Fate.READ_ONLY, library_id=READ_ONLY_LIBRARY),
    _Awkward("external", theme=1, library_id=WRITABLE_LIBRARY),
    _Awkward("trashed", theme=7, fate=Fate.TRASHED, trashed=True),
    _Awkward("locked", theme=8, fate=Fate.LOCKED, visibility="locked"),
    _Awkward("archived", theme=9, visibility="archive"),
    _Awkward("partner", theme=10, fate=Fate.PARTNER, owner_id=PARTNER),
    _Awkward("stranger", theme=10, fate=Fate.STRANGER, owner_id=STRANGER),
    _Awkward("motion-video", files.video, (320, 240), 2, Fate.HIDDEN, visibility="hidden", preview=Preview.NEVER),
    _Awkward("motion-still", size=(1440, 1080), theme=2),
    _Awkward("video", files.video, (1280, 720), 11),
    _Awkward("cmyk", files.cmyk_jpeg, (800, 600), 3),
    _Awkward("png-16-bit", files.png_16_bit, (500, 400), 7),
    _Awkward("palette-png", files.palette_png, (400, 400), 1),
    _Awkward("transparent-webp", files.transparent_webp, (512, 700), 4),
    _Awkward("animated-gif", files.animated_gif, (240, 180), 11),
    _Awkward("animated-webp", files.animated_webp, (240, 320), 6),
    _Awkward("one-pixel", size=(1, 1), theme=3),
    _Awkward("very-tall", size=(400, 20_000), theme=2),
    _Awkward("grey", files.grey_jpeg, (900, 700), 7),
    _Awkward("read-only", theme=2, fate=Fate.READ_ONLY, library_id=READ_ONLY_LIBRARY),
    _Awkward("external", size=(1700, 2200), theme=3, library_id=WRITABLE_LIBRARY),
    _Awkward("partner", theme=0, fate=Fate.PARTNER, owner_id=PARTNER),
    _Awkward("preview-later", theme=8, fate=Fate.WAITING, preview=Preview.LATER),
)


def draw_library(pictures: int = 40, seed: int = 1) -> Library:
    """A library of exactly `pictures` assets. The awkward kinds come first, so a small number drops the rarest.

    The same arguments make the same ids, names, times and bytes on every machine.
    """
    source = random.Random(seed)
    awkward = [_awkward_asset(kind, number, source) for number, kind in enumerate(AWKWARD[:pictures])]
    ordinary = [_ordinary_asset(number, source) for number in range(pictures - len(awkward))]
    return Library(tuple(_with_motion_photo(awkward) + ordinary), seed)


def tiny_library(assets: int, seed: int = 1, *, ties: int = TINY_TIES) -> Library:
    """`assets` good assets that share a handful of 32x32 pictures; `ties` of them share a fileCreatedAt."""
    source = random.Random(seed)
    media = [files.jpeg(number, (32, 32), THEMES[number % len(THEMES)]) for number in range(TINY_PICTURES)]
    return Library(
        tuple(
            AssetSpec(
                id=uuid4_from(source),
                media=media[number % TINY_PICTURES],
                file_name=f"t{number:06}.jpg",
                file_created_ms=FIRST_PHOTO_MS + number // ties * DAY_MS,
                created_ms=FIRST_UPLOAD_MS + number,
            )
            for number in range(assets)
        ),
        seed,
    )


def pictures_from(folder: Path, seed: int = 1) -> Library:
    """A library of the pictures in a folder and below it. Files are read when asked for, nothing is ever written.

    Files with another suffix than a picture's are left out. Only headers are read now: a file that turns out to be
    broken further in counts as good in `expected`, and has no preview all the same. Raises FileNotFoundError where
    there is no such folder.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"no such folder: {folder}")
    source = random.Random(seed)
    return Library(
        tuple(_file_asset(path, number, source) for number, path in enumerate(_pictures_in(folder))), seed
    )


def _awkward_asset(kind: _Awkward, number: int, source: random.Random) -> AssetSpec:
    media = kind.draw(source.getrandbits(32), kind.size, THEMES[kind.theme])
    asset = AssetSpec(
        id=uuid4_from(source),
        media=media,
        file_name=f"{kind.name}-{number:02}{media.suffix}",
        file_created_ms=FIRST_PHOTO_MS + number // 3 * DAY_MS,
        created_ms=FIRST_UPLOAD_MS + number * 1000,
        fate=kind.fate,
        library_id=kind.library_id,
        visibility=kind.visibility,
        preview=kind.preview,
        trashed=kind.trashed,
        awkward=kind.name,
    )
    return asset if kind.owner_id is None else replace(asset, owner_id=kind.owner_id)


def _with_motion_photo(assets: list[AssetSpec]) -> list[AssetSpec]:
    video_id = next((asset.id for asset in assets if asset.awkward == "motion-video"), None)
    return [
        replace(asset, motion_video_id=video_id) if asset.awkward == "motion-still" else asset for asset in assets
    ]


def _ordinary_asset(number: int, source: random.Random) -> AssetSpec:
    size = ORDINARY_SIZES[number % len(ORDINARY_SIZES)]
    return AssetSpec(
        id=uuid4_from(source),
        media=files.jpeg(source.getrandbits(32), size, THEMES[number % len(THEMES)]),
        file_name=f"{number:05}.jpg",
        file_created_ms=FIRST_PHOTO_MS + (100 + number // TIES) * DAY_MS,
        created_ms=FIRST_UPLOAD_MS + (100 + number) * 1000,
        **_place(number),
    )


def _place(number: int) -> dict[str, Any]:
    """Of ten ordinary pictures three are in the album Anime, and seven are a family's, taken with a camera."""
    place: dict[str, Any] = {"favorite": number % 5 == 0}
    if number % 10 < ANIME_IN_TEN:
        return {**place, "albums": ("Anime",), "folder": "/mnt/art"}
    who = ("Anna",) if number % 2 else ("Anna", "Ben")
    return {**place, "albums": ("Family",), "people": who, "make": "Canon"}


def _pictures_in(folder: Path) -> Iterator[Path]:
    Image.init()
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in PICTURES and path.is_file():
            yield path


def _file_asset(path: Path, number: int, source: random.Random) -> AssetSpec:
    stat = path.stat()
    width, height, mime, readable = _header(path)
    media = Media(
        key=f"file-{path}-{stat.st_size}-{stat.st_mtime_ns}",
        mime=mime,
        suffix=path.suffix.lower(),
        width=width,
        height=height,
        original=path.read_bytes,
    )
    return AssetSpec(
        id=uuid4_from(source),
        media=media,
        file_name=path.name,
        file_created_ms=int(stat.st_mtime * 1000),
        created_ms=FIRST_UPLOAD_MS + number * 1000,
        fate=Fate.GOOD if readable else Fate.CORRUPT,
        preview=Preview.READY if readable else Preview.NEVER,
    )


def _header(path: Path) -> tuple[int, int, str, bool]:
    """Width and height as seen, MIME type, and whether Pillow can read the header at all."""
    fallback = Image.MIME.get(Image.EXTENSION.get(path.suffix.lower(), ""), "application/octet-stream")
    try:
        with Image.open(path) as picture:
            width, height = picture.size
            turned = picture.getexif().get(files.EXIF_ORIENTATION, 1) >= 5
            mime = Image.MIME.get(picture.format or "", fallback)
    except (OSError, ValueError, SyntaxError):
        return 0, 0, fallback, False
    return (height, width, mime, True) if turned else (width, height, mime, True)
