"""Faults at random, from a seed: whatever happens to a run, the end is the same as if nothing had happened.

A failing seed tells its story in its first line of output, and `-k seed-17` plays it again.
"""

import asyncio
from pathlib import Path

import pytest

from autotagger.demo import StandIn, tiny_library
from tests.faults.plot import plot
from tests.faults.stage import Links, perform
from tests.pipeline.support import held_links, run_once, settings_for

ASSETS = 60
#: Calls of an undisturbed run: the moments of a plot are drawn from them.
CALLS = 100
ORDINARY, ALL = 6, 200

LIBRARY = tiny_library(ASSETS)


@pytest.fixture(scope="module")
def meant(tmp_path_factory: pytest.TempPathFactory) -> Links:
    """What the server holds after a run that nothing disturbed."""

    async def undisturbed() -> Links:
        async with StandIn(LIBRARY) as server:
            await run_once(settings_for(server, tmp_path_factory.mktemp("undisturbed")))
            await server.settle()
            assert server.calls.total() >= CALLS
            return held_links(server)

    return asyncio.run(undisturbed())


@pytest.mark.timeout(600)  # `stage.LONGEST_S` judges a run; what follows it may take its time on a busy machine
@pytest.mark.parametrize(
    "seed",
    [
        pytest.param(seed, id=f"seed-{seed}", marks=[] if seed < ORDINARY else [pytest.mark.slow])
        for seed in range(ALL)
    ],
)
async def test_no_fault_loses_a_tag_or_invents_one(seed: int, tmp_path: Path, meant: Links) -> None:
    story = plot(seed, CALLS)
    print(story)  # a failing test shows it
    await perform(story, LIBRARY, tmp_path, meant)
