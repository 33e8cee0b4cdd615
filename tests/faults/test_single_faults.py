"""One fault each, for those that deserve a test of their own: the story is always the same."""

import asyncio
import os
import random
import signal
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from aiohttp import web

from autotagger.demo import StandIn, tiny_library
from autotagger.demo.faults import Call
from autotagger.demo.library import Library
from autotagger.ledger.states import State
from autotagger.pipeline.ipc.messages import Drained
from autotagger.pipeline.supervisor.processes import ChildProcess
from autotagger.pipeline.supervisor.supervisor import Supervisor
from tests.faults import weather
from tests.faults.stage import gone, make_due
from tests.faults.story import Clock, Story, start, states
from tests.pipeline.support import MARKER, TagCalls, held_links, ledger_links, run_once, settings_for

#: A run that has not ended by then never would.
LONG_S = 100.0


async def test_a_marker_deleted_under_us_is_put_back_and_no_asset_is_blamed(tmp_path: Path) -> None:
    """The first call's jobs are still under way when the loss is seen: a call made into them would lose tags."""
    async with StandIn(tiny_library(40), job_delay_s=0.5) as server:
        proven: set[str] = set()

        async def delete_it(call: Call) -> web.StreamResponse | None:
            if call.name == "tag_assets" and call.number == 4:
                proven.update(states(tmp_path, (State.VERIFIED,)))
                server.delete_tag(MARKER)
            return None

        server.faults = calls = TagCalls(delete_it)
        settings = settings_for(server, tmp_path, verify={"settle_timeout_s": 4.0})
        summary = await run_once(settings)
        assert summary.states[State.FAILED] == 0
        assert summary.counts["repaired"] > 0
        # What was whole when its marker went is named by no listing: ten minutes later it is looked at by itself.
        make_due(settings)
        await server.settle()
        assert (await run_once(settings)).states[State.VERIFIED] == 40
        await server.settle()
        held = held_links(server)
        lacking = {asset_id for asset_id, tags in ledger_links(settings).items() if held[asset_id] != tags}
        assert lacking <= proven, "only what was proven before may do without it: a person's wish"
        assert max(calls.per_asset.values()) == 2, "the call that came too late, and the repair"


async def test_a_canary_whose_marker_was_deleted_does_not_close_its_library(tmp_path: Path) -> None:
    async with StandIn(tiny_library(10)) as server:

        async def delete_it(call: Call) -> web.StreamResponse | None:
            if call.name == "asset" and call.number == 1:
                server.delete_tag(MARKER)
                for row in server.store.rows.values():
                    row.xmp = tuple(value for value in row.xmp or () if value != MARKER)
            return None

        server.faults = delete_it
        summary = await run_once(settings_for(server, tmp_path))
        assert summary.states[State.VERIFIED] == 10
        assert summary.states[State.SKIPPED] == 0


async def test_a_refusal_to_read_one_asset_back_is_that_asset_s_alone(tmp_path: Path) -> None:
    library = tiny_library(12)
    async with StandIn(library) as server:
        victim = library.assets[5].id

        async def refuse(call: Call) -> web.StreamResponse | None:
            if call.name == "asset" and victim in call.request.path:
                return web.json_response({"message": "Something about a sidecar"}, status=400)
            return None

        server.faults = refuse
        summary = await run_once(settings_for(server, tmp_path, verify={"sample": 1.0}))
        assert summary.counts.get("restarts", 0) == 0
        assert summary.states[State.VERIFIED] == 11
        assert summary.failures == {"refused": 1}


async def test_words_of_any_length_from_immich_fit_through_the_channels(tmp_path: Path) -> None:
    drawn = tiny_library(120)
    library = Library(
        tuple(replace(asset, file_name="🌸" * 20_000 + ".jpg") for asset in drawn.assets), drawn.seed
    )
    async with StandIn(library) as server:
        summary = await run_once(settings_for(server, tmp_path))
        assert summary.counts.get("restarts", 0) == 0
        assert summary.states[State.VERIFIED] == 120


