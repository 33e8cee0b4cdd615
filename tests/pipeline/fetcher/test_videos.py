"""Videos and animations through the pipeline: frames judged, the still frame where that is not possible."""

import asyncio
import io
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydantic import SecretStr

from autotagger.demo import StandIn
from autotagger.demo.files import encode, encoded_video
from autotagger.demo.library import AssetSpec, Library, Media
from autotagger.errors import Unreachable
from autotagger.immich.client import ImmichClient
from autotagger.immich.types import Dialect, Server, ServerVersion
from autotagger.ledger.reader import LedgerReader
from autotagger.ledger.rows import Work
from autotagger.pipeline.fetcher import videos as videos
from autotagger.pipeline.fetcher.videos import VideoFetcher
from autotagger.pipeline.ipc.payload import Video, pack_original, pack_video, unpack_body
from autotagger.scores import unpack
from autotagger.settings import Settings
from autotagger.tagger.video import frames_of
from tests.pipeline.support import held_links, run_once, settings_for

SIZE = (64, 64)  # square: palette judges the edge, and padding is white
WHITE, BLACK = Image.new("RGB", SIZE, "white"), Image.new("RGB", SIZE, "black")


def media(key: str, mime: str, original: Callable[[], bytes]) -> Media:
    """A video whose still frame is white."""
    still = lambda: encode(WHITE, "PNG")  # noqa: E731
    return Media(key, mime, f".{mime[-3:]}", *SIZE, original, still=still, duration_ms=4000)


def library(*contents: Media) -> Library:
    ids = (f"77b164be-9617-4424-8f2c-{number:012x}" for number in range(100))
    assets = (
        AssetSpec(next(ids), each, f"{each.key}{each.suffix}", 1_700_000_000_000, 1_700_000_000_000)
        for each in contents
    )
    return Library(tuple(assets))


def gif(frames: Iterable[Image.Image]) -> bytes:
    first, *others = frames
    return encode(first, "GIF", save_all=True, append_images=others, duration=100)


async def test_frames_are_judged_and_the_still_frame_where_there_are_none(tmp_path: Path) -> None:
    shown = library(
        media("video", "video/mp4", lambda: encoded_video([WHITE, BLACK], 4)),
        media("animation", "image/gif", lambda: gif([WHITE, BLACK])),
        media("broken", "video/mp4", lambda: b"\0\0\0\x20ftypisom" + bytes(3000)),
    )
    async with StandIn(shown) as server:
        settings = settings_for(server, tmp_path)
        summary = await run_once(settings)
        tags = {asset.media.key: held_links(server)[asset.id] for asset in shown.assets}
        with LedgerReader(settings.ledger_path) as ledger:
            stored = [ledger.scores_of(asset.id) for asset in shown.assets]
    for name in ("video", "animation"):
        assert {"white background", "black background"} <= tags[name], "the highest score of any frame"
    assert "black background" not in tags["broken"]
    assert "white background" in tags["broken"]
    assert [unpack(scored.packed).frames for scored in stored if scored] == [2, 2, 1]
    assert summary.counts["film_downloads"] == 3


# -- what is downloaded ---------------------------------------------------------------------------------------


class Fetching:
    """A VideoFetcher on a stand-in."""

    def __init__(self, client: ImmichClient, settings: Settings, *, download: bool = True) -> None:
        permissions = frozenset({"asset.download"} if download else ())
        server = Server(ServerVersion(3, 0, 3), Dialect.V3_0, permissions, None)
        self.counts: list[str] = []
        self._fetcher = VideoFetcher(client, settings, server, asyncio.Semaphore(2), self.counts.append)

    async def fetch(self, asset: AssetSpec) -> Video | None:
        kind = "VIDEO" if asset.media.kind == "VIDEO" else "ANIMATION"
        return await self._fetcher.fetch(Work(asset.id, kind, asset.media.mime, asset.file_name))


