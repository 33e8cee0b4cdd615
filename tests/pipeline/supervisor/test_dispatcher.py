"""The dispatcher: what starts, who gets it, and what becomes of it; on a real ledger and without a process."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from autotagger.ledger.writer import LedgerWriter
from autotagger.pipeline.child.spec import ChildSpec
from autotagger.pipeline.ipc import messages as m
from autotagger.pipeline.supervisor import dispatcher as dispatching
from autotagger.pipeline.supervisor.dispatcher import OUTAGE_PAUSE_S, Dispatcher
from autotagger.pipeline.supervisor.in_flight import Stage
from autotagger.pipeline.supervisor.status import process_statuses
from autotagger.pipeline.supervisor.work_queue import WorkList
from tests.pipeline.unit import (
    Clock,
    FakeChild,
    FakePool,
    a_model,
    add_scored,
    asset_id,
    listed,
    open_ledger,
    settings_of,
)

PATIENCE_S = 60.0


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[LedgerWriter]:
    with open_ledger(tmp_path) as ledger:
        yield ledger


class Dispatching:
    """A dispatcher between a ledger and a pool of fakes."""

    def __init__(
        self, ledger: LedgerWriter, folder: Path, *, workers: int = 2, slots: int = 8, limit: int | None = None
    ):
        self.pool, self.clock, self.outages = FakePool(workers), Clock(), list[str]()
        settings = settings_of(folder, pipeline={"slots": slots, "hang_timeout_s": PATIENCE_S})
        account: Any = type("Account", (), {"id": 1})
        pool: Any = self.pool
        self.it = Dispatcher(
            pool,
            ledger,
            ChildSpec(settings, (account,), None),
            limit=limit,
            outage=self.outages.append,
            clock=self.clock,
        )

    def begin(self) -> list[m.Fetch]:
        """Dispatch; what the fetcher was newly told to fetch."""
        before = len(self.pool.fetcher.sent)
        self.it.dispatch(begin=True)
        return self.pool.fetcher.sent[before:]

    def fetch(self, *jobs: int) -> None:
        for job in jobs:
            self.it.fetched(self.fetcher, m.Fetched(job, 9, spilled=False))

    @property
    def fetcher(self) -> Any:
        return self.pool.fetcher

    def given(self) -> list[list[int]]:
        """The jobs that each worker was told to infer, so far."""
        return [[order.job for order in worker.told(m.Infer)] for worker in self.pool.workers]


def cast(child: FakeChild) -> Any:
    return child


def test_it_fetches_what_is_due_in_order_as_far_as_there_are_slots(ledger: LedgerWriter, tmp_path: Path) -> None:
    ledger.add_listed([listed(number) for number in range(5)])
    run = Dispatching(ledger, tmp_path, slots=3)
    fetches = run.begin()
    assert [fetch.work.asset_id for fetch in fetches] == [asset_id(0), asset_id(1), asset_id(2)]
    assert len({fetch.slot for fetch in fetches}) == 3
    assert run.pool.fetcher.jobs == {fetch.job for fetch in fetches}
    assert run.begin() == []


def test_nothing_new_starts_when_told_not_to_but_what_is_fetched_goes_on(
    ledger: LedgerWriter, tmp_path: Path
) -> None:
    ledger.add_listed([listed(number) for number in range(3)])
    run = Dispatching(ledger, tmp_path, slots=2)
    first, second = (fetch.job for fetch in run.begin())
    run.fetch(first)
    run.it.scored(run.fetcher, m.Scored(second, b"x"))
    run.it.dispatch(begin=False)
    assert run.given() == [[first], []]
    assert len(run.pool.fetcher.sent) == 2


@pytest.mark.parametrize(
    "obstacle", ["no worker", "writer not ready", "fetcher not ready", "fetcher full", "outage"]
)
def test_nothing_starts_while(obstacle: str, ledger: LedgerWriter, tmp_path: Path) -> None:
    ledger.add_listed([listed(0)])
    run = Dispatching(ledger, tmp_path)
    workers = run.pool.workers
    match obstacle:
        case "no worker":
            run.pool.workers = []
        case "writer not ready":
            run.pool.writer.ready = False
        case "fetcher not ready":
            run.pool.fetcher.ready = False
        case "fetcher full":
            run.pool.fetcher.capacity = 0
        case "outage":
            run.it.pause()
    assert run.begin() == []
    run.pool.workers, run.pool.writer.ready, run.pool.fetcher.ready, run.pool.fetcher.capacity = (
        workers,
        True,
        True,
        4,
    )
    run.clock.now_s += OUTAGE_PAUSE_S
    assert len(run.begin()) == 1


def test_an_outage_lasts_its_whole_time(ledger: LedgerWriter, tmp_path: Path) -> None:
    run = Dispatching(ledger, tmp_path)
    run.it.pause()
    run.clock.now_s += OUTAGE_PAUSE_S - 0.1
    assert run.it.paused
    assert not run.it.is_finished()
    run.clock.now_s += 0.1
    assert not run.it.paused
    assert run.it.is_finished()


def test_nothing_new_starts_while_the_ledger_is_behind(
    ledger: LedgerWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatching, "MAX_RECORDING", 2)
    ledger.add_listed([listed(number) for number in range(4)])
    run = Dispatching(ledger, tmp_path, slots=2)
    jobs = [fetch.job for fetch in run.begin()]
    run.fetch(*jobs)
    run.it.dispatch(begin=False)
    for job in jobs:
        run.it.scored(cast(run.pool.workers[0]), m.Scored(job, b"x"))
    assert [record.asset_id for record in run.pool.writer.told(m.Record)] == [asset_id(0), asset_id(1)]
    assert run.it.slots.free == 2
    assert run.it.inferred == 2
    assert run.begin() == [], "two wait for the writer"
    run.it.recorded(cast(run.pool.writer), (asset_id(0),))
    assert len(run.begin()) == 2, "one place is free: what starts now is not yet recorded"


def test_each_picture_goes_to_the_worker_with_the_fewest(ledger: LedgerWriter, tmp_path: Path) -> None:
    ledger.add_listed([listed(number) for number in range(6)])
    run = Dispatching(ledger, tmp_path, workers=3)
    jobs = [fetch.job for fetch in run.begin()]
    run.pool.workers[0].jobs = {901, 902}
    run.pool.workers[1].jobs = {903}
    run.fetch(*jobs)
    run.it.dispatch(begin=False)
    assert [len(worker.jobs) for worker in run.pool.workers] == [3, 3, 3]
    assert run.given()[2][0] == jobs[0], "the first to the idle one"


def test_a_worker_that_is_full_or_not_ready_gets_nothing(ledger: LedgerWriter, tmp_path: Path) -> None:
    ledger.add_listed([listed(number) for number in range(4)])
    run = Dispatching(ledger, tmp_path)
    run.pool.workers[0].ready = False
    run.pool.workers[1].capacity = 2
    jobs = [fetch.job for fetch in run.begin()]
    run.fetch(*jobs)
    run.it.dispatch(begin=False)
    assert run.given() == [[], jobs[:2]]
    assert run.it.job_table.count(Stage.FETCHED) == 2


def test_what_a_worker_is_told_is_where_the_picture_lies(ledger: LedgerWriter, tmp_path: Path) -> None:
    ledger.add_listed([listed(0)])
    run = Dispatching(ledger, tmp_path, workers=1)
    (fetch,) = run.begin()
    run.it.fetched(run.fetcher, m.Fetched(fetch.job, 77, spilled=True))
    run.it.dispatch(begin=False)
    assert run.pool.workers[0].sent == [m.Infer(fetch.job, fetch.slot, 77, True)]
    assert run.pool.fetcher.jobs == set()
    assert run.pool.have_served == [run.pool.fetcher]


def test_scores_go_to_the_ledger_and_the_job_ends_when_they_are_there(
    ledger: LedgerWriter, tmp_path: Path
) -> None:
    ledger.add_listed([listed(0)])
    run = Dispatching(ledger, tmp_path, workers=1)
    (fetch,) = run.begin()
    run.fetch(fetch.job)
    run.it.dispatch(begin=False)
    worker = run.pool.workers[0]
    run.it.scored(cast(worker), m.Scored(fetch.job, b"packed"))
    assert run.pool.writer.sent == [m.Record(asset_id(0), b"packed")]
    assert worker.jobs == set()
    assert run.it.inferred == 1
    assert not run.it.idle
    run.it.recorded(cast(run.pool.writer), (asset_id(0),))
    assert run.it.idle
    run.it.scored(cast(worker), m.Scored(fetch.job, b"again"))
    assert run.it.inferred == 1, "a job that is no more changes nothing"
    assert run.pool.have_served == [run.pool.fetcher, worker, run.pool.writer, worker]


def test_trouble_is_recorded_unless_the_asset_has_no_part_in_it(ledger: LedgerWriter, tmp_path: Path) -> None:
    ledger.add_listed([listed(number) for number in range(3)])
    run = Dispatching(ledger, tmp_path, slots=3)
    jobs = [fetch.job for fetch in run.begin()]
    never = m.Trouble(m.Next.NEVER, "broken-picture", "cannot be read")
    run.it.failed(run.fetcher, m.Failed(jobs[0], never))
    run.it.failed(run.fetcher, m.Failed(jobs[1], m.Trouble(m.Next.UNBLAMED, "immich-unreachable", "no answer")))
    run.it.failed(run.fetcher, m.Failed(jobs[2], m.Trouble(m.Next.PAUSED, "key", "refused")))
    assert run.pool.writer.sent == [m.Record(asset_id(0), never)]
    assert run.outages == ["no answer"]
    assert run.it.slots.free == 3
    assert len(run.it.job_table) == 1
    run.it.failed(run.fetcher, m.Failed(jobs[1], never))
    assert len(run.pool.writer.sent) == 1, "it is in no job any more"


def test_what_a_dead_child_held_runs_again_alone_and_twice_dead_it_is_set_aside(
    ledger: LedgerWriter, tmp_path: Path
) -> None:
    ledger.add_listed([listed(number) for number in range(3)])
    run = Dispatching(ledger, tmp_path, slots=2)
    first, second = (fetch.job for fetch in run.begin())
    run.it.fetched(run.fetcher, m.Fetched(first, 9, spilled=False))
    run.it.lost(run.fetcher)
    assert asset_id(1) in {work.asset_id for work in run.it.job_table._suspects}, "the fetcher held the second"
    run.pool.fetcher.jobs.clear()
    assert run.begin() == [], "a suspect waits until nobody else is on the way"
    assert not run.it.is_finished()
    worker = run.pool.workers[0]
    run.it.scored(cast(worker), m.Scored(first, b"x"))
    run.it.recorded(cast(run.pool.writer), (asset_id(0),))
    for death in (1, 2):
        (alone,) = run.begin()
        assert alone.work.asset_id == asset_id(1)
        assert alone.job != second
        run.fetch(alone.job)
        assert run.begin() == [], "alone"
        worker.jobs = {alone.job}
        run.it.lost(cast(worker))
        worker.jobs = set()
        assert len(run.pool.writer.told(m.Record)) == death
    record = run.pool.writer.told(m.Record)[-1]
    assert record.asset_id == asset_id(1)
    assert (record.outcome.next, record.outcome.kind) == (m.Next.NEVER, "killed-worker")
    assert record.outcome.message == "1.png ended its inferencer twice (signal 9 (SIGKILL))"


def test_a_new_writer_hears_nothing_of_what_the_dead_one_had_not_recorded(
    ledger: LedgerWriter, tmp_path: Path
) -> None:
    ledger.add_listed([listed(0), listed(1)])
    run = Dispatching(ledger, tmp_path, slots=2)
    first, second = (fetch.job for fetch in run.begin())
    run.it.scored(cast(run.pool.workers[0]), m.Scored(first, b"x"))
    run.it.forget_unrecorded()
    assert [job.id for job in run.it.job_table] == [second]
    assert run.it.slots.free == 1


def test_a_limit_is_kept_and_ends_the_run(ledger: LedgerWriter, tmp_path: Path) -> None:
    ledger.add_listed([listed(number) for number in range(5)])
    run = Dispatching(ledger, tmp_path, limit=2)
    assert not run.it.is_finished()
    assert len(run.begin()) == 2
    assert run.it.is_finished()
    assert run.begin() == []


def test_a_twin_s_scores_are_copied_and_count_as_under_way(
    ledger: LedgerWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatching, "MAX_RECORDING", 1)
    a_model(ledger)
    add_scored(ledger, listed(0, checksum="same"))
    ledger.add_listed([listed(1, checksum="same"), listed(2, checksum="other"), listed(3, checksum="third")])
    run = Dispatching(ledger, tmp_path, limit=3)
    run.it._work = WorkList(
        run.it.job_table, ledger, accounts=[1], model="m1", begun=False, copy=run.it._have_copied
    )
    fetches = run.begin()
    assert run.pool.writer.sent == [m.Copy(asset_id(1))]
    assert [fetch.work.asset_id for fetch in fetches] == [asset_id(2)], "copies count among what is to be recorded"
    assert not run.it.idle
    run.it.job_table.drop(next(iter(run.it.job_table)))
    assert not run.it.idle, "a copy is under way"
    run.it.recorded(cast(run.pool.writer), (asset_id(1),))
    assert run.it.idle
    assert [fetch.work.asset_id for fetch in run.begin()] == [asset_id(3)]
    assert run.it.is_finished(), "copies count for the limit"


def test_a_copy_that_died_with_its_writer_is_asked_for_again(ledger: LedgerWriter, tmp_path: Path) -> None:
    a_model(ledger)
    add_scored(ledger, listed(0, checksum="same"))
    ledger.add_listed([listed(1, checksum="same")])
    run = Dispatching(ledger, tmp_path)
    run.it._work = WorkList(
        run.it.job_table, ledger, accounts=[1], model="m1", begun=False, copy=run.it._have_copied
    )
    assert run.begin() == []
    run.it.forget_unrecorded()
    assert run.it.idle
    assert run.begin() == []
    assert run.pool.writer.sent == [m.Copy(asset_id(1)), m.Copy(asset_id(1))]


def test_an_account_that_is_left_starts_nothing_more(ledger: LedgerWriter, tmp_path: Path) -> None:
    ledger.add_listed([listed(number) for number in range(3)])
    run = Dispatching(ledger, tmp_path, slots=2)
    assert len(run.begin()) == 2
    run.it.leave_account(1)
    for job in run.it.job_table:
        run.it.job_table.drop(job)
    assert run.begin() == []
    assert run.it.is_finished()


def test_a_picture_owed_counts_from_when_it_was_given_and_a_video_earns_the_patience_again(
    ledger: LedgerWriter, tmp_path: Path
) -> None:
    ledger.add_listed([listed(0), listed(1, kind="VIDEO"), listed(2, kind="ANIMATION")])
    run = Dispatching(ledger, tmp_path, workers=1)
    worker = run.pool.workers[0]
    jobs = [fetch.job for fetch in run.begin()]
    run.clock.now_s = 1_010.0
    run.fetch(jobs[0])
    run.it.dispatch(begin=False)
    worker.heard_s = 1_100.0
    assert run.it.silent_since(cast(worker)) == 1_010.0, "it speaks, and owes a picture"
    run.clock.now_s = 1_020.0
    run.fetch(jobs[1])
    run.it.dispatch(begin=False)
    assert run.it.silent_since(cast(worker)) == 1_010.0 + PATIENCE_S
    run.fetch(jobs[2])
    run.it.dispatch(begin=False)
    assert run.it.silent_since(cast(worker)) == 1_100.0, "2 videos: long after it spoke last"
    worker.heard_s = 2_000.0
    assert run.it.silent_since(cast(worker)) == 1_010.0 + 2 * PATIENCE_S
    assert run.it.silent_since(run.fetcher) == run.pool.fetcher.heard_s, "who owes nothing is judged by its voice"


def test_a_status_gives_a_video_its_time_too(ledger: LedgerWriter, tmp_path: Path) -> None:
    ledger.add_listed([listed(0), listed(1, kind="VIDEO")])
    run = Dispatching(ledger, tmp_path, workers=1, slots=2)
    pool: Any = run.pool

    def statuses(at_s: float) -> dict[str, tuple[float, float]]:
        found = process_statuses(pool, run.it.job_table, at_s, video_s=PATIENCE_S)
        return {each.name: (each.silent_s, each.stalled_s) for each in found}

    picture, video = (fetch.job for fetch in run.begin())
    assert statuses(1_005.0) == dict.fromkeys(("writer", "fetcher", "inferencer 1"), (5.0, 0.0))
    run.clock.now_s = 1_010.0
    run.fetch(picture)
    run.it.dispatch(begin=False)
    assert statuses(1_017.0)["inferencer 1"] == (17.0, 7.0)
    run.fetch(video)
    run.it.dispatch(begin=False)
    assert statuses(1_017.0)["inferencer 1"] == (17.0, 0.0)
    assert statuses(1_013.0 + PATIENCE_S)["inferencer 1"] == (13.0 + PATIENCE_S, 3.0)
    run.pool.workers[0].served_s = 1_012.0
    assert statuses(1_013.0 + PATIENCE_S)["inferencer 1"][1] == 1.0, "since it last ended one"


def test_every_copy_counts_for_the_limit(ledger: LedgerWriter, tmp_path: Path) -> None:
    add_scored(ledger, listed(0, checksum="same"))
    ledger.add_listed([listed(number, checksum="same") for number in range(1, 5)])
    run = Dispatching(ledger, tmp_path, limit=3)
    run.it._work = WorkList(
        run.it.job_table, ledger, accounts=[1], model="m1", begun=False, copy=run.it._have_copied
    )
    assert run.begin() == []
    assert run.pool.writer.sent == [m.Copy(asset_id(number)) for number in (1, 2, 3)]
    assert run.it.is_finished()
