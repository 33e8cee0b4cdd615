"""20,000 assets: memory stays where it was, the ledger stays small, nothing is lost."""

import asyncio
from pathlib import Path

import psutil
import pytest

from autotagger.demo import StandIn, tiny_library
from autotagger.ledger.states import State
from tests.pipeline.support import held_links, ledger_links, run_once, settings_for

ASSETS = 20_000
MIB = 1 << 20
#: Between a quarter of the way and the end, all processes together: the SQLite page cache and the tag cache.
MAX_GROWTH_MIB = 60


@pytest.mark.slow
@pytest.mark.timeout(1_200)
async def test_twenty_thousand_assets_flow_through_in_bounded_memory(tmp_path: Path) -> None:
    async with StandIn(tiny_library(ASSETS), job_delay_s=0.01) as server:
        settings = settings_for(server, tmp_path)
        watching = asyncio.create_task(_memory(server))
        summary = await run_once(settings)
        watching.cancel()
        await server.settle()
        assert summary.states[State.VERIFIED] == ASSETS
        assert held_links(server) == ledger_links(settings)
        samples = [mib for downloaded, mib in _SAMPLES if downloaded > ASSETS / 4]
        print(f"RSS of all children: {samples[0]:.0f} MiB at a quarter, at most {max(samples):.0f} MiB later")
        assert max(samples) - samples[0] < MAX_GROWTH_MIB
    size = settings.ledger_path.stat().st_size / ASSETS
    print(f"ledger: {size:.0f} bytes an asset; {ASSETS / summary.seconds:.0f} assets a second")
    assert size < 1024


_SAMPLES: list[tuple[int, float]] = []


async def _memory(server: StandIn) -> None:
    """Sample the children's memory twice a second, with the number of previews downloaded so far."""
    while True:
        children = psutil.Process().children(recursive=True)
        rss = sum(child.memory_info().rss for child in children if child.is_running())
        _SAMPLES.append((server.calls["preview"], rss / MIB))
        await asyncio.sleep(0.5)
