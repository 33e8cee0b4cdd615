"""Looking after the ledger's file: a copy while it is in use, a search for damage, unused space."""
# ruff: noqa: S608 - the queries are made of our own enums, and of nothing that anybody could have given

import os
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autotagger.errors import BadConfig
from autotagger.ledger.database import (
    RESTORE,
    LedgerLock,
    open_as_it_is,
    open_for_reading,
    open_for_writing,
    told_plainly,
)
from autotagger.ledger.states import LinkState, Probe, State
from autotagger.statedir import FILE_MODE

#: Assets named for a finding.
_EXAMPLES = 3

_VERIFY = "autotagger verify --repair"


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong with a ledger: how often, some asset ids, and what to do."""

    what: str
    count: int
    examples: tuple[str, ...]
    advice: str

    @property
    def is_damage(self) -> bool:
        """Whether the ledger is to be restored: no run and no `verify` puts it right."""
        return self.advice == RESTORE


def back_up(ledger: Path, copy: Path) -> int:
    """Copy the ledger as it is at this moment, also while a run writes; returns the copy's size in bytes.

    The copy is checked before it gets its name. Raises BadConfig where `copy` exists, StartupFailed where the
    ledger or the disk is to blame.
    """
    if copy.exists():
        raise BadConfig(f"{copy} already exists; a backup never replaces a file")
    part = copy.with_name(f".{copy.name}.part")
    source: Any = open_as_it_is(ledger)
    try:
        with told_plainly(part):
            part.touch(mode=FILE_MODE)
        with told_plainly(part), closing(sqlite3.connect(part)) as target:
            # All pages in one step: one snapshot of the WAL, during which the writer goes on.
            source.connection().backup(target)
            target.execute("PRAGMA journal_mode = delete")
            found = target.execute("PRAGMA quick_check(1)").fetchone()[0]
            if found != "ok":
                raise sqlite3.DatabaseError(f"malformed: {found}")
        with told_plainly(copy):
            with part.open("rb") as file:
                os.fsync(file.fileno())
            part.rename(copy)
    finally:
        source.close()
        part.unlink(missing_ok=True)
    return copy.stat().st_size


def vacuum(ledger: Path) -> tuple[int, int]:
    """Rewrite the file without its unused pages; returns its size before and after. Raises StartupFailed where a
    run holds it, or the disk has not as much free space as the ledger has."""
    open_as_it_is(ledger).close()  # there is one
    lock = LedgerLock(ledger)
    try:
        lock.acquire()
        database: Any = open_for_writing(ledger)
        with told_plainly(ledger):
            before = ledger.stat().st_size
            database.execute_sql("VACUUM")
            database.execute_sql("PRAGMA wal_checkpoint(TRUNCATE)")
            database.close()
            return before, ledger.stat().st_size
    finally:
        lock.release()


def inspect(ledger: Path) -> list[Finding]:
    """Look for damage, changing nothing: pages and indexes, references, and what must be true of every row. Raises
    StartupFailed where there is no ledger or it cannot be opened at all."""
    database: Any = open_for_reading(ledger)
    try:
        with told_plainly(ledger):
            database.begin()  # one moment, whatever a run writes meanwhile
            return list(_findings(database))
    finally:
        database.close()


def _findings(database: Any) -> Iterator[Finding]:
    pages = [str(line) for (line,) in database.execute_sql("PRAGMA integrity_check(100)").fetchall()]
    if pages != ["ok"]:
        yield Finding(f"damaged pages or indexes: {pages[0]}", len(pages), (), RESTORE)
        return  # nothing else can be believed
    broken = database.execute_sql("PRAGMA foreign_key_check").fetchall()
    if broken:
        tables = ", ".join(sorted({str(row[0]) for row in broken}))
        yield Finding(f"rows of {tables} that refer to missing rows", len(broken), (), RESTORE)
    for what, advice, query in _invariants():
        keys = [key for (key,) in database.execute_sql(query).fetchall()]
        if keys:
            yield Finding(what, len(keys), _examples(database, keys[:_EXAMPLES]), advice)


def _examples(database: Any, keys: list[int]) -> tuple[str, ...]:
    marks = ", ".join("?" * len(keys))
    rows = database.execute_sql(f"SELECT asset_id FROM asset WHERE key IN ({marks}) ORDER BY key", keys)
    return tuple(str(uuid.UUID(bytes=bytes(row[0]))) for row in rows.fetchall())


def _invariants() -> Iterator[tuple[str, str, str]]:
    """(what is wrong, what to do, the query for the keys of assets that it is wrong with)."""
    meant = f"({LinkState.WANTED:d}, {LinkState.SENT:d}, {LinkState.PROVEN:d})"
    to_put = f"({LinkState.WANTED:d}, {LinkState.SENT:d}, {LinkState.PROVEN:d}, {LinkState.LOST:d})"
    has_to_put = f"EXISTS (SELECT 1 FROM link WHERE link.asset = asset.key AND link.state IN {to_put})"
    has_meant = f"EXISTS (SELECT 1 FROM link WHERE link.asset = asset.key AND link.state IN {meant})"
    yield (
        "planned, but with no tag to add or remove",
        RESTORE,
        f"SELECT key FROM asset WHERE state = '{State.PLANNED}' AND removal IS NULL AND NOT {has_to_put}",
    )
    yield (
        "verified, but without any tag of autotagger, not even the marker",
        _VERIFY,
        f"SELECT key FROM asset WHERE state = '{State.VERIFIED}' AND NOT {has_meant}",
    )
    unfinished = f"({LinkState.WANTED:d}, {LinkState.LEAVING:d}, {LinkState.RETIRED:d})"
    yield (
        "verified, although a tag still has to be added or removed",
        _VERIFY,
        "SELECT DISTINCT asset.key FROM link JOIN asset ON asset.key = link.asset "
        f"WHERE link.state IN {unfinished} "
        f"AND link.state NOT IN (0, 1) AND asset.state = '{State.VERIFIED}'",
    )
    yield (
        "scored without scores",
        RESTORE,
        f"SELECT key FROM asset WHERE state = '{State.SCORED}' "
        "AND NOT EXISTS (SELECT 1 FROM score WHERE score.asset = asset.key)",
    )
    yield (
        "applied, but without the time of the answer or of the next check",
        _VERIFY,
        f"SELECT key FROM asset WHERE state = '{State.APPLIED}' AND (answered_ms IS NULL OR due_ms IS NULL)",
    )
    never = ", ".join(f"'{state}'" for state in (State.PENDING, State.STALE, State.PLANNED))
    yield (
        "unfinished, but never due",
        RESTORE,
        f"SELECT key FROM asset WHERE state IN ({never}) AND due_ms IS NULL",
    )
    yield (
        "a tag of autotagger without an origin",
        RESTORE,
        "SELECT DISTINCT asset FROM link WHERE origin IS NULL "
        f"AND state NOT IN ({LinkState.FOUND:d}, {LinkState.LOST:d})",
    )
    yield (
        "an unknown state",
        RESTORE,
        f"SELECT key FROM asset WHERE state NOT IN ({', '.join(repr(str(state)) for state in State)}) "
        f"UNION SELECT asset FROM link WHERE state NOT BETWEEN {min(LinkState):d} AND {max(LinkState):d}",
    )
    yield (
        "an unknown origin, or a tag to remove that does not exist",
        RESTORE,
        "SELECT key FROM asset WHERE (origin IS NOT NULL AND origin NOT IN (SELECT id FROM origin)) "
        "OR (removal IS NOT NULL AND removal NOT IN (SELECT id FROM tag))",
    )
    yield (
        "a library whose canary does not exist",
        RESTORE,
        f"SELECT -id FROM collection WHERE state = '{Probe.PROBING}' "
        "AND (canary IS NULL OR canary NOT IN (SELECT key FROM asset))",
    )
