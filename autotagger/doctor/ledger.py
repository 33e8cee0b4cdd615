"""A look at the ledger: read only, also during a run."""

import fcntl
import os
from dataclasses import replace
from pathlib import Path

from autotagger.doctor.facts import LedgerFacts
from autotagger.errors import Fatal
from autotagger.ledger.database import check_pages
from autotagger.ledger.reader import LedgerReader
from autotagger.ledger.states import Probe, State
from autotagger.settings import Settings
from autotagger.statedir import lacking


def look_at_ledger(settings: Settings) -> LedgerFacts:
    """Whether it can be written, is whole, is in use, and what it knows of libraries where tags do not stick."""
    path = settings.ledger_path
    facts = LedgerFacts(
        path,
        exists=os.path.exists(path),  # noqa: PTH110 - false also where we may not look
        writable=_is_writable(path),
        holder=holder_of(path),
        lacking=lacking(_folder_of(path)),
    )
    if not facts.exists:
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
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)


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
