"""Opening the ledger's file: the lock, the pragmas, the migrations, and what a damaged or full disk means."""

import errno
import fcntl
import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from importlib import resources
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import Any

import peewee
from peewee import SqliteDatabase

from autotagger.errors import Malformed, StartupFailed
from autotagger.ledger.schema import TABLES
from autotagger.statedir import FILE_MODE, ensure_suitable, keep_private, private_folder

#: WAL lets `status` read while the writer writes. NORMAL keeps the file consistent through a power cut and may
#: lose the last commits, which is safe here: work that was done and forgotten is done again, to the same end.
_PRAGMAS = {"journal_mode": "wal", "synchronous": "normal", "foreign_keys": 1, "busy_timeout": 10_000}

#: What a query can raise: the file is damaged, the disk full, another program holds it.
DATABASE_ERRORS = (peewee.PeeweeException, sqlite3.Error, Malformed)
#: The one advice for a damaged ledger.
RESTORE = (
    "stop the service; then put your newest `autotagger ledger backup` in its place, or rebuild it from "
    "Immich: `autotagger ledger rebuild` (the damaged file is kept)"
)
#: How long the end of a run waits for somebody who reads the ledger at that moment.
_CHECKPOINT_S = 2.0


def migrations() -> list[tuple[int, str]]:
    """Every migration as (version, SQL), oldest first; the version is the number its file name starts with."""
    folder = resources.files("autotagger.ledger") / "migrations"
    files = sorted((entry for entry in folder.iterdir() if entry.name.endswith(".sql")), key=lambda f: f.name)
    return [(int(file.name.split("_")[0]), file.read_text(encoding="utf-8")) for file in files]


def open_for_writing(path: Path) -> SqliteDatabase:
    """Open (or make) the ledger and bring its schema up to date. Raises StartupFailed."""
    with told_plainly(path):
        private_folder(path.parent)
        if not path.exists():  # else left closed: to close a file lets go of all that SQLite has locked in it
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE))
        for suffix in ("", "-wal", "-shm"):  # new ones get the rights of the first
            keep_private(path.with_name(path.name + suffix))
        database = SqliteDatabase(str(path), pragmas=_PRAGMAS)
        database.connect()
        _migrate(database, path)
        database.bind(TABLES)
    return database


def open_for_reading(path: Path) -> SqliteDatabase:
    """Open an existing ledger without being able to change it; one of an earlier schema as a copy that is brought
    up to date, since only a run may change the file. Raises StartupFailed."""
    with told_plainly(path):
        database = open_as_it_is(path)
        if _refuse_newer(database, path) < migrations()[-1][0]:
            database = _up_to_date_copy(database, path)
        database.bind(TABLES)
    return database


def open_as_it_is(path: Path) -> SqliteDatabase:
    """Open the file of an existing ledger, of whatever schema, for reading. Raises StartupFailed."""
    with told_plainly(path):
        if not path.exists():
            raise StartupFailed(f"there is no ledger at {path} yet: `autotagger run` creates it", kind="no-ledger")
        database = SqliteDatabase(f"file:{_uri(path)}?mode=ro", uri=True, pragmas={"busy_timeout": 10_000})
        database.connect()
    return database


