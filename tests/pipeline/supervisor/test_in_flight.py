"""The books: no slot is ever lost, no asset runs twice at once, and only the guilty are convicted."""

import uuid

from hypothesis import given
from hypothesis import strategies as st

from autotagger.ledger.rows import Work
from autotagger.pipeline.ipc.slots import SlotTable
from autotagger.pipeline.supervisor.in_flight import Job, JobTable, Stage


def work() -> Work:
    return Work(str(uuid.uuid4()), "IMAGE", "image/png", "picture.png")


def test_a_suspect_runs_alone_and_is_convicted_only_of_deaths_alone() -> None:
    slots = SlotTable(4)
    table = JobTable(slots)
    guilty, innocent = work(), work()
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
    asset = work()
    table.crash(table.start(asset, 0.0))
    table.crash(table.start(None, 0.0))
    table.start(None, 0.0)
    table.finish(asset.asset_id)
    table.crash(table.start(asset, 0.0))
    assert table.crash(table.start(None, 0.0)) is False


@given(st.lists(st.sampled_from(["take", "fetch", "score", "finish", "drop", "crash"]), max_size=80), st.randoms())
def test_slots_and_jobs_always_add_up(steps: list[str], random: object) -> None:
    slots = SlotTable(5)
    table = JobTable(slots)
    for step in steps:
        _step(table, slots, step)
        holding = [job for job in table if job.slot is not None]
        assert len(holding) + slots.free == slots.count
        assert len({job.slot for job in holding}) == len(holding)
        assert all(job.work.asset_id in table for job in table)


def _step(table: JobTable, slots: SlotTable, step: str) -> None:
    jobs = list(table)
    if step == "take":
        if slots.free:
            table.start(None if table.suspects else work(), 0.0)
        return
    job = _first(jobs, step)
    if job is None:
        return
    if step == "fetch":
        table.fetched(job, 1, spilled=False, now_s=0.0)
    elif step == "score":
        table.scored(job, 0.0)
    elif step == "finish":
        table.finish(job.work.asset_id)
    elif step == "drop":
        table.drop(job)
    elif table.crash(job):
        table.scored(job, 0.0)


def _first(jobs: list[Job], step: str) -> Job | None:
    wanted = {"finish": Stage.RECORDING, "fetch": Stage.FETCHING}.get(step)
    return next((f for f in jobs if wanted is None or f.stage is wanted), None)
