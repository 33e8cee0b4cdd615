"""Opening the ledger: migrations, the lock, and what a person reads when it cannot be used."""

import multiprocessing
import sqlite3
from pathlib import Path

import pytest

from autotagger.errors import StartupFailed
from autotagger.ledger import database
from autotagger.ledger.database import LedgerLock, migrations
from autotagger.ledger.reader import LedgerReader
from autotagger.ledger.writer import LedgerWriter


def test_the_schema_version_is_the_newest_migration_and_opening_again_migrates_nothing(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    for _ in range(2):
        LedgerWriter(path).close()
        connection = sqlite3.connect(path)
        assert connection.execute("PRAGMA user_version").fetchone() == (migrations()[-1][0],)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        connection.close()


def test_migrations_are_numbered_without_a_gap() -> None:
    assert [version for version, _ in migrations()] == list(range(1, len(migrations()) + 1))


def test_a_migration_that_fails_leaves_the_ledger_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ledger.sqlite3"
    LedgerWriter(path).close()
    newest = migrations()[-1][0]
    broken = [*migrations(), (newest + 1, "CREATE TABLE fresh (id INTEGER); CREATE TABLE asset (id INTEGER);")]
    monkeypatch.setattr(database, "migrations", lambda: broken)
    with pytest.raises(StartupFailed, match="already exists"):
        LedgerWriter(path)
    monkeypatch.undo()
    with LedgerReader(path) as ledger:
        assert "fresh" not in ledger._db.get_tables()


def test_a_ledger_of_a_newer_autotagger_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    LedgerWriter(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 999")
    connection.close()
    with pytest.raises(StartupFailed, match="newer autotagger"):
        LedgerWriter(path)


def test_a_reader_cannot_write(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    LedgerWriter(path).close()
    assert {name for name in dir(LedgerWriter) if name.startswith("record_")}
    assert not [name for name in dir(LedgerReader) if name.startswith("record_") or name == "batch"]
    with pytest.raises(StartupFailed, match="cannot be written"), LedgerReader(path) as reader:
        reader._db.execute_sql("INSERT INTO run (started_ms, version) VALUES (1, '0')")


def test_a_missing_ledger_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(StartupFailed, match="no ledger at"):
        LedgerReader(tmp_path / "ledger.sqlite3")


def test_a_damaged_file_is_said_so_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    path.write_bytes(b"this is not a database at all" * 100)
    with pytest.raises(StartupFailed, match="damaged"):
        LedgerWriter(path)
    assert path.read_bytes().startswith(b"this is not a database")


def test_a_state_folder_that_is_a_file_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    with pytest.raises(StartupFailed, match="state"):
        LedgerWriter(tmp_path / "state" / "ledger.sqlite3")


def _hold(
    lock: LedgerLock, held: "multiprocessing.synchronize.Event", let_go: "multiprocessing.synchronize.Event"
) -> None:
    held.set()
    let_go.wait()


def test_the_lock_lives_as_long_as_any_process_that_was_given_it(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    first, second = LedgerLock(path), LedgerLock(path)
    first.acquire()
    with pytest.raises(StartupFailed, match=r"another autotagger \(process \d+\)"):
        second.acquire()
    context = multiprocessing.get_context("spawn")
    held, let_go = context.Event(), context.Event()
    process = context.Process(target=_hold, args=(first, held, let_go))
    process.start()
    held.wait()
    first.release()
    with pytest.raises(StartupFailed, match="another autotagger"):
        second.acquire()
    let_go.set()
    process.join()
    second.acquire()
    second.release()
