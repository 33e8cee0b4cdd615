"""Retry assets, or dismiss them for good: in the ledger itself, or through the running service."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from autotagger.errors import AssetFailed, StartupFailed
from autotagger.ledger.database import LedgerLock
from autotagger.ledger.reader import LedgerReader
from autotagger.ledger.writer import LedgerWriter
from autotagger.pipeline.control.mailbox import Mailbox
from autotagger.settings import Settings

#: How long a command waits to see its request taken up: some ticks of the supervisor.
PATIENCE_S = 5.0
_LOOK_S = 0.1

By = Literal["next run", "running service", "running service, later"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """`assets`: how many are concerned; `by`: who does it; `told`: the same for a person."""

    assets: int
    by: By
    told: str


def retry(settings: Settings, kind: str | None, asset_id: str | None) -> Outcome:
    """Have assets tried again. Raises AssetFailed where none fits, StartupFailed where there is no ledger."""
    with LedgerReader(settings.ledger_path) as ledger:
        found = ledger.retriable(kind, asset_id)
        if not found:
            raise AssetFailed(
                f"nothing to retry matches; classes in the ledger: {_kinds(ledger)}", kind="nothing-to-retry"
            )
    count, by = _carry_out(settings, "retry", kind, asset_id, found, lambda it: it.retry(kind, asset_id))
    told = {
        "next run": f"the next `autotagger run` retries {count} assets",
        "running service": f"the running service retries {count} assets",
    }
    later = f"the running service is busy: it retries {count} assets later, or else the next run does"
    return Outcome(count, by, told.get(by, later))


def dismiss(settings: Settings, kind: str | None, asset_id: str | None) -> Outcome:
    """Set assets aside for good: those in trouble of class `kind`, or the one that is named. Raises AssetFailed
    where none fits, StartupFailed where there is no ledger."""
    with LedgerReader(settings.ledger_path) as ledger:
        found = ledger.dismissable(kind, asset_id)
        if not found:
            if asset_id is not None:
                state = ledger.known(asset_id).state
                raise AssetFailed(f"asset {asset_id} is {state}: nothing to dismiss", kind="nothing-to-dismiss")
            raise AssetFailed(
                f"nothing to dismiss matches; classes in the ledger: {_kinds(ledger)}",
                kind="nothing-to-dismiss",
            )
    count, by = _carry_out(settings, "dismiss", kind, asset_id, found, lambda it: it.dismiss(kind, asset_id))
    told = f"{count} assets are set aside for good; `autotagger retry --error dismissed` takes them back"
    later = f"the running service is busy: it sets {count} assets aside later, or else the next run does"
    return Outcome(count, by, later if by == "running service, later" else told)


def _kinds(ledger: LedgerReader) -> str:
    return ", ".join(sorted(ledger.troubles())) or "none"


def _carry_out(
    settings: Settings,
    wish: Literal["retry", "dismiss"],
    kind: str | None,
    asset_id: str | None,
    found: int,
    change: Callable[[LedgerWriter], int],
) -> tuple[int, By]:
    """Change the ledger, or ask the running service to; returns how many assets, and who does it."""
    lock = LedgerLock(settings.ledger_path)
    try:
        lock.acquire()
    except StartupFailed as error:
        if error.kind != "ledger-locked":
            raise
        return found, _ask(settings, wish, kind, asset_id)
    else:
        with LedgerWriter(settings.ledger_path) as ledger:
            return change(ledger), "next run"
    finally:
        lock.release()


def _ask(settings: Settings, wish: str, kind: str | None, asset_id: str | None) -> By:
    mailbox = Mailbox(settings.state_dir)
    request = mailbox.post(wish, kind=kind, asset_id=asset_id)
    until_s = time.monotonic() + PATIENCE_S
    while mailbox.is_waiting(request) and time.monotonic() < until_s:
        time.sleep(_LOOK_S)
    return "running service, later" if mailbox.is_waiting(request) else "running service"
