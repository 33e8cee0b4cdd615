"""A million assets: whoever asks for a page or a figure gets it from an index, never by reading all assets. That
there are so many is what every ledger tells the planner (migrations/0005_figures.sql)."""

import re
import sqlite3
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from autotagger.ledger.reader import LedgerReader
from autotagger.ledger.rows import AssetFilter
from autotagger.ledger.states import State
from autotagger.ledger.writer import LedgerWriter
from tests.ledger.test_store import NOW, applied, listed, planned

Question = Callable[[LedgerReader], Any]


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LedgerReader]:
    path = tmp_path_factory.mktemp("plans") / "ledger.sqlite3"
    with LedgerWriter(path) as ledger:
        applied(ledger, listed(20))
        planned(ledger, listed(20))
        ledger.add_listed(listed(20))
    with LedgerReader(path) as ledger:
        yield ledger


def plan_of(ledger: LedgerReader, question: Question) -> list[str]:
    """How SQLite answers each statement of a question, tables by their names."""
    connection = ledger._db.connection()
    asked: list[str] = []
    connection.set_trace_callback(asked.append)
    try:
        found = question(ledger)
        if isinstance(found, Iterator):
            list(found)
    finally:
        connection.set_trace_callback(None)
    statements = [statement for statement in asked if statement.startswith("SELECT")]
    return [step for statement in statements for step in steps_of(connection, statement)]


def steps_of(connection: sqlite3.Connection, statement: str) -> Iterator[str]:
    tables = {alias: table for table, alias in re.findall(r'"(\w+)" AS "(t\d+)"', statement)}
    for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}"):
        yield re.sub(r"\bt\d+\b", lambda alias: tables[alias[0]], row[3])


QUESTIONS: dict[str, tuple[Question, str]] = {
    "counts": (lambda it: it.counts(), "COVERING INDEX asset_by_collection (collection=? AND state=?)"),
    "failures": (lambda it: it.failures(), "COVERING INDEX asset_in_trouble"),
    "troubles": (lambda it: it.troubles(), "COVERING INDEX asset_in_trouble"),
    "due": (lambda it: it.due(NOW, 5), "INDEX asset_by_state"),
    "planned": (lambda it: it.planned(NOW, 5), "INDEX asset_by_state"),
    "a page": (lambda it: it.assets(AssetFilter(after=7), limit=5), "INTEGER PRIMARY KEY (rowid>?)"),
    "a page by state": (
        lambda it: it.assets(AssetFilter(states=(State.FAILED,)), sort="state", limit=5),
        "INDEX asset_by_state",
    ),
    "a page by collection": (
        lambda it: it.assets(AssetFilter(collection=1), sort="collection", limit=5),
        "INDEX asset_by_collection",
    ),
    "a page of a class": (lambda it: it.assets(AssetFilter(error="timeout"), limit=5), "INDEX asset_in_trouble"),
    "one asset": (lambda it: it.find(listed()[0].asset_id), "INDEX sqlite_autoindex_asset_1"),
    "its history": (lambda it: it.history(1), "PRIMARY KEY (asset=?)"),
    "rejected": (lambda it: it.rejections(5), "INDEX link_unusual"),
    "rejected often": (lambda it: it.unwanted(), "INDEX link_unusual"),
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_what_is_asked_of_a_large_ledger_is_answered_from_an_index(name: str, ledger: LedgerReader) -> None:
    question, index = QUESTIONS[name]
    plan = plan_of(ledger, question)
    assert any(index in step for step in plan), plan
    assert not {"SCAN asset", "SCAN score", "SCAN link", "SCAN event"} & set(plan), plan
