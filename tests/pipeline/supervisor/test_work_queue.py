"""What is fetched next: read ahead from a real ledger, without what is under way or has an identical twin."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from autotagger.ledger.rows import Work
from autotagger.ledger.writer import LedgerWriter
from autotagger.pipeline.ipc.slots import SlotTable
from autotagger.pipeline.supervisor import work_queue
from autotagger.pipeline.supervisor.in_flight import JobTable
from autotagger.pipeline.supervisor.work_queue import WorkList
from tests.pipeline.unit import SCORES, a_model, add_scored, an_origin, asset_id, listed, open_ledger


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[LedgerWriter]:
    with open_ledger(tmp_path) as ledger:
        yield ledger


class Queue:
    """A work list over a ledger: what it gives, and what it has copied."""

    def __init__(
        self, ledger: LedgerWriter, *, model: str | None = "m1", begun: bool = False, accounts: Any = (1,)
    ) -> None:
        self.jobs, self.copied, self.reads = JobTable(SlotTable(99)), list[str](), list[int]()
        self.list = WorkList(
            self.jobs, ledger, accounts=list(accounts), model=model, begun=begun, copy=self.copied.append
        )
        due = ledger.due

        def read(now_ms: int, limit: int, *rest: Any, **more: Any) -> list[Work]:
            self.reads.append(limit)
            return due(now_ms, limit, *rest, **more)

        ledger.due = read  # type: ignore[method-assign]

    def take(self, most: int = 99) -> list[int]:
        """The numbers of what starts now."""
        taken: list[int] = []
        while len(taken) < most and (work := self.list.next(lambda: False)):
            self.jobs.start(work, 0.0)
            taken.append(int(work.file_name.split(".")[0]))
        return taken

    def finish(self, *numbers: int) -> None:
        """The ledger has them: as the writer would, this test has recorded their scores."""
        ids = [asset_id(number) for number in numbers]
        self.list.recorded(ids, [work for work in map(self.jobs.finish, ids) if work])


def test_it_reads_ahead_once_and_never_what_is_under_way(
    ledger: LedgerWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work_queue, "WORK_AHEAD", 3)
    ledger.add_listed([listed(number) for number in range(8)])
    queue = Queue(ledger)
    assert queue.take(1) == [0]
    assert queue.take(2) == [1, 2]
    assert queue.reads == [3], "one question to the ledger for as many pictures as are read ahead"
    assert queue.take(3) == [3, 4, 5], "the 3 under way are asked for on top: they are still due in the ledger"
    assert queue.reads == [3, 6]
    assert queue.take() == [6, 7]
    assert queue.reads[:3] == [3, 6, 9]


def test_enough_is_enough(ledger: LedgerWriter) -> None:
    ledger.add_listed([listed(0), listed(1)])
    queue = Queue(ledger)
    assert queue.list.next(lambda: True) is None
    assert queue.take() == [0, 1]


def test_an_identical_picture_of_a_scored_one_gets_its_scores(ledger: LedgerWriter) -> None:
    add_scored(ledger, listed(0, checksum="same"))
    ledger.add_listed([listed(1, checksum="same"), listed(2, checksum="other")])
    queue = Queue(ledger)
    assert queue.take() == [2]
    assert queue.copied == [asset_id(1)]
    assert queue.list.copying == 1
    assert queue.take() == [], "it is being copied: not found again"
    assert queue.copied == [asset_id(1)]
    queue.finish(1)
    assert queue.list.copying == 0


def test_copies_that_are_still_due_do_not_take_the_place_of_what_is_read_ahead(
    ledger: LedgerWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work_queue, "WORK_AHEAD", 2)
    add_scored(ledger, listed(0, checksum="same"))
    ledger.add_listed([*(listed(number, checksum="same") for number in (1, 2)), listed(3), listed(4)])
    queue = Queue(ledger)
    assert queue.take() == [], "the first two are copied"
    assert queue.copied == [asset_id(1), asset_id(2)]
    assert queue.take() == [3, 4]
    assert queue.reads[:2] == [2, 4]


def test_without_a_model_or_its_scores_everything_is_fetched(ledger: LedgerWriter) -> None:
    add_scored(ledger, listed(0, checksum="same"))
    ledger.add_listed([listed(1, checksum="same")])
    assert Queue(ledger, model=None).take() == [1]
    assert Queue(ledger, model="another").take() == [1]


def test_what_is_identical_to_a_picture_under_way_waits_for_it(ledger: LedgerWriter) -> None:
    ledger.add_listed([listed(number, checksum="same") for number in range(3)])
    model = a_model(ledger)
    queue = Queue(ledger)
    assert queue.take() == [0]
    assert queue.take() == []
    ledger.record_scores(model, [(asset_id(0), SCORES)])
    queue.finish(0)
    assert queue.take() == []
    assert queue.copied == [asset_id(1), asset_id(2)]


def test_what_was_read_before_its_twin_finished_is_copied_too(ledger: LedgerWriter) -> None:
    ledger.add_listed([listed(0, checksum="same"), listed(1), listed(2, checksum="same"), listed(3)])
    queue = Queue(ledger)
    assert queue.take(2) == [0, 1]
    ledger.record_scores(a_model(ledger), [(asset_id(0), SCORES), (asset_id(1), SCORES)])
    queue.finish(0, 1)
    assert queue.take() == [3], "and without checksums nothing is anything's twin"
    assert queue.copied == [asset_id(2)]


def test_copies_of_a_writer_that_died_are_found_again(ledger: LedgerWriter) -> None:
    add_scored(ledger, listed(0, checksum="same"))
    ledger.add_listed([listed(1, checksum="same")])
    queue = Queue(ledger)
    assert queue.take() == []
    queue.list.forget_copies()
    assert queue.list.copying == 0
    assert queue.take() == []
    assert queue.copied == [asset_id(1), asset_id(1)]


def test_it_is_done_when_the_ledger_has_nothing_more(ledger: LedgerWriter) -> None:
    ledger.add_listed([listed(0), listed(1)])
    queue = Queue(ledger)
    assert not queue.list.is_done()
    assert queue.take(1) == [0]
    ledger.record_scores(a_model(ledger), [(asset_id(0), SCORES)])
    assert not queue.list.is_done()
    assert queue.take() == [1]
    assert not queue.list.is_done(), "it is not in the ledger yet"
    ledger.record_scores(a_model(ledger), [(asset_id(1), SCORES)])
    assert queue.list.is_done()


def test_an_account_that_is_left_gives_nothing_more(ledger: LedgerWriter) -> None:
    other = ledger.register_account("bob", "user-bob")
    ledger.of_account(other).add_listed([listed(5)])
    ledger.of_account(other + 1).add_listed([])
    mine = ledger.register_account("alice", "me")
    ledger.of_account(mine).add_listed([listed(6, library="mine"), listed(7, library="mine")])
    accounts = {work.file_name: work.account for work in ledger.due(2**60, 9)}
    queue = Queue(ledger, accounts=set(accounts.values()))
    first = queue.take(1)
    queue.list.leave_account(accounts["6.png"])
    left = [
        name for name, account in accounts.items() if account != accounts["6.png"] and name != f"{first[0]}.png"
    ]
    assert [f"{number}.png" for number in queue.take()] == left


def test_an_operation_fetches_only_what_had_its_tags_before(ledger: LedgerWriter) -> None:
    ledger.add_listed([listed(0), listed(1)])
    origin = an_origin(ledger)
    ledger._db.execute_sql("UPDATE asset SET origin = ? WHERE file_name = '1.png'", (origin,))
    queue = Queue(ledger, begun=True)
    assert queue.take() == [1]
