"""When the library is listed, polled, or left alone: by clocks that the test moves."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from autotagger.config import load_settings
from autotagger.errors import StartupFailed
from autotagger.pipeline.control import pause as pausing
from autotagger.pipeline.ipc.messages import Poll, Polled, Sweep, Swept
from autotagger.pipeline.supervisor.schedule import Schedule


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
