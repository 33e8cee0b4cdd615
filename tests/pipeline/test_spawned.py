"""A whole run in this process whose children are spawned, as everywhere but in the other tests."""

import multiprocessing
from pathlib import Path

import pytest

from autotagger.demo import StandIn, tiny_library
from autotagger.ledger.states import State
from autotagger.pipeline.supervisor import processes
from tests.pipeline.support import held_links, ledger_links, run_once, settings_for


async def test_a_run_with_spawned_children_tags_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "_SPAWN", multiprocessing.get_context("spawn"))
    async with StandIn(tiny_library(3)) as server:
        settings = settings_for(server, tmp_path, pipeline={"workers": 2})
        summary = await run_once(settings)
        assert summary.states[State.VERIFIED] == 3
        assert "restarts" not in summary.counts
        assert held_links(server) == ledger_links(settings)
