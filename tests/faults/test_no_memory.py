"""A process that is refused memory is replaced.

Nobody else is blamed for what it could not do: not Immich, not the ledger, no picture.
"""

import asyncio
from pathlib import Path

import psutil
import pytest

from tests.faults.plot import Plot
from tests.faults.stage import Links, perform
from tests.faults.story import Story

#: Moments of a run (calls that Immich has had) at which each process is hit; the first in the ordinary suite.
MOMENTS = {
    "fetcher": (40, 10, 20, 30, 50, 60),
    "inferencer": (20, 10, 30, 40, 50, 60),
    "writer": (80, 10, 30, 60, 70, 90, 100, 110),
}


@pytest.mark.parametrize(
    ("role", "moment"),
    [
        pytest.param(role, moment, marks=[pytest.mark.slow] if place else [])
        for role, moments in MOMENTS.items()
        for place, moment in enumerate(moments)
    ],
)
async def test_a_process_without_memory_is_replaced_and_blames_nobody(
    role: str,
    moment: int,
    tmp_path: Path,
    meant: Links,
) -> None:
    async def refuse_memory(story: Story) -> None:
        """Nothing more than it has, for the process and for whatever it would start."""
        story.tracebacks = True
        name = f"autotag-{role}"[:15]
        while not (named := [child for child in story.below() if child.name() == name]):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        named[0].rlimit(psutil.RLIMIT_AS, (1 << 20, 1 << 20))

    await perform(Plot(moment, "3.0", "3.0", ((moment, refuse_memory),), None, 0), tmp_path, meant)
