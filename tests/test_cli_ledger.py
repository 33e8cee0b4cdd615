"""`autotagger ledger` after a real run: what it lists, tells, exports, copies and finds."""

import asyncio
import csv
import io
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autotagger.demo import StandIn, draw_library
from autotagger.ledger.database import LedgerLock
from autotagger.ledger.reader import LedgerReader
from autotagger.ledger.states import LinkState, State
from tests.forked import Outcome, command
from tests.pipeline.support import MARKER, run_once, settings_for

Run = Callable[..., Outcome]


@pytest.fixture(scope="module")
def after_a_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state folder of a run over a drawn library, where a person took one tag off."""
    state_dir = tmp_path_factory.mktemp("state")

    async def tag() -> None:
        async with StandIn(draw_library(45)) as server:
            await run_once(settings_for(server, state_dir))

    asyncio.run(tag())
    connection = sqlite3.connect(state_dir / "ledger.sqlite3")
    with connection:
        mine = "asset IN (SELECT key FROM asset WHERE state = 'verified') AND tag = (SELECT MAX(id) FROM tag)"
        connection.execute(f"UPDATE link SET state = {LinkState.REJECTED:d} WHERE {mine}")
    connection.close()
    return state_dir


@pytest.fixture
def run(after_a_run: Path) -> Run:
    def run(*arguments: str | Path, state_dir: Path = after_a_run) -> Outcome:
        environ = {"AUTOTAGGER_CONFIG": "/dev/null", "AUTOTAGGER_STATE_DIR": str(state_dir), "COLUMNS": "200"}
        return command("ledger", *arguments, environ=environ)

    return run


def listed(run: Run, *arguments: str) -> list[dict[str, Any]]:
    done = run("list", *arguments, "--format", "json")
    assert done.code == 0, done.err
    rows: list[dict[str, Any]] = json.loads(done.out)
    return rows


def test_a_listing_is_filtered_sorted_and_paged(run: Run, after_a_run: Path) -> None:
    everything = listed(run, "--limit", "0")
    with LedgerReader(after_a_run / "ledger.sqlite3") as ledger:
        counts = ledger.counts()
    assert len(everything) == sum(counts.values())
    failed = listed(run, "--state", "failed", "--state", "waiting", "--sort", "state")
    assert len(failed) == counts[State.FAILED] + counts[State.WAITING]
    assert [row["state"] for row in failed] == sorted(row["state"] for row in failed)
    kind = failed[0]["trouble"]
    assert {row["trouble"] for row in listed(run, "--error", kind)} == {kind}
    assert [row["asset"] for row in listed(run, "--limit", "3", "--after", everything[2]["asset"])] == [
        row["asset"] for row in everything[3:6]
    ]
    verified = {row["asset"] for row in everything if row["state"] == "verified"}
    assert {row["asset"] for row in listed(run, "--tag", MARKER, "--model", "palette", "--run", "1")} == verified
    assert listed(run, "--run", "2") == []
    name = everything[0]["file"]
    assert name in {row["file"] for row in listed(run, "--name", f"{name[:3]}*", "--sort", "name")}
    assert listed(run, "--name", "no such file*") == []


def test_one_asset_is_told_in_full(run: Run) -> None:
    chosen = next(row for row in listed(run, "--limit", "0") if row["state"] == "verified")
    told = json.loads(run("show", chosen["asset"], "--format", "json").out)
    assert [deed["what"] for deed in told["history"]] == ["scored", "tagged", "verified"]
    assert told["history"][0]["note"] == "palette"
    assert {deed["run"] for deed in told["history"]} == {1}
    assert {"tag": MARKER, "state": "proven", "model": "palette", "policy": 1, "run": 1} in told["links"]
    table = run("show", chosen["asset"]).out
    assert all(word in table for word in (chosen["file"], MARKER, "verified"))
    assert run("show", "00000000-0000-4000-8000-000000000000").code == 1
    assert run("show", "nonsense").code == 2


def test_an_export_holds_every_asset_with_its_tags(run: Run, after_a_run: Path) -> None:
    lines = [json.loads(line) for line in run("export", "--format", "json").out.splitlines()]
    rows = list(csv.DictReader(io.StringIO(run("export").out)))
    with LedgerReader(after_a_run / "ledger.sqlite3") as ledger:
        links = dict(ledger.links())
    assert {row["asset"]: frozenset(row["tags"]) for row in lines if row["tags"]} == links
    assert {row["asset"]: frozenset(row["tags"].split("; ")) for row in rows if row["tags"]} == links
    assert len(lines) == len(rows) == len(listed(run, "--limit", "0"))
    assert {row["account"] for row in rows} == {"default"}
    assert len(listed(run, "--limit", "0", "--account", "default")) == len(rows)
    assert run("list", "--account", "ben").code == 2


def test_what_a_person_took_off_often_is_proposed_for_the_blacklist(run: Run, after_a_run: Path) -> None:
    found = json.loads(run("list", "--rejected", "--format", "json").out)
    [tag] = {row["tag"] for row in found["rejected"]}
    if len(found["rejected"]) >= 5:
        assert found["blacklist_candidates"] == [{"tag": tag, "assets": len(found["rejected"])}]
    assert tag in run("list", "--rejected").out


def test_a_ledger_after_a_run_is_sound_and_so_is_its_copy(run: Run, after_a_run: Path, tmp_path: Path) -> None:
    assert run("check").out == "the ledger is sound\n"
    held = LedgerLock(after_a_run / "ledger.sqlite3")
    held.acquire()  # as if a run were at work
    try:
        assert run("backup", tmp_path / "ledger.sqlite3").code == 0
        busy = run("vacuum")
    finally:
        held.release()
    assert busy.code == 3
    assert "another autotagger" in busy.err
    assert run("check", state_dir=tmp_path).out == "the ledger is sound\n"
    assert run("backup", tmp_path / "ledger.sqlite3").code == 2, "nothing is overwritten"
    assert run("vacuum", state_dir=tmp_path).code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ledger.lock", "ledger.sqlite3"]
