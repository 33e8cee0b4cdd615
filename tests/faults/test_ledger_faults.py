"""The ledger itself in trouble while a run writes it."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from aiohttp import web

from autotagger.demo import StandIn, tiny_library
from autotagger.demo.faults import Call
from autotagger.errors import StartupFailed
from autotagger.ledger.database import told_plainly
from tests.faults.story import start
from tests.pipeline.support import MARKER, TagCalls, held_links, run_once, settings_for


async def test_a_ledger_damaged_under_a_run_ends_it_and_a_new_one_does_the_rest(tmp_path: Path) -> None:
    """What is marked in Immich stays done: no asset is tagged twice, none is left out."""
    ledger = tmp_path / "state" / "ledger.sqlite3"

    async def damage(call: Call) -> web.StreamResponse | None:
        if call.name == "tag_assets" and call.number == 3:
            for path in (ledger, ledger.with_name("ledger.sqlite3-wal")):
                with path.open("r+b") as file:
                    file.write(os.urandom(path.stat().st_size))
        return None

    async with StandIn(tiny_library(200)) as server:
        server.faults = calls = TagCalls(damage)
        log = tmp_path / "log"
        run = await start(server, tmp_path / "state", log)
        assert await run.wait() == 3, log.read_text()
        *_, line = log.read_text().splitlines()
        assert str(ledger) in line
        assert "the file is damaged" in line
        assert "Traceback" not in log.read_text()
        await server.settle()
        await run_once(settings_for(server, tmp_path / "another"))
        await server.settle()
        held = held_links(server)
        assert len(held) == 200
        assert all(MARKER in tags and len(tags) > 1 for tags in held.values())
        assert set(calls.per_asset.values()) == {1}


@contextmanager
def locked(path: Path) -> Iterator[None]:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("create table t(x)")
        other.execute("begin exclusive")
        yield


def test_a_ledger_that_another_program_never_lets_go_is_told_so(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    with (
        locked(path),
        closing(sqlite3.connect(path, timeout=0)) as ours,
        pytest.raises(StartupFailed, match=r"ledger.sqlite3: another program holds it .* close that"),
        told_plainly(path),
    ):
        ours.execute("insert into t values (1)")
