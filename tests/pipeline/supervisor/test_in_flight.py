"""The table of jobs under any order of events: no slot is lost, no asset runs twice, none is convicted wrongly."""

import tempfile
import uuid
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from autotagger.ledger.rows import Work
from autotagger.pipeline.ipc.slots import SlotMemory, SlotTable
from autotagger.pipeline.supervisor.in_flight import Job, JobTable, Stage

SLOTS, SLOT_BYTES = 3, 64
#: Under way of so many assets; the same one comes again and again, as it does after a crash.
ASSETS = [str(uuid.UUID(int=number)) for number in range(5)]
HOLDING = (Stage.FETCHING, Stage.FETCHED, Stage.INFERRING)


def work(number: int) -> Work:
    return Work(asset_id=ASSETS[number], kind="IMAGE", mime="image/jpeg", file_name=f"{number}.jpg")


class AnyOrder(RuleBasedStateMachine):
    """What the dispatcher does to its job table, in an order that nobody would think of."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.slots = SlotTable(SLOTS)
        self.job_table = JobTable(self.slots)
        self.memory = SlotMemory.create(SLOTS, SLOT_BYTES, Path(self.folder.name))
        self.bodies: dict[int, bytes] = {}
        self.deaths_alone: dict[str, int] = {}

    def teardown(self) -> None:
        self.memory.close()
        assert list(Path(self.folder.name).iterdir()) == [], "what nobody read is gone with the run"
        self.folder.cleanup()

    def pick(self, data: st.DataObject, *stages: Stage) -> Job | None:
        jobs = [job for job in self.job_table if job.stage in stages]
        return data.draw(st.sampled_from(jobs)) if jobs else None

    @precondition(
        lambda self: self.slots.free and not self.job_table.suspects and not self.job_table.running_alone
    )
    @rule(number=st.sampled_from(range(len(ASSETS))))
    def start(self, number: int) -> None:
        if ASSETS[number] in self.job_table:
            return
        job = self.job_table.start(work(number), 0.0)
        assert not job.alone

    @precondition(lambda self: self.job_table.suspects and not len(self.job_table))
    @rule()
    def take_off_alone(self) -> None:
        job = self.job_table.start(None, 0.0)
        assert job.alone
        assert self.job_table.running_alone

    @rule(data=st.data(), body=st.binary(min_size=1, max_size=2 * SLOT_BYTES))
    def fetched(self, data: st.DataObject, body: bytes) -> None:
        if (job := self.pick(data, Stage.FETCHING)) is None:
            return
        assert job.slot is not None
        spilled = self.memory.write(job.slot, body)
        self.job_table.fetched(job, len(body), spilled=spilled, now_s=0.0)
        self.bodies[job.id] = body

    @rule(data=st.data())
    def inferred(self, data: st.DataObject) -> None:
        if (job := self.pick(data, Stage.FETCHED)) is None:
            return
        assert job.slot is not None
        with self.memory.read(job.slot, job.length, spilled=job.spilled) as body:
            assert bytes(body) == self.bodies[job.id], "nobody wrote over it"
        self.job_table.given_to_worker(job, 0.0)

    @rule(data=st.data())
    def scored_or_failed(self, data: st.DataObject) -> None:
        if job := self.pick(data, *HOLDING):
            self.job_table.scored(job, 0.0)
            assert job.slot is None

    @rule(data=st.data())
    def finished(self, data: st.DataObject) -> None:
        if job := self.pick(data, Stage.RECORDING):
            self.job_table.finish(job.work.asset_id)
            assert self.job_table.get(job.id) is None
            self.deaths_alone.pop(job.work.asset_id, None)

    @rule(data=st.data())
    def its_process_died(self, data: st.DataObject) -> None:
        if (job := self.pick(data, *HOLDING)) is None:
            return
        asset_id, alone = job.work.asset_id, job.alone
        self.deaths_alone[asset_id] = self.deaths_alone.get(asset_id, 0) + alone
        guilty = self.job_table.crash(job)
        assert guilty == (alone and self.deaths_alone[asset_id] >= 2), (
            "convicted after two deaths alone, never before"
        )
        if guilty:
            self.job_table.scored(job, 0.0)
        else:
            assert asset_id in {work.asset_id for work in self.job_table._suspects}

    @rule()
    def the_writer_died(self) -> None:
        for job in self.job_table:
            if job.stage is Stage.RECORDING:
                self.job_table.drop(job)

    @rule(number=st.integers(-1, 1 << 40), asset=st.sampled_from([*ASSETS, "never heard of"]))
    def news_of_a_job_that_is_no_more(self, number: int, asset: str) -> None:
        if asset not in self.job_table:
            self.job_table.finish(asset)
        if number not in {job.id for job in self.job_table}:
            assert self.job_table.get(number) is None

    @invariant()
    def every_slot_is_free_or_held_by_one(self) -> None:
        held = [job.slot for job in self.job_table if job.slot is not None]
        assert len(held) == len(set(held)), "two jobs never share a slot"
        assert self.slots.free + len(held) == SLOTS, "no slot is lost"
        assert all((job.slot is not None) == (job.stage in HOLDING) for job in self.job_table)

    @invariant()
    def every_job_is_in_its_stage(self) -> None:
        for stage in Stage:
            there = [job for job in self.job_table if job.stage is stage]
            assert self.job_table.count(stage) == len(there)
            assert (self.job_table.first(stage) in there) if there else (self.job_table.first(stage) is None)

    @invariant()
    def an_asset_flies_once(self) -> None:
        running = [job.work.asset_id for job in self.job_table]
        assert len(running) == len(set(running))
        assert all(asset_id in self.job_table for asset_id in running)

    @invariant()
    def a_suspect_has_the_sky_to_itself(self) -> None:
        assert not self.job_table.running_alone or len(self.job_table) == 1


AnyOrder.TestCase.settings = settings(max_examples=60, stateful_step_count=40)
TestAnyOrder = AnyOrder.TestCase


# -- by example ------------------------------------------------------------------------------------------------


def test_a_suspect_runs_alone_and_is_convicted_only_of_deaths_alone() -> None:
    slots = SlotTable(4)
    table = JobTable(slots)
    guilty, innocent = work(0), work(1)
    started = [table.start(asset, 0.0) for asset in (guilty, innocent)]
    assert [table.crash(job) for job in started] == [False, False]
    assert (len(table), slots.free, table.suspects) == (0, 4, True)

    alone = table.start(None, 0.0)
    assert (alone.work, alone.alone) == (guilty, True)
    assert table.crash(alone) is False
    cleared = table.start(None, 0.0)
    assert cleared.work == innocent
    table.scored(cleared, 0.0)
    table.finish(innocent.asset_id)

    again = table.start(None, 0.0)
    assert again.work == guilty
    assert table.crash(again) is True, "twice alone is proof"
    assert guilty.asset_id in table, "its failure has still to be recorded"
    table.scored(again, 0.0)
    table.finish(guilty.asset_id)
    assert (len(table), slots.free, table.suspects) == (0, 4, False)


def test_an_asset_that_finished_starts_with_a_clean_record() -> None:
    table = JobTable(SlotTable(2))
    asset = work(0)
    table.crash(table.start(asset, 0.0))
    table.crash(table.start(None, 0.0))
    table.start(None, 0.0)
    table.finish(asset.asset_id)
    table.crash(table.start(asset, 0.0))
    assert table.crash(table.start(None, 0.0)) is False


def test_a_video_is_no_picture_and_what_was_given_to_a_worker_has_its_time() -> None:
    table = JobTable(SlotTable(3))
    picture, video = (
        table.start(Work(ASSETS[number], kind, None, "x"), 5.0) for number, kind in enumerate(("IMAGE", "VIDEO"))
    )
    table.given_to_worker(picture, 7.0)
    assert table.inferring_since({picture.id, video.id, 99}) == [7.0]
    assert table.videos({picture.id, video.id, 99}) == 1
    assert (picture.since_s, video.since_s) == (7.0, 5.0)


def test_a_twin_is_under_way_until_its_job_ends() -> None:
    table = JobTable(SlotTable(3))
    first, twin = (Work(ASSETS[number], "IMAGE", None, "x", checksum="same") for number in range(2))
    assert not table.holds_twin_of(twin)
    table.start(first, 0.0)
    assert table.holds_twin_of(twin)
    table.start(work(2), 0.0)
    assert not table.holds_twin_of(work(3)), "no checksum is nobody's twin"
    table.finish(first.asset_id)
    assert not table.holds_twin_of(twin)


def test_an_asset_that_finished_or_was_dropped_is_in_no_job_and_neither_is_its_twin() -> None:
    table = JobTable(SlotTable(SLOTS))
    first = Work(asset_id=ASSETS[0], kind="IMAGE", mime=None, file_name="0.jpg", checksum="same")
    twin = Work(asset_id=ASSETS[1], kind="IMAGE", mime=None, file_name="1.jpg", checksum="same")
    for end in (lambda job: table.finish(job.work.asset_id), table.drop, table.drop):
        job = table.start(first, 0.0)
        assert first.asset_id in table
        assert table.holds_twin_of(twin)
        end(job)
        assert first.asset_id not in table
        assert not table.holds_twin_of(twin)
        assert table.finish(first.asset_id) is None
    table.drop(job)
    table.start(first, 0.0)
    assert table.holds_twin_of(twin), "dropped twice, it counts as once"


def test_a_slot_is_given_back_once() -> None:
    slots = SlotTable(SLOTS)
    table = JobTable(slots)
    job = table.start(work(0), 0.0)
    table.scored(job, 1.0)
    other = table.start(work(1), 2.0)
    table.drop(job)
    assert slots.free == SLOTS - 1, "it may be another's by now"
    assert (job.slot, other.slot is not None) == (None, True)


def test_a_new_job_is_new_from_now_on() -> None:
    table = JobTable(SlotTable(SLOTS))
    first, second = table.start(work(0), 5.0), table.start(work(1), 6.0)
    assert (first.length, first.spilled, first.since_s) == (0, False, 5.0)
    assert first.id < second.id, "the order in which they began"
