"""Every command that reads the ledger, on ledgers of every earlier schema and on damaged ones."""

import asyncio
import os
import shutil
import sqlite3
import zlib
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest

from autotagger.demo import StandIn, tiny_library
from autotagger.ledger.database import RESTORE, check_pages, migrations
from autotagger.scores import pack
from tests.forked import Outcome, command
from tests.ledger.test_migrations import first_ledger

NEWEST = migrations()[-1][0]


def ledger_of(version: int, state_dir: Path) -> str:
    """A ledger as an autotagger of that schema left it; returns the id of a verified asset of it."""
    path = state_dir / "ledger.sqlite3"
    first_ledger(path, 3, 4)
    with closing(sqlite3.connect(path)) as connection:
        labels = zlib.compress(b'[["general", "rating"], ["sky", "general"]]')
        connection.execute("UPDATE model SET labels = ?", (labels,))
        connection.execute("UPDATE score SET packed = ?", (pack(np.array([0.9, 0.8], np.float32)),))
        connection.commit()
        for number, script in migrations()[1:version]:
            connection.executescript(f"{script}; PRAGMA user_version = {number};")
        connection.execute("PRAGMA journal_mode = wal")
        [asset_id] = connection.execute("SELECT hex(asset_id) FROM asset WHERE state = 'verified'").fetchone()
    return str(asset_id)


def ask(state_dir: Path, *words: str | Path, environ: Mapping[str, str] = MappingProxyType({})) -> Outcome:
    mine = {"AUTOTAGGER_CONFIG": "/dev/null", "AUTOTAGGER_STATE_DIR": str(state_dir), "COLUMNS": "200"}
    done = command(*words, environ={**os.environ, **mine, **environ})
    assert "Traceback" not in done.err
    return done


def questions(asset_id: str, folder: Path) -> tuple[tuple[str | Path, ...], ...]:
    return (
        ("status",),
        ("status", "--json"),
        ("status", "--problems"),
        ("ledger", "list", "--limit", "0"),
        ("ledger", "list", "--rejected"),
        ("ledger", "show", asset_id),
        ("ledger", "export"),
        ("ledger", "check"),
        ("ledger", "backup", folder / "copy"),
        ("policy", "stats"),
    )


@pytest.mark.parametrize("version", range(1, NEWEST + 1))
def test_a_ledger_of_an_earlier_schema_is_read_and_left_as_it_is(version: int, tmp_path: Path) -> None:
    state_dir = tmp_path / "state"
    state_dir.mkdir()
    asset_id = ledger_of(version, state_dir)
    before = (state_dir / "ledger.sqlite3").read_bytes()
    for words in questions(asset_id, tmp_path):
        done = ask(state_dir, *words)
        assert done.code == 0, (words, done.err)
        assert done.out, words
    assert '"verified":3' in ask(state_dir, "status", "--json").out.replace(" ", "")
    assert (state_dir / "ledger.sqlite3").read_bytes() == before
    with closing(sqlite3.connect(tmp_path / "copy")) as copy:
        assert copy.execute("PRAGMA user_version").fetchone() == (version,), "a backup is what it was"
    check_pages(state_dir / "ledger.sqlite3")
    # Whoever changes it brings it up to date.
    assert ask(state_dir, "ledger", "dismiss", "--error", "broken-picture").code == 0
    with closing(sqlite3.connect(state_dir / "ledger.sqlite3")) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (NEWEST,)


def spoiled_header(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(os.urandom(4096))


def spoiled_pages(path: Path) -> None:
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (size - 4096))


def spoiled_end(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize("spoil", [spoiled_header, spoiled_pages, spoiled_end])
def test_a_damaged_ledger_is_told_with_one_advice_by_every_command(spoil: object, tmp_path: Path) -> None:
    state_dir = tmp_path / "state"
    state_dir.mkdir()
    asset_id = ledger_of(NEWEST, state_dir)
    for suffix in ("-wal", "-shm"):
        (state_dir / f"ledger.sqlite3{suffix}").unlink(missing_ok=True)
    assert callable(spoil)
    spoil(state_dir / "ledger.sqlite3")
    changing: tuple[tuple[str | Path, ...], ...] = (
        ("retry",),
        ("ledger", "dismiss", "--error", "broken-picture"),
        ("ledger", "vacuum"),
        ("policy", "test", asset_id),
    )
    for words in (*questions(asset_id, tmp_path), *changing):
        done = ask(state_dir, *words)
        assert done.code == 3, (words, done.out, done.err)
        assert "damaged" in done.out + done.err, words
        if words != ("ledger", "check"):
            assert RESTORE in done.err, words
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize(
    "words", [("run", "--once"), ("retag",), ("undo", "--all", "--yes"), ("verify",), ("plan", "--score", "0")]
)
async def test_a_command_that_works_on_immich_changes_nothing_by_a_damaged_ledger(
    words: tuple[str, ...], tmp_path: Path
) -> None:
    async with StandIn(tiny_library(3)) as server:
        ledger_of(NEWEST, tmp_path)
        spoiled_pages(tmp_path / "ledger.sqlite3")
        environ = {"IMMICH_BASE_URL": server.url, "IMMICH_API_KEY": server.api_key, "AUTOTAGGER_MODEL": "palette"}
        done = await asyncio.to_thread(ask, tmp_path, *words, environ=environ)
        assert done.code == 3, done.err
        assert RESTORE in done.err
        assert server.calls["tag_assets"] == server.calls["untag_assets"] == 0


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("UPDATE asset SET state = 'asleep'", ("ledger", "list")),
        ("UPDATE asset SET asset_id = x'01' WHERE key = 1", ("ledger", "export")),
        ("UPDATE model SET labels = x'0102'", ("policy", "stats")),
        ("UPDATE score SET packed = x'0102'", ("policy", "stats")),
        ("UPDATE run SET summary = 'no JSON'", ("status",)),
    ],
)
def test_a_value_that_means_nothing_is_damage_too(damage: str, words: tuple[str, ...], tmp_path: Path) -> None:
    ledger_of(NEWEST, tmp_path)
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite3")) as connection, connection:
        connection.execute(damage)
    done = ask(tmp_path, *words)
    assert done.code == 3, done.err
    assert RESTORE in done.err


def test_a_copy_of_a_ledger_is_a_ledger(tmp_path: Path) -> None:
    """What `ledger backup` makes can be put in place."""
    (tmp_path / "state").mkdir()
    (tmp_path / "other").mkdir()
    ledger_of(NEWEST, tmp_path / "state")
    copy = tmp_path / "copy"
    assert ask(tmp_path / "state", "ledger", "backup", copy).code == 0
    assert copy.stat().st_mode & 0o777 == 0o600
    shutil.copy(copy, tmp_path / "other" / "ledger.sqlite3")
    assert ask(tmp_path / "other", "status").out == ask(tmp_path / "state", "status").out
