"""A look at the ledger: read only, also during a run."""

import fcntl
import os
import tempfile
from dataclasses import replace
from pathlib import Path

from autotagger.doctor.facts import LedgerFacts
from autotagger.errors import Fatal
from autotagger.ledger.database import check_pages
from autotagger.ledger.reader import LedgerReader
from autotagger.ledger.states import Probe, State
from autotagger.resources import is_exhaustion
from autotagger.settings import Settings
from autotagger.statedir import lacking, spill_folder

_USE, _ENTER = os.R_OK | os.W_OK, os.R_OK | os.W_OK | os.X_OK


def look_at_ledger(settings: Settings) -> LedgerFacts:
    """Whether it can be written, is whole, is in use, and what it knows of libraries where tags do not stick."""
    path = settings.ledger_path
    facts = LedgerFacts(
        path,
        exists=os.path.exists(path),  # noqa: PTH110 - false also where we may not look
        writable=_is_writable(path),
        holder=holder_of(path),
        lacking=lacking(_folder_of(path)),
        obstacle=_obstacle(path),
    )
    if not facts.exists or facts.obstacle:
        return facts
    try:
        check_pages(path)
        with LedgerReader(path) as ledger:
            counts = ledger.counts()
            closed = tuple(row.reason or "" for row in ledger.collections() if row.state is Probe.CLOSED)
    except Fatal as error:
        return replace(facts, trouble=error)
    return replace(facts, assets=sum(counts.values()), failed=counts[State.FAILED], closed=closed)


def _is_writable(path: Path) -> bool:
    """Whether a run could make or change the ledger: its folder too, where SQLite keeps its journal."""
    if os.path.exists(path) and not os.access(path, os.W_OK):  # noqa: PTH110 - as above
        return False
    there = _folder_of(path)
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        return False
    try:  # /proc and some shares say that they can be written
        with tempfile.TemporaryFile(dir=there):
            return True
    except OSError as error:
        return is_exhaustion(error)  # a full disk is another check's business


def _obstacle(path: Path) -> Path | None:
    """The first of what a run opens in the state folder that is there and cannot be used."""
    files = [path.with_suffix(".lock"), *(path.with_name(path.name + suffix) for suffix in ("", "-wal", "-shm"))]
    spill = spill_folder(path.parent)
    blocked = [one for one in files if os.path.lexists(one) and not (one.is_file() and os.access(one, _USE))]
    blocked += [spill] if os.path.lexists(spill) and not (spill.is_dir() and os.access(spill, _ENTER)) else []
    return blocked[0] if blocked else None


def _folder_of(path: Path) -> Path:
    """The folder of a ledger, or the first one above it that is there."""
    return next(one for one in path.absolute().parents if os.path.exists(one))  # noqa: PTH110 - as above


def holder_of(ledger: Path) -> str | None:
    """Process id of the run that holds the ledger's lock, None where there is none."""
    lock = ledger.with_suffix(".lock")
    try:
        with lock.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                return file.read(20).decode("ascii", "replace").strip() or "unknown"
    except OSError:  # there is none, or no folder for one: whether it could be made is another check's business
        return None
    return None
