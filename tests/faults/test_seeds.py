"""Faults at random, from a seed: whatever happens to a run, the end is the same as if nothing had happened.

A failing seed tells its story in its first line of output, and `-k 'seed-17]'` plays it again.
"""

import asyncio
from itertools import product
from pathlib import Path

import pytest

from autotagger.demo import StandIn, tiny_library
from tests.faults import weather
from tests.faults.plot import ACTS, DIALECTS, plot
from tests.faults.stage import Links, perform
from tests.pipeline.support import held_links, run_once, settings_for

ASSETS = 60
#: Calls of an undisturbed run, from which the moments of a plot are drawn: about 75 to list and download, 30 to
#: tag, and to prove it 20 or more, as often as it has to look.
CALLS = 120
ALL = 200
#: What the ordinary suite plays.
ORDINARY = frozenset({0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 26, 28, 74, 80, 153, 155, 176, 199})

LIBRARY = tiny_library(ASSETS)


@pytest.fixture(scope="module")
def meant(tmp_path_factory: pytest.TempPathFactory) -> Links:
    """What the server holds after a run that nothing disturbed."""

    async def undisturbed() -> Links:
        async with StandIn(LIBRARY) as server:
            await run_once(settings_for(server, tmp_path_factory.mktemp("undisturbed")))
            await server.settle()
            assert server.calls.total() > 0.9 * CALLS
            return held_links(server)

    return asyncio.run(undisturbed())


@pytest.mark.timeout(600)  # `stage.LONGEST_S` judges a run; what follows it may take its time on a busy machine
@pytest.mark.parametrize(
    "seed",
    [
        pytest.param(seed, id=f"seed-{seed}", marks=[] if seed in ORDINARY else [pytest.mark.slow])
        for seed in range(ALL)
    ],
)
async def test_no_fault_loses_a_tag_or_invents_one(seed: int, tmp_path: Path, meant: Links) -> None:
    story = plot(seed, CALLS)
    print(story)  # a failing test shows it
    await perform(story, LIBRARY, tmp_path, meant)


def test_the_ordinary_seeds_leave_no_kind_of_fault_out() -> None:
    plots = [plot(seed, CALLS) for seed in ORDINARY]
    assert {act for each in plots for _, act in each.acts} == ACTS.keys()
    assert {kind for each in plots if each.spoils for kind in each.spoils.kinds} == set(weather.KINDS)
    assert {(each.before, each.after) for each in plots} == set(product(DIALECTS, repeat=2))
    assert any(each.lost_answers for each in plots)
    assert {moment * 3 // CALLS for each in plots for moment, _ in each.acts} == {0, 1, 2}, (
        "at the end of a run too"
    )
