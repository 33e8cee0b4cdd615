"""The ledger on a real SQLite file: the way of an asset through its states, and what may never happen to it."""

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from autotagger.ledger.rows import Change, ListedAsset
from autotagger.ledger.schema import TABLES
from autotagger.ledger.states import Probe, State
from autotagger.ledger.writer import LedgerWriter

ME = str(uuid.uuid4())
NOW = 1_800_000_000_000


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[LedgerWriter]:
    with LedgerWriter(tmp_path / "ledger.sqlite3") as ledger:
        yield ledger


def listed(count: int = 1, *, library: str = "", owner: str = ME) -> list[ListedAsset]:
    return [
        ListedAsset(
            asset_id=str(uuid.uuid4()),
            owner_id=owner,
            library_id=library,
            kind="IMAGE",
            mime="image/png",
            file_name=f"{number}.png",
            checksum="c",
            updated_ms=NOW - 5_000,
        )
        for number in range(count)
    ]


def a_model(ledger: LedgerWriter, identity: str = "m1") -> int:
    return ledger.model(identity, "palette", [("general", "rating"), ("sky", "general")])


def an_origin(ledger: LedgerWriter) -> int:
    return ledger.origin(model=a_model(ledger), policy="p1", settings="{}", run=ledger.start_run("0", NOW))


def scored(ledger: LedgerWriter, assets: list[ListedAsset]) -> None:
    ledger.add_listed(assets)
    ledger.record_scores(a_model(ledger), [(asset.asset_id, b"scores") for asset in assets])


def opened(ledger: LedgerWriter) -> None:
    for collection in ledger.collections():
        ledger.open_collection(collection.id, NOW)


def planned(
    ledger: LedgerWriter, assets: list[ListedAsset], tags: tuple[str, ...] = ("sky", "auto:processed")
) -> None:
    scored(ledger, assets)
    opened(ledger)
    origin = an_origin(ledger)
    ledger.record_plan((row.key, tags, origin) for row in ledger.scored(1_000))


def applied(ledger: LedgerWriter, assets: list[ListedAsset]) -> None:
    planned(ledger, assets)
    ledger.record_answer([row.key for row in ledger.planned(NOW, 1_000)], NOW, NOW + 1)


def test_the_models_match_the_tables_that_the_migrations_make(ledger: LedgerWriter) -> None:
    for table in TABLES:
        columns = {column.name for column in ledger._db.get_columns(table._meta.table_name)}
        assert columns == {field.column_name for field in table._meta.sorted_fields}, table


def test_an_asset_walks_from_listed_to_verified(ledger: LedgerWriter) -> None:
    [asset] = listed()
    assert ledger.add_listed([asset]) == 1
    assert [work.asset_id for work in ledger.due(NOW, 10)] == [asset.asset_id]
    ledger.record_scores(a_model(ledger), [(asset.asset_id, b"scores")])
    assert ledger.due(NOW, 10) == []
    assert ledger.scored(10) == [], "nothing is applied before the collection's canary"
    opened(ledger)
    [row] = ledger.scored(10)
    assert (row.asset_id, row.packed) == (asset.asset_id, b"scores")
    ledger.record_plan([(row.key, ["sky", "auto:processed"], an_origin(ledger))])
    [plan] = ledger.planned(NOW, 10)
    assert plan.tags == {"sky", "auto:processed"}
    ledger.record_answer([plan.key], NOW + 7, NOW + 100)
    assert ledger.oldest_answer_ms() == NOW + 7
    [waiting] = ledger.applied([asset.asset_id])
    assert (waiting.updated_ms, waiting.answered_ms) == (asset.updated_ms, NOW + 7)
    ledger.record_verified([waiting.key])
    assert ledger.counts()[State.VERIFIED] == 1
    assert dict(ledger.links()) == {asset.asset_id: frozenset({"sky", "auto:processed"})}


def test_listing_an_asset_again_changes_nothing_of_it(ledger: LedgerWriter) -> None:
    assets = listed(3)
    applied(ledger, assets)
    assert ledger.add_listed(assets) == 0
    assert ledger.counts()[State.APPLIED] == 3


def test_an_asset_that_comes_back_from_the_trash_is_pending_again(ledger: LedgerWriter) -> None:
    [asset] = listed()
    ledger.add_listed([asset])
    ledger.record_problem(asset.asset_id, State.GONE, kind="gone", message="gone", due_ms=None)
    assert ledger.due(NOW, 1) == []
    ledger.note_listed([asset])
    assert len(ledger.due(NOW, 1)) == 1


def test_what_holds_the_marker_already_is_skipped_unless_we_are_at_it(ledger: LedgerWriter) -> None:
    begun, fresh = listed(), listed()
    planned(ledger, begun)
    ledger.add_listed(fresh)
    ledger.add_marked([asset.asset_id for asset in (*begun, *fresh)])
    assert ledger.counts()[State.PLANNED] == 1
    assert ledger.counts()[State.SKIPPED] == 1


def test_trouble_comes_back_when_it_is_due_and_not_before(ledger: LedgerWriter) -> None:
    [asset] = listed()
    ledger.add_listed([asset])
    ledger.record_problem(asset.asset_id, State.WAITING, kind="preview-missing", message="404", due_ms=NOW + 10)
    assert ledger.due(NOW + 9, 1) == []
    assert len(ledger.due(NOW + 10, 1)) == 1
    assert ledger.attempts([asset.asset_id]) == {asset.asset_id: 1}
    ledger.record_problem(asset.asset_id, State.FAILED, kind="broken-picture", message="cut", due_ms=None)
    assert ledger.due(NOW + 10**12, 1) == []
    assert ledger.failures() == {"broken-picture": 1}
    [problem] = ledger.problems(10)
    assert (problem.kind, problem.message, problem.attempts) == ("broken-picture", "cut", 2)


