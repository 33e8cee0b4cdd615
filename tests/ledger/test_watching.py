"""What a listing changes for assets that the ledger knows: edited, replaced, deleted, restored, not ready yet."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from autotagger.ledger.rows import Change, ListedAsset, Selection
from autotagger.ledger.states import LinkState, State
from autotagger.ledger.writer import LedgerWriter
from tests.ledger.test_store import NOW, a_model, an_origin, applied, listed, opened, planned, scored

MARKER = "auto:processed"


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[LedgerWriter]:
    with LedgerWriter(tmp_path / "ledger.sqlite3") as ledger:
        yield ledger


def verified(ledger: LedgerWriter, asset: ListedAsset) -> None:
    applied(ledger, [asset])
    ledger.record_verified([row.key for row in ledger.applied([asset.asset_id])])


def state_of(ledger: LedgerWriter) -> State:
    [state] = [state for state, count in ledger.counts().items() if count]
    return state


def an_asset(thumbhash: str | None = "t1") -> ListedAsset:
    return replace(listed()[0], checksum="c1", thumbhash=thumbhash)


def links(ledger: LedgerWriter) -> dict[str, LinkState]:
    return ledger.links_of([1])[1]


@pytest.mark.parametrize(("checksum", "thumbhash"), [("c2", "t1"), ("c1", "t2")])
def test_another_picture_is_scored_again_and_its_links_are_kept_as_proven(
    ledger: LedgerWriter, checksum: str, thumbhash: str
) -> None:
    asset = an_asset()
    verified(ledger, asset)
    changed = replace(asset, checksum=checksum, thumbhash=thumbhash)
    ledger.note_listed([changed])
    assert [work.asset_id for work in ledger.due(NOW, 9)] == [asset.asset_id]
    assert links(ledger) == {"sky": LinkState.PROVEN, MARKER: LinkState.PROVEN}

    # The marker there is ours: the listing that shows it does not call the work off.
    ledger.add_marked([asset.asset_id])
    ledger.record_scores(a_model(ledger), [(asset.asset_id, b"other")])
    ledger.record_plan((row.key, ("sea", MARKER), an_origin(ledger)) for row in ledger.scored(9))
    assert state_of(ledger) is State.STALE, "it is read before any change"
    assert links(ledger)["sky"] is LinkState.RETIRED
    ledger.note_listed([changed])
    assert state_of(ledger) is State.STALE, "the same picture is not another one"


def test_what_was_taken_for_a_still_picture_is_scored_as_the_animation_that_it_is(ledger: LedgerWriter) -> None:
    asset = an_asset()
    verified(ledger, asset)
    animation = replace(asset, kind="ANIMATION")
    ledger.note_listed([animation])
    assert [(work.asset_id, work.kind) for work in ledger.due(NOW, 9)] == [(asset.asset_id, "ANIMATION")]
    assert links(ledger) == {"sky": LinkState.PROVEN, MARKER: LinkState.PROVEN}
    ledger.record_scores(a_model(ledger), [(asset.asset_id, b"of all frames")])
    ledger.note_listed([animation])
    assert state_of(ledger) is State.SCORED, "the same kind is no difference"


def test_an_upload_that_becomes_an_animation_still_waits_for_immich(ledger: LedgerWriter) -> None:
    fresh = replace(an_asset(), ready=False)
    ledger.add_listed([fresh])
    ledger.note_listed([replace(fresh, kind="ANIMATION")])
    assert state_of(ledger) is State.WAITING
    ledger.note_listed([replace(fresh, kind="ANIMATION", ready=True)])
    assert [work.kind for work in ledger.due(NOW, 9)] == ["ANIMATION"]


def test_the_same_tags_as_before_need_no_call(ledger: LedgerWriter) -> None:
    asset = an_asset()
    verified(ledger, asset)
    ledger.note_listed([replace(asset, thumbhash="t2")])
    ledger.record_scores(a_model(ledger), [(asset.asset_id, b"other")])
    ledger.record_plan((row.key, ("sky", MARKER), an_origin(ledger)) for row in ledger.scored(9))
    assert state_of(ledger) is State.VERIFIED


@pytest.mark.parametrize(
    ("before", "now"), [(None, "t1"), ("t1", None), ("t1", "t1")], ids=["becomes known", "is made anew", "same"]
)
def test_a_thumbhash_that_is_not_known_is_no_difference(
    ledger: LedgerWriter, before: str | None, now: str | None
) -> None:
    asset = an_asset(before)
    verified(ledger, asset)
    ledger.note_listed([replace(asset, thumbhash=now)])
    assert state_of(ledger) is State.VERIFIED
    ledger.note_listed([replace(asset, thumbhash="t2")])
    assert state_of(ledger) is State.PENDING, "what became known was kept"


def test_an_asset_that_is_being_changed_is_left_until_it_rests(ledger: LedgerWriter) -> None:
    asset = an_asset(None)
    planned(ledger, [asset])
    changed = replace(asset, checksum="c2", thumbhash="t2")
    ledger.note_listed([changed])
    assert state_of(ledger) is State.PLANNED
    ledger.record_answer([1], NOW, NOW)
    ledger.note_listed([changed])
    assert state_of(ledger) is State.APPLIED
    ledger.record_verified([1])
    ledger.note_listed([changed])
    assert state_of(ledger) is State.PENDING


def test_a_broken_file_that_was_replaced_is_tried_again_and_a_skipped_one_is_not(ledger: LedgerWriter) -> None:
    for state, after in ((State.FAILED, State.PENDING), (State.SKIPPED, State.SKIPPED)):
        asset = an_asset()
        ledger.add_listed([asset])
        ledger.record_problem(asset.asset_id, state, kind="unreadable", message="", due_ms=None)
        ledger.note_listed([replace(asset, checksum="c2")])
        assert ledger.counts()[after] == 1


# -- gone, and back ---------------------------------------------------------------------------------------


def test_what_a_sweep_did_not_list_is_looked_for_longest_unseen_first(ledger: LedgerWriter) -> None:
    old, new, seen, in_flight = listed(4)
    scored(ledger, [old, new, seen, in_flight])
    ledger.record_plan([(4, ("sky", MARKER), an_origin(ledger))])
    ledger.note_listed([new, seen], sweep=ledger.next_sweep())
    sweep = ledger.next_sweep()
    assert sweep == 2
    ledger.note_listed([seen], sweep=sweep)
    [late] = listed()
    ledger.add_listed([late])  # by a poll, while the sweep went on
    unseen = [asset_id for _, asset_id in ledger.unseen(sweep, 9)]
    assert unseen == [old.asset_id, late.asset_id, new.asset_id]


def gone(ledger: LedgerWriter, asset: ListedAsset) -> None:
    ledger.record_gone([key for key, _ in ledger.unseen(99, 9)])
    assert state_of(ledger) is State.GONE
    assert ledger.unseen(99, 9) == []
    assert dict(ledger.links()) in ({}, {asset.asset_id: frozenset({"sky", MARKER})})


def test_a_restored_asset_is_read_and_compared_with_what_is_remembered(ledger: LedgerWriter) -> None:
    asset = an_asset()
    verified(ledger, asset)
    gone(ledger, asset)
    ledger.note_listed([asset], sweep=100)
    [stale] = ledger.stale(NOW, 9)
    assert stale.links == {"sky": LinkState.PROVEN, MARKER: LinkState.PROVEN}


def test_a_restored_asset_with_another_picture_is_scored_again(ledger: LedgerWriter) -> None:
    asset = an_asset()
    verified(ledger, asset)
    gone(ledger, asset)
    ledger.note_listed([replace(asset, checksum="c2")])
    assert state_of(ledger) is State.PENDING


def test_a_call_that_was_never_proven_is_looked_at_even_if_the_tags_are_the_same(ledger: LedgerWriter) -> None:
    asset = an_asset()
    applied(ledger, [asset])
    ledger.record_problem(asset.asset_id, State.GONE, kind="gone", message="", due_ms=None)
    ledger.note_listed([replace(asset, checksum="c2")])
    ledger.record_scores(a_model(ledger), [(asset.asset_id, b"other")])
    ledger.record_plan((row.key, ("sky", MARKER), an_origin(ledger)) for row in ledger.scored(9))
    assert state_of(ledger) is State.STALE


def test_an_undone_asset_that_comes_back_stays_without_our_tags(ledger: LedgerWriter) -> None:
    asset = an_asset()
    verified(ledger, asset)
    ledger.take_back(Selection(), marker=MARKER)
    removed = dict.fromkeys(("sky", MARKER), LinkState.REMOVED)
    ledger.record_change([Change(1, removed, NOW, call=False)])
    gone(ledger, asset)
    ledger.note_listed([asset])
    assert state_of(ledger) is State.SKIPPED


def test_a_closed_library_stays_closed_for_what_comes_back(ledger: LedgerWriter) -> None:
    asset = an_asset()
    scored(ledger, [asset])
    opened(ledger)
    ledger.close_collection(1, "read-only", NOW)
    gone(ledger, asset)
    ledger.note_listed([asset])
    assert state_of(ledger) is State.SKIPPED


# -- fresh uploads ----------------------------------------------------------------------------------------


def test_an_upload_waits_until_immich_is_done_with_it(ledger: LedgerWriter) -> None:
    asset = replace(an_asset(None), ready=False)
    ledger.add_listed([asset])
    ledger.note_listed([asset])
    assert state_of(ledger) is State.WAITING
    assert ledger.due(NOW + 10**12, 9) == []
    ledger.note_listed([replace(asset, ready=True)])
    assert len(ledger.due(NOW, 9)) == 1


def test_a_preview_that_was_missing_is_fetched_as_soon_as_the_thumbhash_tells_of_it(ledger: LedgerWriter) -> None:
    asset = an_asset(None)
    ledger.add_listed([asset])
    ledger.record_problem(asset.asset_id, State.WAITING, kind="preview-missing", message="", due_ms=NOW + 60_000)
    ledger.note_listed([asset])
    assert ledger.due(NOW, 9) == []
    ledger.note_listed([replace(asset, thumbhash="t1")])
    assert len(ledger.due(NOW, 9)) == 1
