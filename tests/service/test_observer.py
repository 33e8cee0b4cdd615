"""When systemd is told what: at a clock that the test turns."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from loguru import logger

from autotagger.ledger.states import State
from autotagger.service.health import MIN_HEARTBEATS, SILENCE_S, STALL_S, examine, patience_s
from autotagger.service.notify import Notifier
from autotagger.service.observer import Observer
from autotagger.service.pace import WINDOW_S, Pace
from autotagger.service.words import duration, progress
from tests.service.support import NotifySocket, process, run_status, summary

WATCHDOG_S = 40.0


class Stage:
    """An observer with systemd at its side and the clock in the test's hand."""

    def __init__(self, systemd: NotifySocket) -> None:
        self.now_s = 1_000.0
        self.systemd = systemd
        self.observer = Observer(Notifier(systemd.address, WATCHDOG_S), 300.0, clock=lambda: self.now_s)
        self.observer.reachable = True


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with NotifySocket(tmp_path / "notify") as systemd:
        yield Stage(systemd)


def test_ready_is_told_once_when_all_have_started_and_immich_answers(stage: Stage) -> None:
    stage.observer.begin()
    stage.observer.reachable = False
    stage.observer.observe(run_status())
    assert stage.systemd.without_status() == []
    assert stage.systemd.read()[-1].startswith("STATUS=Immich does not answer; ")
    stage.observer.reachable = True
    stage.observer.observe(run_status(process("writer"), process("inferencer 1", ready=False)))
    assert stage.systemd.without_status() == []
    assert stage.systemd.read()[-1].startswith("STATUS=inferencer 1 is starting; ")
    stage.observer.observe(run_status())
    stage.observer.observe(run_status())
    assert stage.systemd.without_status() == ["READY=1", "WATCHDOG=1"]


def test_the_watchdog_is_fed_four_times_as_often_as_it_asks(stage: Stage) -> None:
    for _ in range(81):
        stage.observer.observe(run_status())
        stage.now_s += 0.5
    assert stage.systemd.without_status() == ["READY=1", *["WATCHDOG=1"] * 5]


def test_without_a_watchdog_set_it_is_fed_all_the_same(stage: Stage) -> None:
    notifier = Notifier(stage.systemd.address)
    observer = Observer(notifier, 300.0, clock=lambda: stage.now_s)
    observer.reachable = True
    for _ in range(21):
        observer.observe(run_status())
        stage.now_s += 1.0
    assert stage.systemd.without_status() == ["READY=1", *["WATCHDOG=1"] * 5]


@pytest.mark.parametrize("fault", [{"silent_s": WATCHDOG_S / 2 + 0.1}, {"stalled_s": STALL_S + 0.1}])
def test_a_process_that_hangs_starves_the_watchdog_until_it_goes_on(fault: dict[str, float], stage: Stage) -> None:
    stage.observer.observe(run_status())
    for _ in range(4):
        stage.now_s += 10.0
        stage.observer.observe(run_status(process("writer"), process("inferencer 1", **fault)))
    assert stage.systemd.without_status() == ["READY=1", "WATCHDOG=1"]
    assert "inferencer 1 (process 4000000)" in stage.systemd.read()[-1]
    stage.observer.observe(run_status())
    assert stage.systemd.without_status() == ["READY=1", "WATCHDOG=1", "WATCHDOG=1"]


def test_an_outage_of_immich_is_no_reason_to_be_killed(stage: Stage) -> None:
    stage.observer.observe(run_status())
    stage.observer.reachable = False
    stage.now_s += 10.0
    stage.observer.observe(run_status(paused=True))
    assert stage.systemd.without_status() == ["READY=1", "WATCHDOG=1", "WATCHDOG=1"]
    assert stage.observer.health.live
    assert not stage.observer.health.ready


def test_a_pause_is_told_and_counts_as_well(stage: Stage) -> None:
    stage.observer.observe(run_status(idle_reason="paused: nothing new is begun"))
    assert stage.observer.health.healthy
    assert "paused: nothing new is begun" in stage.systemd.read()[-1]


def test_stopping_is_told_once(stage: Stage) -> None:
    stage.observer.observe(run_status())
    stage.observer.observe(run_status(stopping=True))
    stage.observer.observe(run_status(stopping=True))
    assert stage.systemd.without_status() == ["READY=1", "WATCHDOG=1", "STOPPING=1"]


def test_the_run_is_summed_up_now_and_then_and_at_the_end(stage: Stage) -> None:
    lines: list[tuple[str, str, int]] = []
    logger.remove()
    logger.add(
        lambda m: lines.append(
            (m.record["extra"]["event"], m.record["message"], m.record["extra"]["figures"]["tagged"])
        )
    )
    states = {State.PENDING: 1_200, State.VERIFIED: 300, State.FAILED: 2}
    for tick in range(7):
        made = summary(states=states, inferred=100 * tick, tagged=90 * tick, tags=2_000 * tick, restarts=1)
        stage.observer.observe(run_status(summary=made))
        stage.now_s += 100.0
    stage.observer.end(made)
    logger.remove()
    assert [event for event, _, _ in lines] == ["summary", "summary", "ended"]
    assert [tagged for _, _, tagged in lines] == [270, 540, 540]
    assert lines[0][1] == (
        "302 of 1,502 assets done, 1.0/s, 20 min left; this run: 270 tagged with 6,000 tags, "
        "1 processes replaced in 100 s; none failed"
    )
    assert stage.systemd.read()[-1] == "STATUS=ended: 302 of 1,502 assets done, 1.0/s, 20 min left"


@pytest.mark.parametrize(
    ("states", "words"),
    [
        ({State.VERIFIED: 3, State.APPLIED: 2, State.SKIPPED: 1}, "6 of 6 assets done"),
        ({State.VERIFIED: 3, State.WAITING: 2}, "3 of 5 assets done, 2 waiting for Immich"),
        ({State.WAITING: 2, State.PENDING: 1}, "0 of 3 assets done, 2 waiting for Immich, 0.0/s"),
    ],
)
def test_what_waits_for_immich_is_not_done(states: dict[State, int], words: str) -> None:
    assert progress(summary(states=states), Pace()) == words


def test_before_the_first_view_a_run_lives_and_is_not_ready() -> None:
    found = examine(None, reachable=True, patience_s=SILENCE_S)
    assert (found.live, found.ready, found.healthy) == (True, False, False)


@pytest.mark.parametrize(
    ("watchdog_s", "patience"), [(None, SILENCE_S), (600.0, SILENCE_S), (40.0, 20.0), (1.0, 2.0 * MIN_HEARTBEATS)]
)
def test_patience_follows_the_watchdog_within_reason(watchdog_s: float | None, patience: float) -> None:
    assert patience_s(watchdog_s) == patience


def test_the_pace_is_that_of_the_last_two_minutes() -> None:
    pace = Pace()
    assert (pace.per_s, pace.seconds_for(10)) == (0.0, None)
    for second in range(0, 1_000, 2):
        pace.sample(float(second), 5 * second if second < 500 else 2_500 + 2 * (second - 500))
    assert pace.per_s == pytest.approx(2.0)
    assert pace.seconds_for(100) == pytest.approx(50.0)
    for second in range(1_000, 1_000 + int(WINDOW_S) + 2, 2):
        pace.sample(float(second), 3_498)
    assert (pace.per_s, pace.seconds_for(10)) == (0.0, None)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7_199, "120 min"), (9_000, "2.5 h"), (200_000, "2.3 days")],
)
def test_durations_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words