def test_a_batch_is_kept_whole_or_not_at_all(ledger: LedgerWriter) -> None:
    def interrupted() -> None:
        with ledger.batch():
            ledger.add_listed(listed(5))
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        interrupted()
    assert sum(ledger.counts().values()) == 0


def test_scores_that_arrive_after_the_asset_went_on_are_ignored(ledger: LedgerWriter) -> None:
    assets = listed()
    applied(ledger, assets)
    ledger.record_scores(a_model(ledger), [(assets[0].asset_id, b"late")])
    assert ledger.counts()[State.APPLIED] == 1


def test_a_closed_collection_skips_its_assets_now_and_later_and_no_others(ledger: LedgerWriter) -> None:
    external, own = listed(3, library="L"), listed(2)
    scored(ledger, [*external, *own])
    closed = next(row for row in ledger.collections() if row.library_id == "L")
    canary = ledger.canary_candidate(closed.id)
    assert canary is not None
    ledger.record_plan([(canary.key, ["auto:processed"], an_origin(ledger))])
    ledger.probe_collection(closed.id, canary.key)
    ledger.record_answer([canary.key], NOW, NOW)
    ledger.close_collection(closed.id, "read-only", NOW)
    ledger.add_listed(listed(4, library="L"))
    assert ledger.counts()[State.SKIPPED] == 7
    assert ledger.counts()[State.SCORED] == 2
    assert {problem.message for problem in ledger.problems(100)} == {"read-only"}
    assert dict(ledger.links()) == {}, "what did not stick is no link of ours"

    ledger.retry_collection(closed.id)
    assert ledger.counts()[State.SCORED] == 5, "what was scored needs no second inference"
    assert ledger.counts()[State.PENDING] == 4
    assert next(row for row in ledger.collections() if row.id == closed.id).state is Probe.UNTRIED


def test_collections_are_an_owner_in_a_library(ledger: LedgerWriter) -> None:
    partner = str(uuid.uuid4())
    ledger.add_listed([*listed(), *listed(library="L"), *listed(owner=partner), *listed()])
    assert {(row.owner_id, row.library_id) for row in ledger.collections()} == {(ME, ""), (ME, "L"), (partner, "")}


def test_a_repair_is_the_same_complete_call_again(ledger: LedgerWriter) -> None:
    assets = listed()
    applied(ledger, assets)
    [row] = ledger.applied([assets[0].asset_id])
    ledger.record_change([Change(row.key, {}, NOW + 50, call=True, again=True)])
    [again] = ledger.planned(NOW, 10)
    assert again.tags == {"sky", "auto:processed"}
    ledger.record_answer([again.key], NOW + 60, NOW)
    [row] = ledger.applied([assets[0].asset_id])
    assert (row.updated_ms, row.repairs) == (NOW + 50, 1)


def test_scores_of_another_model_are_made_anew_unless_they_are_applied(ledger: LedgerWriter) -> None:
    done, begun = listed(), listed()
    applied(ledger, done)
    scored(ledger, begun)
    ledger.rescore_others(a_model(ledger))
    assert ledger.counts()[State.PENDING] == 0
    ledger.rescore_others(a_model(ledger, "m2"))
    assert ledger.counts()[State.PENDING] == 1
    assert ledger.counts()[State.APPLIED] == 1


def test_where_a_link_comes_from_is_kept(ledger: LedgerWriter) -> None:
    applied(ledger, listed())
    query = "SELECT m.identity, p.identity, o.run FROM link l JOIN origin o ON o.id = l.origin "
    query += "JOIN model m ON m.id = o.model JOIN policy p ON p.id = o.policy"
    database: Any = ledger._db
    assert set(database.execute_sql(query)) == {("m1", "p1", 1)}


def test_the_labels_of_a_model_can_be_read_without_it(ledger: LedgerWriter) -> None:
    assert ledger.labels(a_model(ledger)) == [("general", "rating"), ("sky", "general")]


def test_a_run_keeps_its_summary(ledger: LedgerWriter) -> None:
    run = ledger.start_run("1.2", NOW)
    ledger.end_run(run, {"tagged": 3}, NOW + 1)
    assert ledger.last_run() == (NOW, NOW + 1, {"tagged": 3})


def test_an_asset_with_thirty_tags_and_its_history_costs_little_more_than_a_kilobyte(tmp_path: Path) -> None:
    path, count = tmp_path / "ledger.sqlite3", 2_000
    names = [f"tag number {number}" for number in range(1_500)]
    with LedgerWriter(path) as ledger:
        assets = listed(count)
        ledger.add_listed(assets)
        model = a_model(ledger)
        ledger.record_scores(model, [(asset.asset_id, bytes(320)) for asset in assets])
        opened(ledger)
        origin = an_origin(ledger)
        for number, row in enumerate(ledger.scored(count)):
            tags = [names[(number * 7 + place * 31) % len(names)] for place in range(30)]
            ledger.record_plan([(row.key, [*tags, "auto:processed"], origin)])
        keys = [row.key for row in ledger.planned(NOW, count)]
        ledger.record_answer(keys, NOW, NOW)
        ledger.record_verified(keys)
        assert len(ledger.history(keys[0])) == 3
    assert path.stat().st_size / count < 1024 + 96
    with LedgerWriter(path) as ledger:
        database: Any = ledger._db
        database.execute_sql("DELETE FROM event")
        database.execute_sql("VACUUM")
    assert path.stat().st_size / count < 1024, "without the history, as before there was one"