def checkpoint(path: Path) -> None:
    """Bring everything into the file itself, so that a copy of it alone is complete. What cannot be done now,
    because somebody reads or the file is damaged, is left for whoever opens it next."""
    with suppress(sqlite3.Error), closing(_connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def check_pages(path: Path) -> None:
    """Have SQLite look through the whole file, without changing it. Raises StartupFailed when it is damaged."""
    database: Any = open_as_it_is(path)  # peewee does not annotate it
    with told_plainly(path):
        try:
            found = [str(line) for (line,) in database.execute_sql("PRAGMA quick_check(1)").fetchall()]
            if found != ["ok"]:
                raise sqlite3.DatabaseError(f"malformed: {' '.join(found)}")
        finally:
            database.close()


@contextmanager
def told_plainly(path: Path) -> Iterator[None]:
    """Turn what SQLite and the file system say into one line that names the file and the fix. Raises MemoryError
    when they say only that this process has no more."""
    try:
        yield
    except (*DATABASE_ERRORS, OSError) as error:
        raise plainly(path, error) from None


def plainly(path: Path, error: BaseException) -> StartupFailed:
    """What SQLite or the file system says of the ledger, as one line that names the file and the fix. Raises
    MemoryError when they say only that this process has no more."""
    cause = _first_cause(error)
    if isinstance(cause, MemoryError) or getattr(cause, "sqlite_errorcode", 0) == sqlite3.SQLITE_IOERR_SHMMAP:
        raise MemoryError from error
    return StartupFailed(f"ledger {path}: {_fix(cause)}", kind="ledger")


class LedgerLock:
    """Only one run per ledger. The lock lives as long as any process that may write: it is inherited by
    file descriptor, so a writer that outlives a killed supervisor still keeps the next run out."""

    def __init__(self, ledger: Path) -> None:
        self._path = ledger.with_suffix(".lock")
        with told_plainly(ledger):
            private_folder(self._path.parent)
            self.fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
            keep_private(self._path)

    def __getstate__(self) -> tuple[Any, Path]:
        return DupFd(self.fd), self._path

    def __setstate__(self, state: tuple[Any, Path]) -> None:
        fd, self._path = state
        self.fd = fd.detach()

    def acquire(self) -> None:
        """Take the lock. Raises StartupFailed, naming the other run's process, when it is taken; and where the
        file system has no locks, or lacks something else that a ledger needs."""
        ensure_suitable(self._path.parent)
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise StartupFailed(f"cannot lock {self._path}: {error.strerror}", kind="ledger") from None
            holder = os.pread(self.fd, 20, 0).decode("ascii", "replace").strip() or "unknown"
            raise StartupFailed(
                f"another autotagger (process {holder}) works on {self._path.parent}: "
                "stop it first, or give this one its own state_dir",
                kind="ledger-locked",
            ) from None
        os.ftruncate(self.fd, 0)
        os.pwrite(self.fd, str(os.getpid()).encode("ascii"), 0)

    def release(self) -> None:
        os.close(self.fd)


def _up_to_date_copy(database: Any, path: Path) -> SqliteDatabase:
    """A private copy in a temporary file without a name: it is gone with the connection."""
    copy: Any = SqliteDatabase("file:", uri=True)
    copy.connect()
    with closing(database):
        database.connection().backup(copy.connection())
    _migrate(copy, path)
    copy.pragma("query_only", 1)
    found: SqliteDatabase = copy
    return found


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{_uri(path)}?mode=rw", uri=True, timeout=_CHECKPOINT_S)


def _migrate(database: Any, path: Path) -> None:
    current = _refuse_newer(database, path)
    for version, script in migrations():
        if version > current:
            with database.atomic("IMMEDIATE"):
                for statement in _statements(script):
                    database.execute_sql(statement)
                database.pragma("user_version", version)


def _refuse_newer(database: Any, path: Path) -> int:
    current = int(database.pragma("user_version"))
    newest = migrations()[-1][0]
    if current > newest:
        raise StartupFailed(
            f"ledger {path} was written by a newer autotagger (schema {current}, this one knows {newest}): "
            "update autotagger",
            kind="ledger",
        )
    return current


def _statements(script: str) -> Iterator[str]:
    text = re.sub(r"--[^\n]*", "", script)
    yield from (statement.strip() for statement in text.split(";") if statement.strip())


def _uri(path: Path) -> str:
    return str(path.absolute()).replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def _first_cause(error: BaseException) -> BaseException:
    """On a full disk, or without memory, SQLite rolls back by itself, and the rollback that follows fails for want
    of a transaction."""
    while isinstance(error.__context__, peewee.PeeweeException | sqlite3.Error | OSError | MemoryError):
        error = error.__context__
    return error


def _fix(error: Any) -> str:
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror} ({error.filename})"
    if "full" in text:
        return "the disk is full; free some space and start again, nothing recorded is lost"
    if isinstance(error, Malformed) or "malformed" in text or "not a database" in text:
        return f"the file is damaged ({text}): {RESTORE}"
    if "locked" in text:
        return f"another program holds it ({text}); close that and start again, nothing recorded is lost"
    if "readonly" in text or "unable to open" in text:
        return f"cannot be written ({text}); check the owner and permissions of the folder"
    return text
