"""A ledger that is lost: written anew from Immich, and undo works with it."""

import sqlite3
from pathlib import Path

import pytest

from autotagger.demo import StandIn, tiny_library
from autotagger.demo.drawing import THEMES
from autotagger.demo.files import animated_gif
from autotagger.errors import StartupFailed
from autotagger.ledger.care import inspect
from autotagger.ledger.reader import LedgerReader
from autotagger.ledger.rows import AssetFilter, Selection
from autotagger.ledger.states import LinkState, State
from autotagger.pipeline.ipc.messages import Operation
from autotagger.pipeline.operations.rebuild import rebuild
from autotagger.pipeline.run import run_operation
from autotagger.scores import unpack
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
        await run_operation(settings, Operation("undo", selection=Selection()))
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


async def test_animations_stay_animations_and_a_listing_mends_what_earlier_rebuilds_made_of_them(
    tmp_path: Path,
) -> None:
    async with StandIn(tiny_library(3)) as server:
        settings = settings_for(server, tmp_path)
        moving = server.upload(animated_gif(1, (32, 32), THEMES[2]))
        await run_once(settings)
        await server.settle()
        await rebuild(settings, replace=True, report=nobody)
        with LedgerReader(settings.ledger_path) as ledger:
            assert ledger.known(moving).kind == "ANIMATION"
        unchanged = await run_once(settings)
        assert not unchanged.counts.get("inferred")

        with sqlite3.connect(settings.ledger_path) as file:  # as earlier versions left it
            file.execute("UPDATE asset SET kind = 'IMAGE' WHERE kind = 'ANIMATION'")
        file.close()
        mended = await run_once(settings)
        assert mended.counts["inferred"] >= 1
        await server.settle()
        with LedgerReader(settings.ledger_path) as ledger:
            row, scored = ledger.known(moving), ledger.scores_of(moving)
            assert scored is not None
            frames = unpack(scored.packed).frames
            others = [row for row in ledger.assets(AssetFilter()) if row.asset_id != moving]
            assert all(ledger.scores_of(one.asset_id) is None for one in others), "nothing else is scored again"
        assert (row.kind, row.state) == ("ANIMATION", State.VERIFIED)
        assert frames > 1