async def test_every_answer_of_a_tag_call_may_be_lost_once(tmp_path: Path) -> None:
    """Immich restarts in the middle of a call: it was applied, nobody heard. The same call again adds no link."""
    async with StandIn(tiny_library(40)) as server:
        lost: set[bytes] = set()

        async def lose(call: Call) -> web.StreamResponse | None:
            if call.name != "tag_assets" or (body := await call.request.read()) in lost:
                return None
            lost.add(body)
            return await weather.applied_and_lost(server, call, random.Random(call.number))

        server.faults = lose
        settings = settings_for(server, tmp_path)
        summary = await run_once(settings)
        assert lost
        assert summary.states[State.VERIFIED] == 40
        assert summary.counts.get("repaired", 0) == 0
        await server.settle()
        assert held_links(server) == ledger_links(settings)


async def test_sigterm_while_immich_is_silent_does_not_wait_for_it(tmp_path: Path) -> None:
    async with StandIn(tiny_library(40)) as server:
        silent = asyncio.Event()

        async def fall_silent(call: Call) -> web.StreamResponse | None:
            if call.name == "tag_assets" and call.number > 1:
                silent.set()
                await asyncio.sleep(3600)
            return None

        server.faults = fall_silent
        run = await start(
            server,
            tmp_path / "state",
            tmp_path / "log",
            AUTOTAGGER_IMMICH_RETRY_BUDGET_S="3600",
            AUTOTAGGER_IMMICH_READ_TIMEOUT_S="3600",
            AUTOTAGGER_PIPELINE_DRAIN_TIMEOUT_S="1",
        )
        async with asyncio.timeout(LONG_S):
            await silent.wait()
            run.send_signal(signal.SIGTERM)
            assert await run.wait() == 130
        assert "the next run" in (tmp_path / "log").read_text()
        server.faults = None
        make_due(settings_for(server, tmp_path / "state"))
        summary = await run_once(settings_for(server, tmp_path / "state"))
        assert summary.states[State.VERIFIED] == 40


async def test_a_process_that_hangs_does_not_outlive_a_killed_supervisor(tmp_path: Path) -> None:
    """It would hold the ledger, and no later run could start."""
    async with StandIn(tiny_library(40)) as server:
        run = await start(server, tmp_path / "state", tmp_path / "log")
        story = Story(server, Clock(), tmp_path / "state", random.Random(0), run)
        await story.reached(30)
        assert len(story.below()) == 3
        for child in story.below():
            child.suspend()
        run.kill()
        await run.wait()
        await gone(story)
        assert "Traceback" not in (tmp_path / "log").read_text()
        summary = await run_once(settings_for(server, tmp_path / "state"))
        assert summary.states[State.FAILED] == 0


@pytest.mark.parametrize("signals", [1, 2])
async def test_sigterm_while_the_end_of_once_waits_for_immich_to_settle(signals: int, tmp_path: Path) -> None:
    async with StandIn(tiny_library(20)) as server:
        settings = settings_for(server, tmp_path / "state")
        await run_once(settings, limit=1)
        server.jobs.pause()
        run = await start(server, tmp_path / "state", tmp_path / "log", AUTOTAGGER_VERIFY_SETTLE_TIMEOUT_S="3600")
        async with asyncio.timeout(LONG_S):
            while len(states(tmp_path / "state", (State.APPLIED,))) < 19:  # noqa: ASYNC110 - only looking can tell
                await asyncio.sleep(0.02)
            for _ in range(signals):
                run.send_signal(signal.SIGTERM)
            assert await run.wait() == 130
        server.jobs.resume()
        await server.settle()
        assert (await run_once(settings)).states[State.VERIFIED] == 20


