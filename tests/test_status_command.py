"""`status` says whether a run is active and how far it is, what the last one did, and nothing of empty states."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from autotagger import cli
from autotagger.ledger.database import LedgerLock
from autotagger.ledger.states import State
from autotagger.ledger.writer import LedgerWriter
from tests.pipeline.unit import listed

START_MS, END_MS = 1_800_000_000_000, 1_800_000_060_000


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AUTOTAGGER_CONFIG", "/dev/null")
    monkeypatch.setenv("AUTOTAGGER_STATE_DIR", str(tmp_path))
    return tmp_path / "ledger.sqlite3"


def told(*words: str) -> str:
    done = CliRunner().invoke(cli.app, ["status", *words])
    assert done.exit_code == 0, done.output
    return done.stdout


def as_json() -> Any:
    return json.loads(told("--json"))


def a_run(path: Path, *, assets: int, ended: bool, failed: int = 0) -> None:
    with LedgerWriter(path) as ledger:
        run = ledger.start_run("0.1", START_MS)
        ledger.add_listed([listed(number) for number in range(1, assets + 1)])
        if ended:
            summary = {"tagged": 3, "ending": {"failed": {"broken-picture": failed}}}
            ledger.end_run(run, summary, END_MS)


def test_an_active_run_says_how_far_it_is(path: Path) -> None:
    a_run(path, assets=4, ended=False)
    lock = LedgerLock(path)
    lock.acquire()
    try:
        found = as_json()["active_run"]
        assert found["assets_left"] == 4
        assert (found["percent"], found["started"]) == (0.0, "2027-01-15T08:00:00+00:00")
        assert f"a run is active (process {found['process']}) since 2027-01-15T08:00:00+00:00: 4 of 4" in told()
    finally:
        lock.release()
    assert as_json()["active_run"] is None


@pytest.mark.parametrize("ended", [True, False])
def test_the_last_run_is_told_and_one_that_was_cut_off_is_no_end(ended: bool, path: Path) -> None:
    a_run(path, assets=2, ended=ended, failed=1)
    words = "ended at 2027-01-15T08:01:00+00:00: 3 tagged, 1 failed" if ended else "was cut off"
    assert words in told()


def test_states_without_assets_are_left_out_of_the_table_alone(path: Path) -> None:
    a_run(path, assets=2, ended=True)
    table = told()
    assert "pending" in table
    assert not any(str(state) in table for state in (State.SCORED, State.GONE, State.PLANNED))
    assert {str(state) for state in State} <= as_json().keys()
    assert told("--format", "csv").count(",0") >= 8
