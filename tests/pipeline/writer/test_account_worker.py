"""An account's worker: its operation goes on at once while it gets further, and otherwise waits for Immich."""

from pathlib import Path
from typing import Any, cast

from autotagger.pipeline.writer.account_context import AccountContext
from autotagger.pipeline.writer.account_worker import AccountWorker, together
from tests.pipeline.unit import (
    MARKER,
    NOW_MS,
    Writing,
    a_model,
    an_origin,
    asset_id,
    open_collections,
    open_ledger,
)

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
    with open_ledger(tmp_path) as ledger:
        context = AccountContext(
            ledger, NOBODY, NOBODY, NOBODY, "auto:processed", lambda: 0, lambda _what, _by: None
        )
        account_worker = AccountWorker(
            context, NOBODY, NOBODY, NOBODY, NOBODY, NOBODY, NOBODY, cast("Any", Walk(25, 50, 50, 50))
        )
        assert [await account_worker.step() for _ in range(2)] == [True, True]
        assert await account_worker.step() is False, "no further: something has to settle first"
        assert await account_worker.step() is True, "it has come to its end"
        assert account_worker.operation is None
        assert account_worker.result == {"read": 4}
        assert await account_worker.step() is False


class Verifier:
    """Says what it was asked, in order."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def retry_closed(self) -> None:
        self.asked.append("retry closed")

    async def look(self) -> None:
        self.asked.append("look")

    async def look_at_due(self) -> bool:
        self.asked.append("look at due")
        return True

    def judge_canaries(self) -> bool:
        self.asked.append("judge")
        return False


def worker_on(run: Writing, verifier: Any = None, *, behind: bool = False, operation: Any = None) -> AccountWorker:
    actions: Any = type("Actions", (), {"behind": behind})
    return AccountWorker(run.context, NOBODY, verifier, actions, NOBODY, NOBODY, NOBODY, operation)


async def test_the_listing_is_looked_through_when_asked_and_what_is_due_each_time(tmp_path: Path) -> None:
    run, verifier = Writing(tmp_path), Verifier()
    worker = worker_on(run, verifier)
    assert await worker.verify(look=False) == (True, False)
    assert verifier.asked == ["look at due", "judge"]
    verifier.asked.clear()
    assert await worker.verify(look=True) == (True, False)
    assert verifier.asked == ["retry closed", "look", "look at due", "judge"]
    run.close()


def test_it_is_idle_when_nothing_is_left_to_be_sent_or_proven(tmp_path: Path) -> None:
    run = Writing(tmp_path)
    assert worker_on(run).is_idle(operation_only=False)
    assert not worker_on(run, behind=True).is_idle(operation_only=False)
    assert not worker_on(run, operation=Walk(1)).is_idle(operation_only=False)
    run.add_scored(1)
    open_collections(run.ledger)
    assert not worker_on(run).is_idle(operation_only=False), "it is to be tagged"
    assert worker_on(run).is_idle(operation_only=True), "and had no tags before"
    key = run.ledger.known(asset_id(1)).key
    run.ledger.record_plan([(key, ("sky", MARKER), an_origin(run.ledger))])
    assert not worker_on(run).is_idle(operation_only=True), "it is to be sent"
    run.ledger.record_answer([key], NOW_MS, NOW_MS)
    assert not worker_on(run).is_idle(operation_only=False), "it is to be proven"
    run.ledger.record_verified([key])
    assert worker_on(run).is_idle(operation_only=False)
    run.ledger.reopen_outdated(a_model(run.ledger), "another", 9)
    assert not worker_on(run).is_idle(operation_only=True), "it had tags, and is to have others"
    run.close()


def test_the_counts_of_all_accounts_are_one() -> None:
    results = [{"read": 1, "findings": ["a"]}, {"read": 2, "findings": ["b"], "gone": 3}]
    assert together(results) == {"read": 3, "findings": ["a", "b"], "gone": 3}
