"""A copy under way, and every kind of damage that `ledger check` knows."""

import sqlite3
from pathlib import Path

import pytest

from autotagger.errors import StartupFailed
from autotagger.ledger.care import back_up, inspect, vacuum
from autotagger.ledger.writer import LedgerWriter
from tests.ledger.test_store import applied, listed, planned, scored


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A ledger with assets on their way."""
    path = tmp_path / "ledger.sqlite3"
    with LedgerWriter(path) as ledger:
        done = listed(2)
        applied(ledger, done)
        ledger.record_verified([row.key for row in ledger.applied([asset.asset_id for asset in done])])
        planned(ledger, listed(2))
        scored(ledger, listed(2))
        ledger.add_listed(listed(2))
        [collection] = ledger.collections()
        ledger.probe_collection(collection.id, 1)
    assert inspect(path) == []
    return path


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        (
            "DELETE FROM link WHERE asset IN (SELECT key FROM asset WHERE state = 'planned')",
            "with no tag to add or remove",
        ),
        ("DELETE FROM link WHERE asset IN (SELECT key FROM asset WHERE state = 'verified')", "without any tag"),
        ("UPDATE link SET state = 4 WHERE asset = 1 AND tag = 1", "still has to be added or removed"),
        ("DELETE FROM score", "scored without scores"),
        ("UPDATE asset SET state = 'applied', answered_ms = NULL", "without the time of the answer"),
        ("UPDATE asset SET due_ms = NULL WHERE state = 'pending'", "unfinished, but never due"),
        ("UPDATE link SET origin = NULL", "without an origin"),
        ("UPDATE link SET state = 99 WHERE asset = 1", "an unknown state"),
        ("UPDATE asset SET state = 'asleep' WHERE key = 1", "an unknown state"),
        ("UPDATE asset SET removal = 999", "a tag to remove that does not exist"),
        ("UPDATE collection SET canary = NULL", "whose canary does not exist"),
        ("DELETE FROM tag", "refer to missing rows"),
    ],
)
def test_what_cannot_be_is_found(damage: str, what: str, path: Path) -> None:
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(damage)
    connection.close()
    assert any(what in finding.what and finding.count and finding.advice for finding in inspect(path))


def test_damaged_pages_are_found_and_said_with_the_way_out(path: Path) -> None:
    vacuum(path)
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 2)
        file.write(b"\xff" * (size // 3))
    try:
        [finding] = inspect(path)
    except StartupFailed as error:
        told = error.message
    else:
        told = finding.advice
    assert "ledger backup" in told
    assert "ledger rebuild" in told


def test_a_copy_holds_one_moment_while_a_run_writes(path: Path, tmp_path: Path) -> None:
    writer = sqlite3.connect(path)
    with writer:
        writer.execute("UPDATE asset SET repairs = 7")  # under way, and not in the copy
        back_up(path, tmp_path / "copy")
        writer.execute("UPDATE asset SET attempts = 7")
    writer.close()
    assert inspect(tmp_path / "copy") == []
    copy = sqlite3.connect(tmp_path / "copy")
    assert copy.execute("SELECT SUM(repairs + attempts) FROM asset").fetchone() == (0,)
    copy.close()


def test_vacuum_gives_space_back(path: Path) -> None:
    with LedgerWriter(path) as ledger:
        ledger.add_listed(listed(2_000))
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("DELETE FROM asset WHERE state = 'pending'")
    connection.close()
    before, after = vacuum(path)
    assert after < before / 2
    assert inspect(path) == []
