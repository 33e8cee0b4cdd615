"""Another try: who takes part, and that no good score is thrown away."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from autotagger.ledger.rows import Change, ListedAsset, Selection
from autotagger.ledger.states import LinkState, State
from autotagger.ledger.writer import LedgerWriter
from tests.ledger.test_store import NOW, a_model, applied, listed, planned, scored


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[LedgerWriter]:
    with LedgerWriter(tmp_path / "ledger.sqlite3") as ledger:
        yield ledger


def fail(ledger: LedgerWriter, asset: ListedAsset, kind: str, state: State = State.FAILED) -> None:
    ledger.record_problem(asset.asset_id, state, kind=kind, message=kind, due_ms=None)


def states(ledger: LedgerWriter) -> dict[State, int]:
    return {state: count for state, count in ledger.counts().items() if count}


def test_a_broken_picture_is_fetched_again_and_its_tries_are_counted_anew(ledger: LedgerWriter) -> None:
    [asset] = listed()
    ledger.add_listed([asset])
    fail(ledger, asset, "broken-picture")
    assert ledger.due(NOW, 1) == []
    assert ledger.retry() == 1
    assert [work.asset_id for work in ledger.due(NOW, 1)] == [asset.asset_id]
    assert ledger.attempts([asset.asset_id]) == {asset.asset_id: 0}
    assert ledger.troubles() == []
    assert ledger.retry() == 0


def test_a_missing_preview_need_not_be_waited_for(ledger: LedgerWriter) -> None:
    [asset] = listed()
    ledger.add_listed([asset])
    ledger.record_problem(asset.asset_id, State.WAITING, kind="preview-missing", message="404", due_ms=NOW + 10**9)
    assert ledger.retry() == 1
    assert len(ledger.due(NOW, 1)) == 1


def test_lost_tags_are_looked_at_first_and_nothing_is_inferred(ledger: LedgerWriter) -> None:
    [asset] = listed()
    applied(ledger, [asset])
    fail(ledger, asset, "tags-lost")
    assert ledger.retry() == 1
    [stale] = ledger.stale(NOW, 1)
    assert set(stale.links.values()) == {LinkState.SENT}
    [row] = [ledger.scores_of(asset.asset_id)]
    assert row is not None
    ledger.record_change([Change(stale.key, {}, NOW, call=True)])
    assert ledger.planned(NOW, 1)[0].tags == {"sky", "auto:processed"}


def test_what_was_dismissed_comes_back_only_when_it_is_meant_and_keeps_its_scores(ledger: LedgerWriter) -> None:
    [good], [broken, slow] = listed(), listed(2)
    scored(ledger, [good])
    ledger.add_listed([broken, slow])
    fail(ledger, broken, "broken-picture")
    fail(ledger, slow, "timeout", State.WAITING)
    assert ledger.dismiss("nothing-of-the-kind", None) == 0
    assert ledger.dismiss("broken-picture", None) == 1
    assert ledger.dismiss(None, good.asset_id) == 1
    assert ledger.dismiss(None, good.asset_id) == 0, "it is dismissed already"
    assert states(ledger) == {State.SKIPPED: 2, State.WAITING: 1}
    row = ledger.known(broken.asset_id)
    assert (row.error_kind, row.error) == ("dismissed", "set aside by a person; before: broken-picture")
    assert ledger.history(row.key)[-1].note == "dismissed"
    assert ledger.retry() == 1, "the one that waits"
    ledger.note_listed([replace(broken, checksum="another")])
    assert states(ledger) == {State.SKIPPED: 2, State.PENDING: 1}, "for good, whatever becomes of it"
    assert ledger.retry("dismissed") == 2
    assert states(ledger) == {State.PENDING: 2, State.SCORED: 1}


def test_what_is_being_changed_cannot_be_dismissed(ledger: LedgerWriter) -> None:
    assets = listed(2)
    planned(ledger, assets[:1])
    applied(ledger, assets[1:])
    assert [ledger.dismiss(None, asset.asset_id) for asset in assets] == [0, 0]


def test_another_try_begins_with_no_repairs(ledger: LedgerWriter) -> None:
    [asset] = listed()
    applied(ledger, [asset])
    for _ in range(3):
        ledger.record_change([Change(1, {}, NOW, call=True, again=True)])
        ledger.record_answer([1], NOW, NOW)
    fail(ledger, asset, "broken-picture")
    ledger.retry()
    row = ledger.known(asset.asset_id)
    assert (row.state, row.repairs, row.attempts) == (State.PENDING, 0, 0)


def test_a_call_that_is_to_be_made_later_is_made_now_and_stays_the_same(ledger: LedgerWriter) -> None:
    [asset] = listed()
    planned(ledger, [asset])
    ledger.record_problem(asset.asset_id, State.PLANNED, kind="timeout", message="", due_ms=NOW + 10**9)
    assert ledger.planned(NOW, 1) == []
    assert ledger.retry() == 1
    assert ledger.planned(NOW, 1)[0].tags == {"sky", "auto:processed"}


def test_a_class_or_one_asset_can_be_chosen(ledger: LedgerWriter) -> None:
    one, two, three = listed(3)
    ledger.add_listed([one, two, three])
    for asset, kind in ((one, "timeout"), (two, "broken-picture"), (three, "broken-picture")):
        fail(ledger, asset, kind)
    assert ledger.retry("broken-picture", three.asset_id) == 1
    assert ledger.retry("broken-picture") == 1
    assert ledger.retry(asset_id=two.asset_id) == 0, "it is pending already"
    assert states(ledger) == {State.PENDING: 2, State.FAILED: 1}


def test_what_was_undone_comes_back_only_when_it_is_meant(ledger: LedgerWriter) -> None:
    assets = listed(2)
    applied(ledger, assets)
    ledger.record_verified([row.key for row in ledger.applied([asset.asset_id for asset in assets])])
    ledger.take_back(Selection(), marker="auto:processed")
    for row in ledger.stale(NOW, 9):
        ledger.record_change([Change(row.key, dict.fromkeys(row.links, LinkState.REMOVED), NOW, call=False)])
    assert states(ledger) == {State.SKIPPED: 2}
    assert ledger.retry() == 0
    assert ledger.retry(asset_id=assets[0].asset_id) == 1
    assert ledger.retry("undone") == 1
    assert states(ledger) == {State.SCORED: 2}, "without another inference"


def test_a_library_where_tags_did_not_stick_gets_another_canary_when_it_is_meant(ledger: LedgerWriter) -> None:
    external, own = listed(3, library="L"), listed()
    scored(ledger, [*external, *own])
    [closed] = [row.id for row in ledger.collections() if row.library_id == "L"]
    ledger.close_collection(closed, "read-only", NOW)
    assert ledger.retry() == 0
    assert ledger.retry("library-closed") == 3
    assert states(ledger) == {State.SCORED: 4}
    assert ledger.canary_candidate(closed) is not None


def test_trying_again_a_thousand_takes_them_all(ledger: LedgerWriter) -> None:
    assets = listed(1_200)
    ledger.add_listed(assets)
    with ledger.batch():
        for asset in assets:
            fail(ledger, asset, "timeout")
    ledger.record_scores(a_model(ledger), [])
    assert ledger.retry("timeout") == 1_200
    assert states(ledger) == {State.PENDING: 1_200}
