"""The end of a run, by a clock that the test moves."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from autotagger.pipeline.control.pause import is_paused
from autotagger.pipeline.ipc.messages import Drain
from autotagger.pipeline.supervisor.shutdown import LAST_BATCH_S, Shutdown, heeding_faults, heeding_signals
from tests.pipeline.unit import Clock, settings_of

HASTY = Drain(complete=False, settle_s=0.0)


class Ending:
    def __init__(self, folder: Path) -> None:
        self.clock, self.told = Clock(), list[Drain]()
        settings = settings_of(folder, pipeline={"drain_timeout_s": 20.0}, verify={"settle_timeout_s": 33.0})
        self.it = Shutdown(settings, tell=self.told.append, clock=self.clock)

    def tick(self, after_s: float = 0.0) -> None:
        self.clock.now_s += after_s
        self.it.tick()


@pytest.fixture
def ending(tmp_path: Path) -> Ending:
    return Ending(tmp_path)


def test_when_all_is_done_everything_is_applied_and_proven(ending: Ending) -> None:
    ending.it.drain()
    assert ending.told == [Drain(complete=True, settle_s=33.0)]
    assert ending.it.draining == ending.told[0]
    ending.tick(10_000)
    assert not ending.it.over, "nobody asked it to stop: Immich has its time"


def test_who_is_asked_to_stop_finishes_what_is_under_way_and_then_only_its_batch(ending: Ending) -> None:
    ending.it.ask(under_way=3)
    assert ending.it.stopping
    assert (ending.it.over, ending.told) == (False, [])
    ending.it.drain()
    assert ending.told == [HASTY]


def test_the_time_to_finish_has_an_end_and_so_has_the_writer_s_last_batch(ending: Ending) -> None:
    ending.it.ask(under_way=3)
    ending.tick(19.9)
    assert ending.told == []
    ending.tick(0.1)
    assert ending.told == [HASTY]
    ending.tick(LAST_BATCH_S - 0.1)
    assert not ending.it.over
    ending.tick(0.1)
    assert ending.it.over
    assert ending.told == [HASTY], "told once"


def test_a_run_that_only_waits_for_immich_to_settle_stops_at_once(ending: Ending) -> None:
    ending.it.drain()
    ending.it.ask(under_way=0)
    assert ending.told[1:] == [HASTY]
    assert ending.it.draining == HASTY


def test_asked_twice_is_now(ending: Ending) -> None:
    ending.it.ask(under_way=3)
    ending.it.ask(under_way=3)
    assert ending.it.over
    assert ending.told == []


def test_the_first_error_counts(ending: Ending) -> None:
    first = ValueError("first")
    ending.it.fail(first)
    ending.it.fail(ValueError("second"))
    assert ending.it.error is first
    assert ending.it.over


async def test_waiting_ends_with_the_time_or_with_the_run(ending: Ending) -> None:
    await ending.it.wait(0.0)
    assert not ending.it.over
    waiting = asyncio.ensure_future(ending.it.wait(3_600))
    await asyncio.sleep(0)
    assert not waiting.done()
    ending.it.end()
    await asyncio.wait_for(waiting, 30)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_signals_stop_pause_and_resume_and_are_given_back(number: signal.Signals, tmp_path: Path) -> None:
    stopped = asyncio.Event()
    before = signal.getsignal(number)
    with heeding_signals(stopped.set, tmp_path):
        os.kill(os.getpid(), number)
        await asyncio.wait_for(stopped.wait(), 30)
        for told, paused in ((signal.SIGUSR1, True), (signal.SIGUSR2, False)):
            os.kill(os.getpid(), told)
            for _ in range(1_000):
                await asyncio.sleep(0)
                if is_paused(tmp_path) is paused:
                    break
            assert is_paused(tmp_path) is paused
    assert signal.getsignal(number) == before or signal.getsignal(number) is signal.default_int_handler


async def test_a_pause_that_cannot_be_written_down_does_not_end_the_run(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    seen = asyncio.Event()
    with heeding_signals(seen.set, tmp_path / "file"):
        os.kill(os.getpid(), signal.SIGUSR1)
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(seen.wait(), 30)


async def test_an_error_in_a_callback_is_given_on() -> None:
    failed: list[Exception] = []
    error = ValueError("the job table is wrong")

    def broken() -> None:
        raise error

    with heeding_faults(failed.append):
        asyncio.get_running_loop().call_soon(broken)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert failed == [error]
    assert asyncio.get_running_loop().get_exception_handler() is None, "after the run the loop has its own again"
