"""When the library is listed, polled, or left alone: by clocks that the test moves."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from autotagger.config import load_settings
from autotagger.errors import StartupFailed
from autotagger.pipeline.control import pause as pausing
from autotagger.pipeline.ipc.messages import Hold, Poll, Polled, Sweep, Swept
from autotagger.pipeline.supervisor.schedule import Listing, Schedule
from tests.pipeline.unit import FakePool, open_ledger


class Time:
    """A schedule and the hands of its clocks."""

    def __init__(self, state_dir: Path, *, once: bool = False, hours: str = "", **options: bool) -> None:
        flags = {"state_dir": state_dir, "watch": {"hours": hours}}
        settings = load_settings(flags=flags, environ={"AUTOTAGGER_CONFIG": "/dev/null"})
        self.passed_s = 0.0
        self.work = Schedule(settings, once=once, clock=lambda: self.passed_s, now=self._now, **options)
        self.work.tick()

    def _now(self) -> datetime:
        return datetime.fromisoformat("2026-11-25T12:00") + timedelta(seconds=self.passed_s)

    def order(self, after_s: float = 0.0) -> Sweep | Poll | None:
        self.passed_s += after_s
        self.work.tick()
        return self.work.next_order(lambda: 7)


def test_first_a_sweep_then_polls_then_the_next_sweep(tmp_path: Path) -> None:
    time = Time(tmp_path)
    assert time.order() == Sweep(7)
    assert time.work.holds, "no tag calls while it lists"
    assert time.order(1000) is None
    time.work.done(Swept(3, 7, poll_from_ms=50))
    assert not time.work.holds
    assert time.order(29) is None
    assert time.order(1) == Poll(50)
    assert not time.work.holds, "a poll's set does not shrink by our work"
    time.work.done(Polled(60))
    assert time.order(30) == Poll(60)
    time.work.done(Polled(60))
    assert time.order(3540) == Sweep(7)


def test_a_poll_that_takes_long_is_followed_by_a_longer_rest(tmp_path: Path) -> None:
    time = Time(tmp_path)
    time.order()
    time.work.done(Swept(3, 7, poll_from_ms=50))
    time.order(30)
    time.passed_s += 20
    time.work.done(Polled(50))
    assert time.order(199) is None
    assert time.order(1) == Poll(50)


def test_who_is_replaced_begins_again_at_once_and_an_outage_is_waited_out(tmp_path: Path) -> None:
    time = Time(tmp_path)
    assert time.order() == Sweep(7)
    time.work.interrupted()
    assert time.order() == Sweep(7)
    time.work.failed()
    assert not time.work.holds
    assert time.order(29) is None
    assert time.order(1) == Sweep(7)
    time.work.done(Swept(3, 7, poll_from_ms=50))
    assert time.order(30) == Poll(50)
    time.work.failed()
    assert time.order(29) is None
    assert time.order(1) == Poll(50)


def test_once_is_one_sweep_at_any_hour(tmp_path: Path) -> None:
    time = Time(tmp_path, once=True, hours="22:00-07:00")
    assert not time.work.idle
    assert not time.work.listed, "nothing has been listed yet"
    assert time.order() == Sweep(7)
    assert not time.work.listed
    time.work.done(Swept(3, 7, poll_from_ms=50))
    assert time.work.listed
    assert time.order(100_000) is None


def test_an_operation_lists_nothing_and_is_not_kept_by_a_pause(tmp_path: Path) -> None:
    pausing.pause(tmp_path)
    time = Time(tmp_path, once=True, sweeps=False, heeds_pause=False)
    assert time.work.listed
    assert time.order() is None
    assert not time.work.holds


def test_outside_its_hours_it_looks_what_is_there_and_then_only_polls(tmp_path: Path) -> None:
    time = Time(tmp_path, hours="22:00-07:00, 12:30-13:00")
    assert time.order() == Sweep(7)
    assert time.work.idle
    assert time.work.holds
    time.work.done(Swept(3, 7, poll_from_ms=50))
    assert time.work.holds
    assert time.order(1800) == Poll(50)
    assert not time.work.idle
    assert not time.work.holds
    time.work.done(Polled(50))
    assert time.order(1800) == Poll(50)
    assert time.work.holds
    time.work.done(Polled(60))
    assert time.order(3600) == Poll(60), "the sweep that is due waits for the evening"
    time.work.done(Polled(60))
    time.passed_s = 10 * 3600.0
    assert time.order() == Sweep(7)


def test_a_pause_lasts_until_it_is_taken_back(tmp_path: Path) -> None:
    assert pausing.pause(tmp_path)
    assert not pausing.pause(tmp_path)
    time = Time(tmp_path, once=True)
    assert time.order() is None
    assert time.work.idle
    assert pausing.resume(tmp_path)
    assert not pausing.resume(tmp_path)
    assert time.order() == Sweep(7)
    assert not time.work.idle


def test_a_service_that_starts_paused_notes_what_is_there(tmp_path: Path) -> None:
    pausing.pause(tmp_path)
    time = Time(tmp_path)
    assert time.order() == Sweep(7)
    time.work.done(Swept(3, 7, poll_from_ms=50))
    assert time.work.idle
    assert time.order(3600) == Poll(50)
    time.work.done(Polled(60))
    pausing.resume(tmp_path)
    assert time.order() == Sweep(7)


def test_a_pause_that_cannot_be_written_down_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StartupFailed, match=r"cannot pause: File exists \(.*file\)"):
        pausing.pause(tmp_path / "file")
    (tmp_path / "paused").mkdir()
    with pytest.raises(StartupFailed, match=r"cannot resume: Is a directory \(.*paused\)"):
        pausing.resume(tmp_path)


# -- what fetcher and writer are told of it --------------------------------------------------------------------


class Told:
    """A listing between a schedule and two processes; `news`: what was told since the last look."""

    def __init__(self, folder: Path) -> None:
        self.time, self.pool = Time(folder), FakePool(0)
        pool: Any = self.pool
        self.ledger = open_ledger(folder)
        self.listing = Listing(pool, self.time.work, self.ledger)

    def news(self) -> tuple[list[Any], list[Any]]:
        fetcher, writer = list(self.pool.fetcher.sent), list(self.pool.writer.sent)
        self.pool.fetcher.sent.clear()
        self.pool.writer.sent.clear()
        return fetcher, writer


def test_the_writer_holds_while_the_library_is_listed_and_nobody_is_told_twice(tmp_path: Path) -> None:
    told = Told(tmp_path)
    told.pool.writer.ready = False
    told.listing.go_on()
    told.pool.writer.ready, told.pool.fetcher.ready = True, False
    told.listing.go_on()
    assert told.news() == ([], []), "not before both are ready"
    told.pool.fetcher.ready = True
    told.listing.go_on()
    assert told.news() == ([Sweep(1)], [Hold(on=True)])
    told.listing.go_on()
    assert told.news() == ([], [])
    told.listing.done(Swept(3, 1, poll_from_ms=50))
    assert told.news() == ([], [Hold(on=False)])
    told.time.passed_s += 30
    told.listing.go_on()
    assert told.news() == ([Poll(50)], []), "a poll holds nobody"
    told.ledger.close()


def test_who_is_new_is_told_again(tmp_path: Path) -> None:
    told = Told(tmp_path)
    told.listing.go_on()
    told.news()
    told.listing.fetcher_is_new()
    fetcher, writer = told.news()
    assert (len(fetcher), writer) == (1, [])
    told.listing.writer_is_new()
    fetcher, writer = told.news()
    assert (len(fetcher), writer) == (1, [Hold(on=True)])
    told.listing.failed()
    assert told.news() == ([], [Hold(on=False)])
    told.time.passed_s += 30
    told.listing.go_on()
    assert len(told.news()[0]) == 1
    told.ledger.close()
