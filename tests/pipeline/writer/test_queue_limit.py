"""Tag calls wait while the queues of the stand-in are long (test_throttle.py: the exact limits)."""

from pathlib import Path

import pytest

from autotagger.demo import StandIn, tiny_library
from autotagger.demo.library import PARTNER
from autotagger.demo.world import ALL
from autotagger.immich.client import ImmichClient
from autotagger.immich.dialect import connect
from autotagger.pipeline.writer.throttle import LOOK_EVERY_S, Queues
from tests.pipeline.support import held_links, ledger_links, run_once, settings_for

DIALECTS = ("2.7", "3.0", "3.2")
LEAST = {"asset.read", "asset.view", "tag.read", "tag.create", "tag.asset", "user.read"}


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_there_is_no_room_while_immich_works_on_earlier_calls(dialect: str, tmp_path: Path) -> None:
    async with StandIn(tiny_library(12), dialect) as server:
        settings, clock = settings_for(server, tmp_path), Clock()
        key = settings.immich.api_key
        assert key
        async with ImmichClient(settings.immich, key) as client:
            queues = Queues(client, await connect(client, settings.immich), limit=3, clock=clock)
            assert await queues.have_room()
            server.jobs.pause("sidecar")
            for asset in server.library.assets[:4]:
                server.tag(asset.id, "busy")
            asked = server.calls["queues"] + server.calls["jobs"]
            assert await queues.have_room(), "what was seen a moment ago holds"
            assert server.calls["queues"] + server.calls["jobs"] == asked
            clock.now_s += LOOK_EVERY_S
            assert not await queues.have_room()
            server.jobs.resume("sidecar")
            await server.settle()
            assert not await queues.have_room()
            clock.now_s += LOOK_EVERY_S
            assert await queues.have_room()


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_user_who_is_no_administrator_is_refused_once_and_never_waits(
    dialect: str, tmp_path: Path
) -> None:
    async with StandIn(tiny_library(4), dialect) as server:
        settings = settings_for(server, tmp_path, immich={"api_key": server.add_key([ALL], PARTNER)})
        key, clock = settings.immich.api_key, Clock()
        assert key
        async with ImmichClient(settings.immich, key) as client:
            queues = Queues(client, await connect(client, settings.immich), limit=1, clock=clock)
            assert await queues.have_room()
            clock.now_s += LOOK_EVERY_S
            assert await queues.have_room()
        assert server.calls["queues"] + server.calls["jobs"] == 1


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_key_that_may_not_look_asks_nothing(dialect: str, tmp_path: Path) -> None:
    async with StandIn(tiny_library(4), dialect) as server:
        settings = settings_for(server, tmp_path, immich={"api_key": server.add_key(LEAST), "max_queued": 1})
        await run_once(settings)
        assert not {"queues", "jobs"} & set(server.calls)


async def test_a_whole_run_waits_its_turn_and_loses_nothing(tmp_path: Path) -> None:
    async with StandIn(tiny_library(12), jobs_per_s=40.0) as server:
        settings = settings_for(server, tmp_path, immich={"max_queued": 4, "batch_size": 4})
        await run_once(settings)
        await server.settle()
        assert server.calls["queues"] > 0
        assert held_links(server) == ledger_links(settings)
        assert len(held_links(server)) == 12
