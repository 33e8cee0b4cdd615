"""What a sweep and a poll tell the ledger, from a stand-in whose background jobs the test holds back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from autotagger.demo import StandIn, tiny_library
from autotagger.demo.jobs import METADATA, THUMBNAILS
from autotagger.immich.client import ImmichClient
from autotagger.immich.dialect import connect
from autotagger.pipeline.fetcher.lister import OVERLAP_MS, YOUNG_MS, Lister
from autotagger.pipeline.ipc.messages import Listed
from autotagger.settings import Settings
from tests.immich.support import Clock

NOW_MS = 1_800_000_000_000
DIALECTS = pytest.mark.parametrize("dialect", ["2.7", "3.0", "3.2", "4"])


class Notes:
    """What was told: whether each asset was ready, and which held the marker."""

    def __init__(self) -> None:
        self.ready: dict[str, bool] = {}
        self.marked: set[str] = set()
        self.sweeps: set[int] = set()

    async def __call__(self, part: Listed) -> None:
        await asyncio.sleep(0)
        self.ready |= {asset.asset_id: asset.ready for asset in part.assets}
        self.marked |= {asset.asset_id for asset in part.marked if asset.checksum and asset.thumbhash}
        self.sweeps.add(part.sweep)


@asynccontextmanager
async def lister_of(server: StandIn, now_ms: int = NOW_MS) -> AsyncIterator[tuple[Lister, Notes]]:
    settings = Settings.model_validate({"immich": {"base_url": server.url, "api_key": server.api_key}})
    clock, notes = Clock(), Notes()
    assert settings.immich.api_key
    async with ImmichClient(settings.immich, settings.immich.api_key, sleep=clock.sleep, clock=clock) as client:
        found = await connect(client, settings.immich)
        yield Lister(client, found, settings, note=notes, now_ms=lambda: now_ms), notes


@DIALECTS
async def test_an_upload_is_told_by_the_next_poll_and_is_ready_when_its_metadata_was_read(dialect: str) -> None:
    server = StandIn(tiny_library(30), dialect, clock=lambda: NOW_MS / 1000)
    async with server, lister_of(server) as (lister, notes):
        end = await lister.sweep(1)
        assert len(notes.ready) == 30
        assert all(notes.ready.values())
        newest = max(asset.created_ms for asset in server.library.assets)
        assert end.poll_from_ms == newest - OVERLAP_MS

        server.jobs.pause(METADATA)
        uploaded = server.upload()
        await server.jobs.settle(THUMBNAILS)
        notes.ready.clear()
        end_of_poll = await lister.poll(end.poll_from_ms)
        assert notes.ready.pop(uploaded) is False, "its preview is there, its metadata is not"
        assert end_of_poll.poll_from_ms == min(NOW_MS - OVERLAP_MS, NOW_MS - 1)

        server.jobs.resume()
        await server.settle()
        notes.ready.clear()
        await lister.poll(end_of_poll.poll_from_ms)
        assert notes.ready == {uploaded: True}, "and nothing older than the overlap"


async def test_what_is_not_ready_is_polled_for_as_long_as_it_takes_and_swept_up_in_the_end() -> None:
    now = [NOW_MS]
    server = StandIn(tiny_library(3), clock=lambda: now[0] / 1000)
    async with server:
        server.jobs.pause(METADATA)
        stuck = server.upload()
        now[0] += 3_600_000
        server.upload()
        async with lister_of(server, now[0]) as (lister, notes):
            end = await lister.sweep(1)
            assert end.poll_from_ms == NOW_MS - 1, "further back than the overlap: to where it was taken in"
            assert notes.ready[stuck] is False
        async with lister_of(server, NOW_MS + YOUNG_MS + 1) as (lister, notes):
            await lister.sweep(2)
            assert notes.ready[stuck] is True, "what is never read in a week never will be"


async def test_an_asset_from_the_future_does_not_hide_those_of_today() -> None:
    now = [NOW_MS + 10**9]
    server = StandIn(tiny_library(3), clock=lambda: now[0] / 1000)
    async with server, lister_of(server) as (lister, notes):
        server.upload()
        await server.settle()
        now[0] = NOW_MS
        end = await lister.sweep(1)
        today = server.upload()
        await server.settle()
        await lister.poll(end.poll_from_ms)
        assert notes.ready[today]


@DIALECTS
async def test_a_sweep_tells_of_marked_assets_what_tells_one_picture_from_another(dialect: str) -> None:
    async with StandIn(tiny_library(12), dialect) as server, lister_of(server) as (lister, notes):
        marked = {asset.id for asset in server.library.assets[:5]}
        for asset_id in marked:
            server.tag(asset_id, "auto:processed")
        await server.settle()
        await lister.sweep(4)
        assert notes.marked == marked
        assert len(notes.ready) == 7
        assert notes.sweeps == {4}
