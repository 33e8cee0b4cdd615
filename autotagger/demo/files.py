"""Drawn pictures as files of every awkward kind that real libraries hold. Each function answers a lazy `Media`."""

import io
import random
from collections.abc import Callable

from PIL import Image

from autotagger.demo.drawing import Theme, draw, draw_cutout
from autotagger.demo.library import Media

Size = tuple[int, int]
EXIF_ORIENTATION = 0x0112
ROTATED_90_CW = 6
"""Orientation 6: the stored picture must be turned 90 degrees clockwise to be seen upright."""


def encode(picture: Image.Image, file_format: str, **options: object) -> bytes:
    """The picture's bytes in a file format of Pillow."""
    target = io.BytesIO()
    picture.save(target, file_format, **options)
    return target.getvalue()


def jpeg(seed: int, size: Size, theme: Theme) -> Media:
    return _media(f"jpeg-{seed}", "image/jpeg", ".jpg", size, lambda: encode(draw(seed, size, theme), "JPEG"))


def exif_rotated_jpeg(seed: int, size: Size, theme: Theme) -> Media:
    """Stored lying on its side; `size` is what a viewer shows."""

    def make() -> bytes:
        exif = Image.Exif()
        exif[EXIF_ORIENTATION] = ROTATED_90_CW
        stored = draw(seed, size, theme).transpose(Image.Transpose.ROTATE_90)
        return encode(stored, "JPEG", exif=exif)

    return _media(f"rotated-{seed}", "image/jpeg", ".jpg", size, make)


def cmyk_jpeg(seed: int, size: Size, theme: Theme) -> Media:
    return _media(
        f"cmyk-{seed}", "image/jpeg", ".jpg", size, lambda: encode(draw(seed, size, theme).convert("CMYK"), "JPEG")
    )


def grey_jpeg(seed: int, size: Size, theme: Theme) -> Media:
    return _media(
        f"grey-{seed}", "image/jpeg", ".jpg", size, lambda: encode(draw(seed, size, theme).convert("L"), "JPEG")
    )


def png_16_bit(seed: int, size: Size, theme: Theme) -> Media:
    """16-bit greyscale: decoders that clip instead of scaling turn it white."""

    def make() -> bytes:
        grey = draw(seed, size, theme).convert("L").convert("I").point(lambda value: value * 257)
        return encode(grey.convert("I;16"), "PNG")

    return _media(f"png16-{seed}", "image/png", ".png", size, make)


def palette_png(seed: int, size: Size, theme: Theme) -> Media:
    """65 colours at most, one of them fully transparent (and pink to those who overlook that)."""

    def make() -> bytes:
        cutout = draw_cutout(seed, size, theme)
        flat = cutout.convert("RGB").quantize(64)
        colours = flat.getpalette() or []
        clear = len(colours) // 3
        flat.putpalette([*colours, 255, 0, 255])
        flat.paste(clear, mask=cutout.getchannel("A").point(lambda alpha: 255 if alpha < 64 else 0))
        return encode(flat, "PNG", transparency=clear)

    return _media(f"palette-{seed}", "image/png", ".png", size, make, transparent=True)


def transparent_png(seed: int, size: Size, theme: Theme) -> Media:
    """A figure on full transparency, in parts half transparent."""
    return _media(
        f"rgba-{seed}",
        "image/png",
        ".png",
        size,
        lambda: encode(draw_cutout(seed, size, theme), "PNG"),
        transparent=True,
    )


def transparent_webp(seed: int, size: Size, theme: Theme) -> Media:
    """The same as a lossy WebP."""
    return _media(
        f"webp-{seed}",
        "image/webp",
        ".webp",
        size,
        lambda: encode(draw_cutout(seed, size, theme), "WEBP", quality=90),
        transparent=True,
    )


def animated_gif(seed: int, size: Size, theme: Theme) -> Media:
    return _animation(f"gif-{seed}", "image/gif", ".gif", "GIF", seed, size, theme)


def animated_webp(seed: int, size: Size, theme: Theme) -> Media:
    return _animation(f"awebp-{seed}", "image/webp", ".webp", "WEBP", seed, size, theme)


def video(seed: int, size: Size, theme: Theme) -> Media:
    """Seven seconds of H.264 with three scenes of one theme; Immich's still frame is the first of them."""
    return Media(
        key=f"video-{seed}",
        mime="video/mp4",
        suffix=".mp4",
        width=size[0],
        height=size[1],
        original=lambda: encoded_video([draw(seed + scene, size, theme) for scene in range(SCENES)], VIDEO_S),
        still=lambda: encode(draw(seed, size, theme), "PNG"),
        duration_ms=VIDEO_S * 1000,
    )


def encoded_video(scenes: list[Image.Image], seconds: int, *, gop: int = 4, rotation: int = 0) -> bytes:
    """An MP4 that shows each scene for the same time; a key frame every `gop` frames, of which a second has 4.

    `rotation`: degrees, against the clock, by which a player is told to turn it.
    """
    import av  # here: only what plays a video needs ffmpeg

    target = io.BytesIO()
    with av.open(target, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=VIDEO_FPS)
        stream.width, stream.height = scenes[0].size
        stream.pix_fmt = "yuv420p"
        stream.options = {"preset": "ultrafast", "g": str(gop), "sc_threshold": "0"}
        stream.set_display_rotation(rotation)
        for number in range(seconds * VIDEO_FPS):
            scene = scenes[number * len(scenes) // (seconds * VIDEO_FPS)]
            frame = av.VideoFrame.from_image(scene)  # type: ignore[no-untyped-call]
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return target.getvalue()


def corrupt(seed: int) -> Media:
    """A file called .jpg that no decoder reads: Immich never makes a preview of it."""
    return _media(f"corrupt-{seed}", "image/jpeg", ".jpg", (0, 0), lambda: random.Random(seed).randbytes(2000))


FRAMES = 4
FRAME_MS = 200
VIDEO_S = 7
VIDEO_FPS = 4
SCENES = 3


def _animation(key: str, mime: str, suffix: str, file_format: str, seed: int, size: Size, theme: Theme) -> Media:
    def make() -> bytes:
        first, *others = (draw(seed + frame, size, theme) for frame in range(FRAMES))
        return encode(first, file_format, save_all=True, append_images=others, duration=FRAME_MS, loop=0)

    return _media(key, mime, suffix, size, make, duration_ms=FRAMES * FRAME_MS)


def _media(
    key: str,
    mime: str,
    suffix: str,
    size: Size,
    original: Callable[[], bytes],
    *,
    duration_ms: int | None = None,
    transparent: bool = False,
) -> Media:
    return Media(
        key=f"{key}-{size[0]}x{size[1]}",
        mime=mime,
        suffix=suffix,
        width=size[0],
        height=size[1],
        original=original,
        duration_ms=duration_ms,
        transparent=transparent,
    )
