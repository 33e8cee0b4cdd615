"""A process that is refused memory or file descriptors is replaced.

Nobody else is blamed for what it could not do: not Immich, not the ledger, no picture.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from autotagger.demo import StandIn, tiny_library
from autotagger.ledger.states import State
from tests.faults.plot import Plot
from tests.faults.stage import Links, gone, perform
from tests.faults.story import Clock, Story, start
from tests.pipeline.support import run_once, settings_for

#: Less of each than a process has already: it can have nothing more.
NOTHING_MORE = {"memory": (psutil.RLIMIT_AS, 1 << 20), "descriptors": (psutil.RLIMIT_NOFILE, 3)}
#: Moments of a run (calls that Immich has had) at which each process is hit; the first in the ordinary suite.
MOMENTS = {
    "fetcher": (40, 10, 20, 30, 50, 60),
    "inferencer": (20, 10, 30, 40, 50, 60),
    "writer": (80, 10, 30, 60, 70, 90, 100, 110),
}
#: A run that has not ended by then never would.
LONG_S = 100.0


async def child_named(story: Story, role: str) -> psutil.Process:
    name = f"autotag-{role}"[:15]
    while not (named := [child for child in story.below() if child.name() == name]):  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    return named[0]


@pytest.mark.parametrize("resource", NOTHING_MORE)
@pytest.mark.parametrize(
    ("role", "moment"),
    [
        pytest.param(role, moment, marks=[pytest.mark.slow] if place else [])
        for role, moments in MOMENTS.items()
        for place, moment in enumerate(moments)
    ],
)
async def test_a_process_that_is_given_nothing_more_is_replaced_and_blames_nobody(
    resource: str, role: str, moment: int, tmp_path: Path, meant: Links
) -> None:
    async def refuse(story: Story) -> None:
        """Nothing more than it has, for the process and for whatever it would start."""
        story.tracebacks = True
        limit, little = NOTHING_MORE[resource]
        (await child_named(story, role)).rlimit(limit, (little, little))
        if resource == "descriptors":  # its connections are cut: it needs others
            await story.server.go_down()
            await story.server.come_up()

    await perform(Plot(moment, "3.0", "3.0", ((moment, refuse),), None, 0), tmp_path, meant)


@contextmanager
def refused(process: psutil.Process, resource: str) -> Iterator[None]:
    limit, little = NOTHING_MORE[resource]
    before = process.rlimit(limit)
    assert before is not None
    process.rlimit(limit, (little, before[1]))
    try:
        yield
    finally:
        with suppress(psutil.NoSuchProcess):
            process.rlimit(limit, before)


@asynccontextmanager
async def begun(server: StandIn, folder: Path) -> AsyncIterator[Story]:
    """A run that is under way; it has ended, with all its processes, by the end of the block."""
    run = await start(server, folder / "state", folder / "log")
    story = Story(server, Clock(), folder / "state", random.Random(0), run)
    try:
        async with asyncio.timeout(LONG_S):
            await in_the_log(folder, "inference runs on")
            await story.reached(20)
            yield story
        await gone(story)
    finally:
        if run.returncode is None:
            run.kill()
            await run.wait()


async def in_the_log(folder: Path, words: str) -> None:
    while words not in (folder / "log").read_text():  # noqa: ASYNC110 - only looking can tell
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("for_ever", [False, True])
async def test_a_replacement_that_cannot_be_started_is_tried_again_and_in_the_end_given_up(
    for_ever: bool, tmp_path: Path
) -> None:
    """Else the run would wait for ever for a process that nobody starts."""
    async with StandIn(tiny_library(40)) as server:
        async with begun(server, tmp_path) as story:
            with refused(psutil.Process(story.run.pid), "descriptors"):
                (await child_named(story, "inferencer")).kill()
                await in_the_log(tmp_path, "the inferencer cannot be started (Too many open files); replaced in")
                if for_ever:
                    assert await story.run.wait() == 70
            assert await story.run.wait() == (70 if for_ever else 0)
        assert "Traceback" not in (tmp_path / "log").read_text()
        assert ("out of resources: no more file descriptors" in (tmp_path / "log").read_text()) is for_ever
        assert (await run_once(settings_for(server, tmp_path / "state"))).states[State.VERIFIED] == 40


async def test_a_supervisor_without_memory_ends_the_run(tmp_path: Path) -> None:
    async with StandIn(tiny_library(40)) as server:
        async with begun(server, tmp_path) as story:
            with refused(psutil.Process(story.run.pid), "memory"):
                (await child_named(story, "fetcher")).kill()
                assert await story.run.wait() == 70
        assert "Traceback" not in (tmp_path / "log").read_text()
        assert (await run_once(settings_for(server, tmp_path / "state"))).states[State.VERIFIED] == 40
