"""A ledger of every released schema, brought up to date: nothing of it is lost."""

import re
import sqlite3
import uuid
from pathlib import Path

import pytest

from autotagger.ledger.care import inspect
from autotagger.ledger.database import migrations
from autotagger.ledger.reader import LedgerReader
from autotagger.ledger.states import LinkState, Probe, State
from autotagger.ledger.writer import LedgerWriter

#: The states that the first schema knew, each with what it takes: error kind, due, answered.
FIRST_STATES = {
    "pending": (None, 0, None),
    "scored": (None, None, None),
    "planned": (None, 0, None),
    "applied": (None, 5, 4),
    "verified": (None, None, 4),
    "waiting": ("preview-missing", 9, None),
    "failed": ("broken-picture", None, None),
    "skipped": ("library-closed", None, None),
    "gone": ("gone", None, None),
}
WITH_LINKS = {"planned", "applied", "verified", "gone"}


def first_ledger(path: Path, count: int, links: int) -> dict[str, frozenset[str]]:
    """A ledger as the first schema's SQL makes it, with `count` assets of every state and `links` tags; returns
    the tags of every asset that has some."""
    connection = sqlite3.connect(path)
    version, script = migrations()[0]
    assert version == 1
    connection.executescript(f"{script}; PRAGMA user_version = 1;")
    expected: dict[str, frozenset[str]] = {}
    with connection:
        connection.execute("INSERT INTO model VALUES (1, 'm1', 'palette', x'00')")
        connection.execute("INSERT INTO policy VALUES (1, 'p1', '{}'), (2, 'p2', '{}')")
        connection.execute("INSERT INTO run VALUES (1, 1, 2, '0.1', NULL), (2, 3, NULL, '0.1', NULL)")
        connection.execute("INSERT INTO origin VALUES (1, 1, 1, 1), (2, 1, 2, 2)")
        connection.execute("INSERT INTO collection VALUES (1, 'me', '', 'open', 1, NULL, 7)")
        connection.executemany("INSERT INTO tag VALUES (?, ?)", [(n + 1, f"tag {n}") for n in range(links)])
        for state, (kind, due, answered) in FIRST_STATES.items():
            for _ in range(count):
                asset_id = uuid.uuid4()
                key = connection.execute(
                    "INSERT INTO asset (asset_id, collection, kind, file_name, checksum, state, updated_ms, "
                    "answered_ms, due_ms, error_kind, error) "
                    "VALUES (?, 1, 'IMAGE', 'a.png', 'c', ?, 3, ?, ?, ?, ?)",
                    (asset_id.bytes, state, answered, due, kind, kind),
                ).lastrowid
                if state not in ("pending", "waiting", "failed"):
                    connection.execute("INSERT INTO score VALUES (?, 1, x'0102')", (key,))
                if state in WITH_LINKS:
                    connection.executemany(
                        "INSERT INTO link VALUES (?, ?, ?)",
                        [(key, n + 1, 1 + (key or 0) % 2) for n in range(links)],
                    )
                    expected[str(asset_id)] = frozenset(f"tag {n}" for n in range(links))
    connection.close()
    return expected


def test_everything_in_a_first_ledger_arrives(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    expected = first_ledger(path, 3, 4)
    LedgerWriter(path).close()
    assert inspect(path) == []
    with LedgerReader(path) as ledger:
        counts = ledger.counts()
        assert {state: counts[State(state)] for state in FIRST_STATES} == dict.fromkeys(FIRST_STATES, 3)
        assert counts[State.STALE] == 0
        assert dict(ledger.links()) == expected
        for asset_id in expected:
            row = ledger.find(asset_id)
            assert row is not None
            run = 1 + row.key % 2
            assert (row.run, row.model, row.answered_ms) == (run, "palette", FIRST_STATES[row.state][2])
            for link in ledger.links_told(row.key):
                proven = row.state is State.VERIFIED
                assert link.state is (LinkState.PROVEN if proven else LinkState.SENT)
                assert (link.model, link.policy, link.run) == ("palette", run, run)
            assert ledger.history(row.key) == [], "what was done before there was a history is not made up"
        assert ledger.failures() == {"broken-picture": 3}
        [collection] = ledger.collections()
        assert (collection.state, collection.canary, collection.decided_ms) == (Probe.OPEN, 1, 7)
        assert set(ledger.known_tags()) == {f"tag {n}" for n in range(4)}, "no tag of ours is taken for a person's"


@pytest.mark.parametrize("version", [version for version, _ in migrations()])
def test_every_schema_on_the_way_becomes_todays(version: int, tmp_path: Path) -> None:
    old, new = tmp_path / "old.sqlite3", tmp_path / "new.sqlite3"
    connection = sqlite3.connect(old)
    for number, script in migrations()[:version]:
        connection.executescript(f"{script}; PRAGMA user_version = {number};")
    connection.close()
    for path in (old, new):
        LedgerWriter(path).close()
    assert schema(old) == schema(new)


def schema(path: Path) -> list[tuple[str, ...]]:
    connection = sqlite3.connect(path)
    found = connection.execute("SELECT type, name, sql FROM sqlite_schema ORDER BY type, name").fetchall()
    connection.close()
    # Without the comments, which a schema keeps or not, depending on who ran its script.
    return [(kind, name, re.sub(r"\s+", " ", re.sub(r"--[^\n]*", "", sql or ""))) for kind, name, sql in found]
