"""Law 12: the proxy's clock and the database's may each be ten minutes off, in either direction."""

from pathlib import Path

import pytest

from autotagger.demo import StandIn, tiny_library
from autotagger.ledger.states import State
from autotagger.pipeline.ipc.messages import Operation
from autotagger.pipeline.run import run_operation
from tests.pipeline.support import TagCalls, held_links, ledger_links, run_once, settings_for
from tests.pipeline.test_operations import DIALECTS, HIGH, LOW

OFF_S = 600.0
#: (proxy, database): each alone and both, ahead and behind, together and against each other.
SKEWS = [
    (proxy_s, database_s)
    for proxy_s in (-OFF_S, 0.0, OFF_S)
    for database_s in (-OFF_S, 0.0, OFF_S)
    if proxy_s or database_s
]


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(("proxy_s", "database_s"), SKEWS)
async def test_everything_is_tagged_and_proven_whatever_the_clocks_say(
    proxy_s: float, database_s: float, dialect: str, tmp_path: Path
) -> None:
    calls = TagCalls()
    async with StandIn(
        tiny_library(12), dialect, proxy_skew_s=proxy_s, database_skew_s=database_s, faults=calls
    ) as server:
        settings = settings_for(server, tmp_path)
        summary = await run_once(settings)
        assert summary.states[State.VERIFIED] == 12
        assert summary.unsettled == 0
        assert summary.counts.get("repaired", 0) == 0
        assert set(calls.per_asset.values()) == {1}
        await server.settle()
        assert held_links(server) == ledger_links(settings)


@pytest.mark.parametrize("database_s", [-OFF_S, OFF_S])
async def test_retag_and_undo_end_whatever_the_clocks_say(database_s: float, tmp_path: Path) -> None:
    async with StandIn(tiny_library(12), proxy_skew_s=-database_s, database_skew_s=database_s) as server:
        await run_once(settings_for(server, tmp_path, policy=LOW))
        high = settings_for(server, tmp_path, policy=HIGH)
        summary = await run_operation(high, Operation("retag"))
        assert summary.states[State.VERIFIED] == 12
        await server.settle()
        assert held_links(server) == ledger_links(high)
        await run_operation(high, Operation("undo"))
        await server.settle()
        assert held_links(server) == {}
