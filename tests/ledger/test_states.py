"""The one table of an asset's life: nothing moves past it, and the manual shows it."""

import re
from itertools import product
from pathlib import Path

import pytest

import autotagger
from autotagger.ledger.schema import Asset
from autotagger.ledger.states import LIFE, MAY_BECOME, ForbiddenMove, LinkState, Probe, State, What
from autotagger.ledger.writer import LedgerWriter
from tests.ledger.states_page import page
from tests.ledger.test_store import NOW, a_model, an_origin, listed, scored

ROOT = Path(autotagger.__file__).parent


def test_the_page_of_states_shows_the_table() -> None:
    """Where this fails, the table has changed: `python -m tests.ledger.states_page > docs/states.md`."""
    assert (ROOT.parent / "docs/states.md").read_text(encoding="utf-8") == page()


def test_there_is_a_way_into_every_state_and_out_of_it() -> None:
    pairs = [(before, line.after) for line in LIFE for before in line.before]
    assert {after for _, after in pairs} == set(State)
    assert {before for before, _ in pairs} == set(State)


@pytest.mark.parametrize(("before", "after"), list(product(State, State)))
def test_an_asset_moves_as_the_table_allows_and_no_other_way(before: State, after: State, tmp_path: Path) -> None:
    """A bulk move with one asset that may not go is refused whole, and loudly."""
    allowed = before is after or any(before in line.before and line.after is after for line in LIFE)
    with LedgerWriter(tmp_path / "l") as ledger:
        good, other = listed(2)
        ledger.add_listed([good, other])
        for key, state in ((1, after), (2, before)):
            ledger._db.execute_sql("UPDATE asset SET state = ? WHERE key = ?", (str(state), key))

        def move() -> None:
            with ledger.batch():
                ledger._move(Asset.key.in_([1, 2]), after, attempts=7)

        if allowed:
            move()
            assert ledger.counts()[after] == 2
        else:
            with pytest.raises(
                ForbiddenMove, match=f"asset {other.asset_id} is {before} and cannot become {after}"
            ):
                move()
            assert ledger.counts()[before] == ledger.counts()[after] == 1
            assert ledger.attempts([good.asset_id]) == {good.asset_id: 0}, "nothing of the transaction is kept"
    assert MAY_BECOME[after] >= {after}


def test_only_one_statement_of_the_program_changes_a_state() -> None:
    """Every other update of assets leaves the state alone; a rebuilt or migrated ledger is SQL's and peewee's."""
    sources = {path: path.read_text(encoding="utf-8") for path in ROOT.rglob("*.py")}
    updates = {
        (path.name, found)
        for path, text in sources.items()
        for found in re.findall(r"Asset\.update\([^\n]*|UPDATE asset [^\n]*", text)
    }
    assert {name for name, _ in updates} == {"base.py"}
    assert len([found for _, found in updates if "state=" in found]) == 1


def test_what_a_listing_began_anew_during_a_look_is_left_alone(tmp_path: Path) -> None:
    """Another picture is behind it since: neither old scores nor an old look may decide about the new one."""
    from autotagger.ledger.rows import Change

    with LedgerWriter(tmp_path / "l") as ledger:
        [asset] = listed()
        scored(ledger, [asset])
        for collection in ledger.collections():
            ledger.open_collection(collection.id, NOW)
        [row] = ledger.scored(1)
        ledger._move(Asset.key == row.key, State.PENDING)
        ledger.record_plan([(row.key, ["sky", "auto:processed"], an_origin(ledger))])
        ledger.record_change([Change(row.key, {}, NOW, call=False)])
        ledger.record_change([Change(row.key, {}, NOW, call=True)])
        ledger.score_again(row.key, "another")
        assert ledger.counts()[State.PENDING] == 1
        assert ledger.links_of([row.key]) == {row.key: {}}
        ledger.record_scores(a_model(ledger), [(asset.asset_id, b"new")])
        ledger.record_problem(asset.asset_id, State.FAILED, kind="timeout", message="", due_ms=None, scoring=True)
        assert ledger.counts()[State.SCORED] == 1, "trouble of a fetch that came too late"


def test_the_names_and_numbers_that_ledgers_hold_never_change() -> None:
    """Every ledger ever written means these by them: a new one gets a number of its own."""
    assert [str(state) for state in State] == [
        "pending", "scored", "stale", "planned", "applied", "verified", "waiting", "failed", "skipped", "gone",
    ]  # fmt: skip
    assert [str(probe) for probe in Probe] == ["untried", "probing", "open", "closed"]
    assert {link.name: int(link) for link in LinkState} == {
        "SENT": 0, "PROVEN": 1, "WANTED": 2, "FOUND": 3, "LEAVING": 4, "REMOVED": 5, "REJECTED": 6, "LOST": 7,
    }  # fmt: skip
    assert {what.name: int(what) for what in What} == {
        "FOUND": 0, "RETRIED": 1, "REOPENED": 2, "CHANGED": 3, "SCORED": 4, "LEAVING": 5, "TAGGED": 6,
        "UNTAGGED": 7, "REPAIRED": 8, "REJECTED": 9, "VERIFIED": 10, "UNDONE": 11, "DELAYED": 12,
        "WAITING": 13, "FAILED": 14, "SKIPPED": 15, "GONE": 16,
    }  # fmt: skip
