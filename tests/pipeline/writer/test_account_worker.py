"""A seat at the writer: its errand goes on at once as long as it gets further, and else waits for Immich."""

from pathlib import Path
from typing import Any, cast

from autotagger.ledger.store import Ledger
from autotagger.pipeline.writer.account_context import Desk
from autotagger.pipeline.writer.account_worker import Seat

NOBODY: Any = None


class Walk:
    """An errand that only reads: further at each of these steps, and seen to after the last."""

    def __init__(self, *steps: int) -> None:
        self._steps = list(steps)
        self.after = 0
        self.result = {"read": len(steps)}

    async def step(self) -> bool:
        self.after = self._steps.pop(0)
        return bool(self._steps)


async def test_an_errand_that_only_reads_is_not_kept_waiting_between_its_steps(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.sqlite3", writable=True) as ledger:
        desk = Desk(ledger, NOBODY, NOBODY, "auto:processed", lambda: 0, lambda _what, _by: None)
        seat = Seat(desk, NOBODY, NOBODY, NOBODY, NOBODY, cast("Any", Walk(25, 50, 50, 50)))
        assert [await seat.step() for _ in range(2)] == [True, True]
        assert await seat.step() is False, "no further: something has to settle first"
        assert await seat.step() is True, "it has come to its end"
        assert seat.errand is None
        assert seat.result == {"read": 4}
        assert await seat.step() is False
