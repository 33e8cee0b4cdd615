"""Frames of a video or an animation, evenly spread.

Videos are read by PyAV (ffmpeg), animated GIF, WebP and PNG by Pillow. A file can come from anybody: ffmpeg may
read what it is given and nothing else (no playlists, which name other files and addresses).
"""

import io
import itertools
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import BinaryIO

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray
from PIL import Image

from autotagger.errors import AssetFailed
from autotagger.tagger.open_picture import broken_picture, check_size, load_picture, open_picture

#: Where the first and the last frame lie, as shares of the duration: titles and black lie outside.
FIRST, LAST = 0.05, 0.95
#: Of the 16 x 16 thumbnails of two frames: below this mean difference (of 255) the later one is dropped. The same
#: frame encoded twice differs by less than 1, another picture by tens.
SAME = 3.0
#: Up to this length a video is decoded from end to end; in a longer one each frame is sought from a key frame.
WALK_S = 60.0
#: Pixels of a frame: 8K has 33 million. A decoder keeps up to 16 of them, and they may be larger than the file
#: says: it has to be told too.
MAX_FRAME_PIXELS = 36_000_000
#: Pixels of all frames that are held at once. Of an animation as large as pictures may be that is the first alone.
MAX_HELD_PIXELS = 8 * MAX_FRAME_PIXELS
#: Formats whose frames are moments: not the pages of a TIFF, nor the other views in a camera's MPO.
_ANIMATED = ("GIF", "WEBP", "PNG", "AVIF")
#: Containers that hold a video and nothing that leads elsewhere.
_OPTIONS = {
    "format_whitelist": "mov,matroska,webm,avi,flv,mpegts,mpeg,asf,ogg",
    "max_pixels": str(MAX_FRAME_PIXELS),  # for the look at the codecs that opening takes
}

Clock = Callable[[], float]


def frames_of(
    file: BinaryIO, most: int, *, every: bool = False, timeout_s: float, clock: Clock = time.monotonic
) -> list[Image.Image]:
    """At most `most` frames, upright, in order, near-duplicates left out; a picture that stands still is one.

    `every`: the file is an excerpt, whose frames are the ones to take. After `timeout_s` (by `clock`) whatever
    has been decoded has to do. Raises AssetFailed: `broken-film`, and for pictures as `prepare` does.
    """
    is_late = _alarm(timeout_s, clock)
    try:
        image = open_picture(file, all_frames=True)
    except AssetFailed as error:
        if error.kind != "not-a-picture":
            raise
        no_picture = error.message
    else:
        if image.format not in _ANIMATED or not getattr(image, "is_animated", False):
            load_picture(image)
            return [image]
        return _distinct(_animation(image, most, is_late), broken_picture)
    file.seek(0)
    try:
        return _distinct(_video(file, most, is_late, every=every), _broken_video)
    except AssetFailed as error:
        if error.kind != "broken-film":
            raise
        raise AssetFailed(f"{no_picture}; as a video: {error.message}", kind=error.kind) from None


def excerpt(file: io.IOBase, most: int) -> bytes:
    """The key frames nearest before `most` moments, as a Matroska file: a fraction of the video has to be read.

    Raises AssetFailed (`broken-film`).
    """
    target = io.BytesIO()
    try:
        with av.open(file, "r", options=_OPTIONS) as source, av.open(target, "w", format="matroska") as copy:
            stream = source.streams.video[0]
            track = copy.add_stream_from_template(stream)
            newest: int | None = None
            for moment in _moments(source, stream, most):
                source.seek(moment, stream=stream)
                packet = next((p for p in source.demux(stream) if p.is_keyframe and p.pts is not None), None)
                if packet is None or packet.pts is None or (newest is not None and packet.pts <= newest):
                    continue
                newest = packet.pts
                packet.stream = track
                copy.mux(packet)
    except MemoryError:
        raise
    except Exception as error:
        raise _broken_video(error) from None
    return target.getvalue()


# -- animations -----------------------------------------------------------------------------------------------


def _animation(image: Image.Image, most: int, is_late: Callable[[], bool]) -> Iterator[Image.Image]:
    count = int(getattr(image, "n_frames", 1))
    now = -1
    for place in sorted({int(share * count) for share in _shares(min(most, count))}):
        while now < place and not (now >= 0 and is_late()):  # each frame is drawn on the one before, however far
            now += 1
            image.seek(now)
            image.load()
        yield image.copy()
        if is_late():
            return


