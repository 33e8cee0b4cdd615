"""Law 17: what one picture's broken .xmp says of its library, and what a closed library makes of a run."""

import asyncio
import json
from pathlib import Path

import pytest

from autotagger.demo import StandIn, tiny_library
from autotagger.demo.faults import Call
from autotagger.demo.library import READ_ONLY_LIBRARY
from autotagger.ledger.states import State
from tests import forked
from tests.pipeline.support import TagCalls, held_links, ledger_links, run_once, settings_for


@pytest.mark.parametrize("broken", [1, 2])
async def test_canaries_with_an_unwritable_xmp_do_not_close_a_library(broken: int, tmp_path: Path) -> None:
    bad: list[str] = []
    async with StandIn(tiny_library(12)) as server:

        async def spoil(call: Call) -> None:
            if call.name == "tag_assets" and call.number <= broken:
                bad.extend(json.loads(await call.request.read())["assetIds"])
                server.make_sidecar_unwritable(bad[-1])

        server.faults = calls = TagCalls(spoil)
        settings = settings_for(server, tmp_path)
        summary = await run_once(settings)
        assert len(bad) == broken
        assert (summary.closed, summary.failures) == (0, {"tags-do-not-stick": broken})
        assert summary.states[State.VERIFIED] == 12 - broken
        again = await run_once(settings)
        assert again.states[State.VERIFIED] == 12 - broken
        assert set(calls.per_asset.values()) == {1}
        await server.settle()
        held = held_links(server)
        assert held == {key: tags for key, tags in ledger_links(settings).items() if key not in bad}


async def test_another_picture_with_an_unwritable_xmp_is_that_picture_s_failure(tmp_path: Path) -> None:
    """No listing names it, since it lost its marker too: a look at it by itself tells."""
    async with StandIn(tiny_library(12)) as server:
        settings = settings_for(server, tmp_path)
        await run_once(settings, limit=1)
        victim = next(asset.id for asset in server.library.assets if not server.links()[asset.id])
        server.make_sidecar_unwritable(victim)
        summary = await run_once(settings)
        assert (summary.closed, summary.failures) == (0, {"tags-lost": 1})
        assert summary.states[State.VERIFIED] == 11
        assert summary.unsettled == 0


async def test_a_closed_library_makes_every_run_end_with_1_and_the_reason(tmp_path: Path) -> None:
    async with StandIn(tiny_library(4)) as server:
        for _ in range(5):
            server.upload(library_id=READ_ONLY_LIBRARY)
        await server.settle()
        environ = {
            "AUTOTAGGER_CONFIG": "/dev/null",
            "AUTOTAGGER_STATE_DIR": str(tmp_path),
            "AUTOTAGGER_MODEL": "palette",
            "AUTOTAGGER_MODEL_DEVICE": "CPU",
            "IMMICH_BASE_URL": server.url,
            "IMMICH_API_KEY": server.api_key,
            "AUTOTAGGER_SERVICE_LISTEN_PORT": "0",
        }
        for _ in range(2):
            done = await asyncio.to_thread(forked.command, "run", "--once", environ=environ)
            assert done.code == 1, done.err
            assert done.err.count("a whole library is skipped: Immich dropped the tags of 3 pictures again") == 1
            assert "Mount it read-write" in done.err
        said = await asyncio.to_thread(forked.command, "status", environ=environ)
        assert "a whole library is skipped: Immich dropped the tags of 3 pictures again" in said.out
        assert sum(bool(tags) for tags in server.links().values()) == 4