async def test_a_writer_that_dies_while_the_end_waits_for_proof_is_replaced_and_all_is_proven(
    tmp_path: Path,
) -> None:
    async with StandIn(tiny_library(20)) as server:
        settings = settings_for(server, tmp_path / "state")
        await run_once(settings, limit=1)
        server.jobs.pause()
        run = await start(server, tmp_path / "state", tmp_path / "log", AUTOTAGGER_VERIFY_SETTLE_TIMEOUT_S="3600")
        story = Story(server, Clock(), tmp_path / "state", random.Random(0), run)
        async with asyncio.timeout(LONG_S):
            for _ in range(2):
                while len(states(tmp_path / "state", (State.APPLIED,))) < 19 or not writers(story):  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
                [writer] = writers(story)
                writer.kill()
                while writer.is_running():  # noqa: ASYNC110 - only looking can tell
                    await asyncio.sleep(0.02)
            server.jobs.resume()
            assert await run.wait() == 0
        await gone(story)
        assert len(states(tmp_path / "state", (State.VERIFIED,))) == 20
        assert held_links(server) == ledger_links(settings)


def writers(story: Story) -> list[psutil.Process]:
    return [child for child in story.below() if child.name() == "autotag-writer"]


@pytest.mark.parametrize("hangs", [False, True])
async def test_a_writer_that_never_gets_to_its_last_line_costs_nothing_but_that(
    hangs: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything is proven and only the summary of the run is still to be written."""
    hear = Supervisor._hear

    def disturbed(supervisor: Supervisor, child: ChildProcess, message: object) -> None:
        if isinstance(message, Drained):
            os.kill(child.pid, signal.SIGSTOP if hangs else signal.SIGKILL)
        hear(supervisor, child, message)
        if isinstance(message, Drained) and hangs:
            child.heard_s -= settings.pipeline.hang_timeout_s  # nobody has to wait for it

    async with StandIn(tiny_library(12)) as server:
        settings = settings_for(server, tmp_path)
        with monkeypatch.context() as patch:
            patch.setattr(Supervisor, "_hear", disturbed)
            async with asyncio.timeout(LONG_S):
                summary = await run_once(settings)
        assert summary.states[State.VERIFIED] == 12
        assert summary.counts.get("restarts", 0) == 0, "it was done"
        calls = server.calls["preview"], server.calls["tag_assets"]
        assert (await run_once(settings)).states[State.VERIFIED] == 12
        assert (server.calls["preview"], server.calls["tag_assets"]) == calls, "there was nothing left to do"
        assert held_links(server) == ledger_links(settings)


DAY_S = 86_400.0


@pytest.mark.parametrize(("at_the_call", "later"), [(0.0, -7_200.0), (3_650 * DAY_S, 0.0), (0.0, 30 * DAY_S)])
async def test_immich_s_clock_may_be_set_between_call_and_proof(
    at_the_call: float, later: float, tmp_path: Path
) -> None:
    clock = Clock()
    async with StandIn(tiny_library(12), clock=clock) as server:
        settings = settings_for(server, tmp_path, verify={"settle_timeout_s": 3.0})
        await run_once(settings, limit=1)
        server.jobs.pause()
        clock.ahead_s = at_the_call
        assert (await run_once(settings)).unsettled == 11
        clock.ahead_s = later
        server.jobs.resume()
        await server.settle()
        make_due(settings)
        assert (await run_once(settings)).states[State.VERIFIED] == 12
        assert held_links(server) == ledger_links(settings)


async def test_what_never_settles_is_judged_by_what_is_there_after_a_day(tmp_path: Path) -> None:
    """Immich died between the call and its job, which never comes; a person took a tag off meanwhile."""
    clock = Clock()
    async with StandIn(tiny_library(12), clock=clock) as server:
        settings = settings_for(server, tmp_path, verify={"settle_timeout_s": 0.5})
        await run_once(settings, limit=1)
        server.jobs.pause()
        assert (await run_once(settings)).unsettled == 11
        [*_, victim] = ledger_links(settings)
        server.untag(victim, *sorted(ledger_links(settings)[victim] - {MARKER}))
        clock.ahead_s = 2 * DAY_S
        make_due(settings)
        summary = await run_once(settings)
        assert summary.states[State.VERIFIED] == 11
        assert summary.counts["repaired"] == 1
        assert held_links(server) == ledger_links(settings)