# -- videos ---------------------------------------------------------------------------------------------------


def _video(file: BinaryIO, most: int, is_late: Callable[[], bool], *, every: bool) -> Iterator[Image.Image]:
    with av.open(file, "r", options=_OPTIONS) as source:
        if not source.streams.video:
            raise AssetFailed("the video has no pictures", kind="broken-film")
        stream = source.streams.video[0]
        check_size((stream.width, stream.height), MAX_FRAME_PIXELS)
        stream.codec_context.thread_count = 1  # the other cores have pictures of their own
        stream.codec_context.options = {"max_pixels": str(MAX_FRAME_PIXELS)}
        walk = _every(source, stream, most) if every else _sought(source, stream, most, is_late)
        for frame in walk:
            yield _upright(frame)
            if is_late():
                return


def _every(source: InputContainer, stream: VideoStream, most: int) -> Iterator[VideoFrame]:
    yield from itertools.islice(source.decode(stream), most)


def _sought(
    source: InputContainer, stream: VideoStream, most: int, is_late: Callable[[], bool]
) -> Iterator[VideoFrame]:
    """The frames at `most` moments; where the video ends early, its last one."""
    moments = _moments(source, stream, most)
    is_long = (moments[-1] - moments[0]) * _base(stream) > WALK_S
    frame: VideoFrame | None = None
    for number, moment in enumerate(moments):
        if is_long or not number:
            source.seek(moment, stream=stream)
            frames = source.decode(stream)
        for frame in frames:
            if (frame.pts is not None and frame.pts >= moment) or is_late():
                break
        if frame is not None:
            yield frame


def _moments(source: InputContainer, stream: VideoStream, most: int) -> list[int]:
    """The moments to look at, in the stream's own time."""
    begin = stream.start_time or 0
    if stream.duration:
        length = stream.duration
    elif source.duration:
        length = int(Fraction(source.duration, av.time_base) / _base(stream))
    else:  # a recording that was cut off: its end tells
        length = max((packet.pts or 0 for packet in source.demux(stream)), default=0) - begin
        source.seek(begin, stream=stream)
    return [begin + int(share * length) for share in _shares(most)]


def _base(stream: VideoStream) -> Fraction:
    return stream.time_base or Fraction(1, av.time_base)


def _upright(frame: VideoFrame) -> Image.Image:
    picture: Image.Image = frame.to_image()  # type: ignore[no-untyped-call]
    return picture.rotate(frame.rotation, expand=True) if frame.rotation else picture


# -- both -----------------------------------------------------------------------------------------------------


def _shares(count: int) -> list[float]:
    return [0.5] if count == 1 else np.linspace(FIRST, LAST, count).tolist()


def _distinct(frames: Iterator[Image.Image], broken: Callable[[Exception], AssetFailed]) -> list[Image.Image]:
    """The frames that look different. Where a file breaks off, or memory would, those before it; none at all is an
    error."""
    kept: list[Image.Image] = []
    looks: list[NDArray[np.float32]] = []
    held = 0
    try:
        for frame in frames:
            pixels = frame.width * frame.height
            if kept and held + pixels > MAX_HELD_PIXELS:
                break
            look = np.asarray(frame.convert("RGB").resize((16, 16)), np.float32)
            if all(np.abs(look - other).mean() >= SAME for other in looks):
                kept.append(frame)
                looks.append(look)
                held += pixels
    except (AssetFailed, MemoryError):
        raise
    except Exception as error:  # Pillow and ffmpeg raise nearly anything on damaged bytes
        if not kept:
            raise broken(error) from None
    if not kept:
        raise broken(ValueError("no frame in it"))
    return kept


def _alarm(timeout_s: float, clock: Clock) -> Callable[[], bool]:
    until = clock() + timeout_s
    return lambda: clock() >= until


def _broken_video(error: Exception) -> AssetFailed:
    reason = error.strerror if isinstance(error, OSError | av.error.FFmpegError) and error.strerror else error
    return AssetFailed(f"it cannot be decoded ({reason})", kind="broken-film")
