"""Another try for what was set aside: by ourselves where nobody is at work, else by who is."""

import time
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


@dataclass(frozen=True, slots=True)
class Outcome:
    """`assets`: how many are tried again; `by`: who sees to it; `told`: the same for a person."""

    assets: int
    by: Literal["next run", "running service", "running service, later"]
    told: str


def retry(settings: Settings, kind: str | None, asset_id: str | None) -> Outcome:
    """Have assets tried again. Raises AssetFailed where none fits, StartupFailed where there is no ledger."""
    with LedgerReader(settings.ledger_path) as ledger:
        found = ledger.retriable(kind, asset_id)
        if not found:
            kinds = ", ".join(sorted(ledger.troubles())) or "none"
            raise AssetFailed(
                f"nothing to try again fits; classes in the ledger: {kinds}", kind="nothing-to-retry"
            )
    lock = LedgerLock(settings.ledger_path)
    try:
        lock.acquire()
    except StartupFailed as error:
        if error.kind != "ledger-locked":
            raise
        return _ask(settings, kind, asset_id, found)
    else:
        with LedgerWriter(settings.ledger_path) as ledger:
            count = ledger.retry(kind, asset_id)
    finally:
        lock.release()
    return Outcome(count, "next run", f"{count} assets are tried again by the next `autotagger run`")


def _ask(settings: Settings, kind: str | None, asset_id: str | None, found: int) -> Outcome:
    mailbox = Mailbox(settings.state_dir)
    request = mailbox.post("retry", kind=kind, asset_id=asset_id)
    until_s = time.monotonic() + PATIENCE_S
    while mailbox.is_waiting(request) and time.monotonic() < until_s:
        time.sleep(_LOOK_S)
    if mailbox.is_waiting(request):
        told = f"the run at work is asked to try {found} assets again; it is busy and will, or else the next one"
        return Outcome(found, "running service, later", told)
    return Outcome(found, "running service", f"{found} assets are tried again by the run at work")