def noise(count: int) -> list[Image.Image]:
    """Pictures that compress badly, from dark to bright."""
    grain = Image.effect_noise((640, 480), 90)
    return [grain.point(lambda level, n=number: level // 2 + 3 * n).convert("RGB") for number in range(count)]


@pytest.fixture(scope="module")
def large() -> bytes:
    """A video of a few megabytes, a key frame each second."""
    return encoded_video(noise(40), 40)


def client_for(settings: Settings, server: StandIn) -> ImmichClient:
    return ImmichClient(settings.immich, SecretStr(server.api_key))


async def test_of_a_large_video_only_ranges_are_read(
    large: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(videos, "WHOLE_BYTES", 1 << 18)
    monkeypatch.setattr(videos, "BLOCK_BYTES", 1 << 16)
    shown = library(media("large", "video/mp4", lambda: large))
    async with StandIn(shown) as server:
        settings = settings_for(server, tmp_path, video={"frames": 4})
        async with client_for(settings, server) as client:
            found = await Fetching(client, settings).fetch(shown.assets[0])
    assert found is not None
    assert found.excerpt
    assert len(frames_of(io.BytesIO(found.body), 4, every=True, timeout_s=60.0)) == 4
    read = (1 << 18) + (server.calls["playback"] - 1) * (1 << 16)
    assert read < len(large) / 2


async def test_what_lies_too_far_apart_or_comes_whole_is_left_to_the_still_frame(
    large: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(videos, "WHOLE_BYTES", 1 << 18)
    assert len(large) > 1 << 20
    shown = library(
        media("large", "video/mp4", lambda: large), media("gif", "image/gif", lambda: gif([WHITE, BLACK]))
    )
    async with StandIn(shown) as server:
        settings = settings_for(server, tmp_path, video={"max_bytes": 1 << 20})
        async with client_for(settings, server) as client:
            fetching = Fetching(client, settings, download=False)
            assert [await fetching.fetch(asset) for asset in shown.assets] == [None, None]
    assert fetching.counts == ["still_frames"] * 2


async def test_a_server_that_is_down_is_not_the_videos_fault(tmp_path: Path) -> None:
    shown = library(media("video", "video/mp4", lambda: encoded_video([BLACK], 4)))
    async with StandIn(shown) as server:
        settings = settings_for(server, tmp_path, immich={"retry_budget_s": 0.0})
        client = client_for(settings, server)
    async with client:
        with pytest.raises(Unreachable):
            await Fetching(client, settings).fetch(shown.assets[0])


def test_a_video_travels_through_a_slot() -> None:
    payload = unpack_body(memoryview(pack_video("ä.mp4", Video(b"video", excerpt=True), b"still")))
    assert (bytes(payload.still), payload.name) == (b"still", "ä.mp4")
    assert payload.video is not None
    assert (bytes(payload.video.body), payload.video.excerpt) == (b"video", True)
    picture = unpack_body(memoryview(b"\xff\xd8\xff"))
    assert (bytes(picture.still), picture.video) == (b"\xff\xd8\xff", None)


def test_an_original_travels_with_its_preview() -> None:
    payload = unpack_body(memoryview(pack_original("ä.png", b"original", b"preview")))
    assert payload.original is not None
    assert (bytes(payload.original), bytes(payload.still), payload.name) == (b"original", b"preview", "ä.png")
    assert payload.video is None


@given(
    begin=st.sampled_from([0, 16, 17, 18, 22, 26, 40]),
    places=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 255)), max_size=3),
    rest=st.binary(max_size=60),
)
def test_any_bytes_in_a_slot_are_a_video_or_a_picture(
    begin: int, places: list[tuple[int, int]], rest: bytes
) -> None:
    body = bytearray(pack_video("ä.mp4", Video(b"video"), b"still")[:begin] + rest)
    for place, value in places:
        if place < len(body):
            body[place] = value
    payload = unpack_body(memoryview(body))
    if payload.video is not None:
        assert len(payload.still) + len(payload.video.body) < len(body)
    elif payload.original is not None:
        assert len(payload.still) + len(payload.original) < len(body)
    else:
        assert payload.still == body, "a picture is looked at as a whole"
