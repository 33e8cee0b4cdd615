"""A ledger that is lost: written anew from Immich, and undo works with it."""

from pathlib import Path

import pytest

from autotagger.demo import StandIn, tiny_library
from autotagger.errors import StartupFailed
from autotagger.ledger.care import inspect
from autotagger.ledger.reader import LedgerReader
from autotagger.ledger.rows import Selection
from autotagger.ledger.states import LinkState, State
from autotagger.pipeline.ipc.messages import Operation
from autotagger.pipeline.operations.rebuild import rebuild
from autotagger.pipeline.run import run_errand
from tests.pipeline.support import MARKER, held_links, ledger_links, run_once, settings_for


def nobody(_: int) -> None:
    """Nobody is told."""


async def test_a_lost_ledger_is_written_anew_and_undo_takes_back_what_is_ours(tmp_path: Path) -> None:
    async with StandIn(tiny_library(12)) as server:
        settings = settings_for(server, tmp_path)
        await run_once(settings)
        await server.settle()
        chosen = sorted(held_links(server))[0]
        server.tag(chosen, "grandmother")
        before = ledger_links(settings)
        settings.ledger_path.write_bytes(b"this is no database any more" * 99)

        calls = server.calls.copy()
        found = await rebuild(settings, replace=False, report=nobody)
        spent = set(server.calls - calls)
        assert not spent & {"tag_assets", "upsert_tags", "preview"}, "nothing is changed, nothing downloaded"
        assert (found.assets, found.unread) == (len(before), 0)
        assert found.kept is not None
        assert found.kept.read_bytes().startswith(b"this is no database")
        assert ledger_links(settings) == before
        assert inspect(settings.ledger_path) == []
        with LedgerReader(settings.ledger_path) as ledger:
            assert ledger.counts()[State.VERIFIED] == len(before)
            row = ledger.find(chosen)
            assert row is not None
            states = {link.tag: link.state for link in ledger.links_told(row.key)}
        assert states[MARKER] is LinkState.PROVEN
        assert states["grandmother"] is LinkState.FOUND

        again = await run_once(settings)
        assert again.counts.get("tag_calls", 0) == again.counts.get("preview_downloads", 0) == 0
        await run_errand(settings, Operation("undo", selection=Selection()))
        await server.settle()
        assert held_links(server) == {chosen: frozenset({"grandmother"})}


async def test_a_sound_ledger_is_replaced_only_when_it_is_meant(tmp_path: Path) -> None:
    async with StandIn(tiny_library(3)) as server:
        settings = settings_for(server, tmp_path)
        await run_once(settings)
        with pytest.raises(StartupFailed, match="sound"):
            await rebuild(settings, replace=False, report=nobody)
        found = await rebuild(settings, replace=True, report=nobody)
        assert found.kept is not None
        assert inspect(found.kept) == []
