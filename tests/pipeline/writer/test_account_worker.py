"""An account's worker: its operation goes on at once while it gets further, and otherwise waits for Immich."""

from pathlib import Path
from typing import Any, cast

from autotagger.ledger.writer import LedgerWriter
from autotagger.pipeline.writer.account_context import AccountContext
from autotagger.pipeline.writer.account_worker import AccountWorker

NOBODY: Any = None


class Walk:
    """An operation that only reads: further at each of these steps, and seen to after the last."""

    def __init__(self, *steps: int) -> None:
        self._steps = list(steps)
        self.after = 0
        self.result = {"read": len(steps)}

    async def step(self) -> bool:
        self.after = self._steps.pop(0)
        return bool(self._steps)


async def test_an_operation_that_only_reads_is_not_kept_waiting_between_its_steps(tmp_path: Path) -> None:
    with LedgerWriter(tmp_path / "ledger.sqlite3") as ledger:
        context = AccountContext(
            ledger, NOBODY, NOBODY, NOBODY, "auto:processed", lambda: 0, lambda _what, _by: None
        )
        account_worker = AccountWorker(context, NOBODY, NOBODY, NOBODY, NOBODY, cast("Any", Walk(25, 50, 50, 50)))
        assert [await account_worker.step() for _ in range(2)] == [True, True]
        assert await account_worker.step() is False, "no further: something has to settle first"
        assert await account_worker.step() is True, "it has come to its end"
        assert account_worker.operation is None
        assert account_worker.result == {"read": 4}
        assert await account_worker.step() is False
