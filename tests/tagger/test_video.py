"""Frames of videos and animations: which moments, which of them differ, and what may not be read."""

import io
import itertools
from collections.abc import Sequence
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from autotagger.demo.files import VIDEO_FPS, encoded_video
from autotagger.errors import AssetFailed
from autotagger.scores import SCORE_FLOOR
from autotagger.tagger.combine import combined, mean_rows
from autotagger.tagger.video import MAX_FRAME_PIXELS, excerpt, frames_of
from tests.tagger.support import encoded

SIZE = (64, 48)


def greys(count: int) -> list[Image.Image]:
    """Scenes from black to white."""
    return [Image.new("RGB", SIZE, (level,) * 3) for level in np.linspace(0, 255, count).astype(int).tolist()]


def shades(frames: Sequence[Image.Image]) -> list[float]:
    """Mean brightness of each frame as a share of white: with `greys`, where in the video it lies."""
    return [float(np.asarray(frame.convert("L")).mean()) / 255 for frame in frames]


def taken(body: bytes, most: int = 8, *, every: bool = False) -> list[Image.Image]:
    return frames_of(io.BytesIO(body), most, every=every, timeout_s=60.0, clock=lambda: 0.0)


@pytest.mark.parametrize("seconds", [10, 70], ids=["walked through", "sought"])
def test_the_moments_lie_from_5_to_95_percent(seconds: int) -> None:
    body = encoded_video(greys(40), seconds, gop=7)
    assert shades(taken(body)) == pytest.approx(np.linspace(0.05, 0.95, 8), abs=0.04)
    assert shades(taken(body, 1)) == pytest.approx([0.5], abs=0.04)


def test_frames_that_look_the_same_are_one() -> None:
    assert len(taken(encoded_video(greys(3), 8))) == 3
    assert len(taken(encoded_video(greys(1), 8))) == 1


def test_a_video_is_turned_upright() -> None:
    scene = Image.new("RGB", SIZE, "black")
    scene.paste("white", (0, 0, 64, 24))  # the upper half
    [frame] = taken(encoded_video([scene], 2, rotation=90))
    left = np.asarray(frame.convert("L"))[:, : frame.width // 2].mean()
    assert frame.size == SIZE[::-1]
    assert left > 200, "a quarter turn against the clock puts what was above to the left"


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_animations(kind: str) -> None:
    first, *others = greys(40)
    body = encoded(first, kind, save_all=True, append_images=others, duration=50)
    assert shades(taken(body)) == pytest.approx(np.linspace(0.05, 0.95, 8), abs=0.04)
    assert len(taken(body, 1)) == 1


def test_a_picture_is_its_only_frame() -> None:
    assert [frame.size for frame in taken(encoded(greys(1)[0], "JPEG"))] == [SIZE]


def test_late_means_that_what_is_there_has_to_do() -> None:
    now = iter(range(1000))
    body = encoded_video(greys(40), 10)
    frames = frames_of(io.BytesIO(body), 8, timeout_s=3.0, clock=lambda: float(next(now)))
    assert 1 <= len(frames) < 8


def test_late_on_the_way_to_a_frame_means_the_same() -> None:
    """A small file can have a million frames, each of which is drawn on the one before."""
    first, *others = greys(100)
    body = encoded(first, "GIF", save_all=True, append_images=others)
    now = itertools.count()
    [frame] = frames_of(io.BytesIO(body), 1, timeout_s=5.0, clock=lambda: float(next(now)))
    assert shades([frame])[0] < 0.1, "not the middle one"


def mjpeg(sizes: Sequence[tuple[int, int]]) -> bytes:
    """A video that says of itself that it is as large as the first of its frames."""
    target = io.BytesIO()
    with av.open(target, "w", format="avi") as container:
        stream = container.add_stream("mjpeg", rate=VIDEO_FPS)
        stream.width, stream.height = sizes[0]
        stream.pix_fmt = "yuvj420p"
        for number, size in enumerate(sizes):
            packet = av.Packet(encoded(Image.new("RGB", size, (250, 40 * number, 0)), "JPEG"))
            packet.stream, packet.pts, packet.time_base = stream, number, Fraction(1, VIDEO_FPS)
            container.mux(packet)
    return target.getvalue()


def test_a_frame_larger_than_its_video_says_is_not_decoded() -> None:
    huge = (7_000, 6_000)
    assert huge[0] * huge[1] > MAX_FRAME_PIXELS
    assert {frame.size for frame in taken(mjpeg([SIZE, SIZE, huge, SIZE]))} == {SIZE}
    with pytest.raises(AssetFailed) as caught:
        taken(mjpeg([huge]))
    assert caught.value.kind in ("broken-film", "too-many-pixels")


@pytest.mark.parametrize("kind", ["GIF", "MP4"])
def test_no_more_frames_are_held_than_there_is_room_for(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first, *others = greys(8)
    body = (
        encoded_video([first, *others], 8)
        if kind == "MP4"
        else encoded(first, kind, save_all=True, append_images=others)
    )
    monkeypatch.setattr("autotagger.tagger.video.MAX_HELD_PIXELS", 3 * SIZE[0] * SIZE[1])
    assert len(taken(body)) == 3


def test_what_breaks_off_is_judged_by_what_came_before() -> None:
    first, *others = (Image.effect_noise(SIZE, 90).convert("P") for _ in range(8))
    body = encoded(first, "GIF", save_all=True, append_images=others)
    assert 1 <= len(taken(body[: len(body) // 2])) < 8


@pytest.mark.parametrize(
    "body",
    [
        b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n/etc/hostname\n#EXT-X-ENDLIST\n",
        b"ffconcat version 1.0\nfile /etc/hostname\n",
        b"no video at all",
        encoded_video(greys(3), 4)[:1000],
    ],
    ids=["playlist", "list of files", "text", "cut before its index"],
)
def test_what_is_no_video_or_leads_elsewhere_is_refused(body: bytes) -> None:
    with pytest.raises(AssetFailed) as caught:
        taken(body)
    assert caught.value.kind == "broken-film"


def test_an_excerpt_holds_the_key_frames_and_reads_little_else() -> None:
    noise = [Image.effect_noise((320, 240), 60 + 6 * number).convert("RGB") for number in range(30)]
    body = encoded_video(noise, 60, gop=4 * VIDEO_FPS)

    class Counted(io.BytesIO):
        read_bytes = 0

        def read(self, size: int | None = -1, /) -> bytes:
            found = super().read(size)
            Counted.read_bytes += len(found)
            return found

    cut = excerpt(Counted(body), 4)
    assert len(taken(cut, 4, every=True)) == 4
    assert len(cut) < len(body) / 8
    assert Counted.read_bytes < len(body) / 2


def test_scores_of_frames_become_one() -> None:
    frames = [np.array(row, np.float32) for row in ([0.9, 0.1, 0.0], [0.1, 0.3, 0.0])]
    scores, seen = combined(frames, mean_rows(["rating", "general", "general"], {"rating": "mean"}))
    assert scores.tolist() == pytest.approx([0.5, 0.3, 0.0])
    assert seen is not None
    assert seen.tolist() == [2, 2, 0]
    assert 0.0 < SCORE_FLOOR < 0.1
    alone, nothing = combined(frames[:1], mean_rows(["rating", "general", "general"], {"rating": "mean"}))
    assert (alone.tolist(), nothing) == (frames[0].tolist(), None)
