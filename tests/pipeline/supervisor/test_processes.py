"""Child processes as the supervisor sees them: real sockets and pipes, processes that the test plays itself."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autotagger.pipeline.ipc.channel import Channel, ChannelClosed
from autotagger.pipeline.ipc.messages import Ended, Heartbeat, Log
from autotagger.pipeline.supervisor import processes
from autotagger.pipeline.supervisor.processes import MAX_DEATHS_IN_A_ROW, ChildProcess, ProcessPool
from tests.pipeline.unit import Clock


class FakeProcess:
    """A process: its sentinel is a pipe's end that becomes readable when the test says that it has ended."""

    def __init__(self, args: tuple[Any, ...], name: str) -> None:
        # As a started process has it: another descriptor of the same socket.
        self.channel: Channel = args[0]
        self.arguments, self.name, self.pid = args[1:], name, 4_711
        self.exitcode: int | None = None
        self.target: Any = None
        self.killed = False
        self.closed = False
        self.sentinel, self._end = os.pipe()

    def start(self) -> None:
        theirs = Channel.__new__(Channel)
        theirs.__setstate__(_Handed(os.dup(self.channel.fileno())))
        self.channel = theirs

    def dies(self, code: int) -> None:
        """The process ends; what it has sent stays in the channel."""
        self.exitcode = code
        self.channel.close()
        if self._end >= 0:
            os.close(self._end)
            self._end = -1

    def kill(self) -> None:
        self.killed = True
        self.dies(-9)

    def join(self) -> None:
        assert self.exitcode is not None, "the supervisor must not wait for a process that goes on"

    def close(self) -> None:
        os.close(self.sentinel)
        self.closed = True


class _Handed:
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def detach(self) -> int:
        return self._descriptor


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


class Factory:
    """Stands in for multiprocessing's context."""

    def __init__(self) -> None:
        self.made: list[FakeProcess] = []
        self.refuse: list[Exception] = []

    def Process(self, *, target: Any, args: tuple[Any, ...], name: str) -> FakeProcess:  # noqa: N802
        process = FakeProcess(args, name)
        process.target = target
        if self.refuse:
            error = self.refuse.pop(0)
            os.close(process.sentinel)
            os.close(process._end)

            def start() -> None:
                raise error

            process.start = start  # type: ignore[method-assign]
            return process
        self.made.append(process)
        return process


class Later:
    """What was to be called later, for tests that move the time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.waiting: list[tuple[float, Callable[..., None], tuple[Any, ...]]] = []
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(loop, "call_later", self._later)

    def _later(self, delay_s: float, call: Callable[..., None], *arguments: Any) -> None:
        self.waiting.append((delay_s, call, arguments))

    def pass_by(self) -> list[float]:
        """Call all that waits; how long each was to wait."""
        waiting, self.waiting = self.waiting, []
        for _, call, arguments in waiting:
            call(*arguments)
        return [delay_s for delay_s, _, _ in waiting]


async def turn() -> None:
    """Let the loop see what its descriptors have."""
    for _ in range(4):
        await asyncio.sleep(0)


@pytest.fixture
def factory(monkeypatch: pytest.MonkeyPatch) -> Factory:
    factory = Factory()
    monkeypatch.setattr(processes, "_SPAWN", factory)
    return factory


class Child:
    """A child process of the supervisor, and all that was heard of it, in order."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.clock = Clock()
        self.it = ChildProcess("fetcher", print, ("spec",), handle=self._hear, died=self._died, clock=self.clock)

    def _hear(self, child: ChildProcess, message: Any) -> None:
        assert child is self.it
        self.heard.append(message)

    def _died(self, child: ChildProcess) -> None:
        self.heard.append(f"died of {child.exit_description}")


async def test_a_child_s_last_words_are_heard_before_its_death(factory: Factory) -> None:
    child = Child()
    words = [Log("INFO", str(number)) for number in range(200)]
    for word in words:
        factory.made[0].channel.send(word)
    factory.made[0].channel.send(ended := Ended("no more", "system", 3))
    factory.made[0].dies(70)
    # Only the end of the process is seen now: what it said is still in the channel.
    child.it._ended()
    assert child.heard == [*words, ended, "died of exit code 70"]
    assert factory.made[0].closed


async def test_its_end_is_told_once_whatever_was_seen_first(factory: Factory) -> None:
    child = Child()
    assert child.it.exit_description == "still running"
    factory.made[0].channel.send(Heartbeat())
    factory.made[0].dies(-9)
    await turn()
    assert child.heard == [Heartbeat(), "died of signal 9 (SIGKILL)"]
    child.it.send(Heartbeat())
    child.it.kill()
    child.it.forget()
    assert not factory.made[0].killed, "what has ended is not killed"


async def test_every_word_counts_as_a_sign_of_life(factory: Factory) -> None:
    child = Child()
    assert (child.it.heard_s, child.it.served_s) == (1_000.0, 1_000.0)
    child.clock.now_s = 1_007.0
    factory.made[0].channel.send(Heartbeat())
    await turn()
    assert (child.it.heard_s, child.it.served_s) == (1_007.0, 1_000.0)
    child.it.forget()


async def test_it_talks_to_the_process_that_was_made_for_it(factory: Factory) -> None:
    child = Child()
    process = factory.made[0]
    assert (process.name, process.arguments, child.it.pid) == ("autotagger fetcher", ("spec",), 4_711)
    child.it.send(Log("INFO", "hello"))
    assert process.channel.receive() == Log("INFO", "hello")
    child.it.close()
    with pytest.raises(ChannelClosed):
        process.channel.receive()
    child.it.forget()


async def test_a_child_that_talks_nonsense_is_killed_and_one_that_only_closes_is_waited_for(
    factory: Factory,
) -> None:
    nonsense, silent = Child(), Child()
    factory.made[0].channel._socket.send(b"\x80nonsense")
    factory.made[1].channel.close()
    await turn()
    assert factory.made[0].killed
    assert nonsense.heard == ["died of signal 9 (SIGKILL)"]
    assert not factory.made[1].killed
    assert silent.heard == []
    silent.it.forget()
    assert factory.made[1].killed
    assert silent.heard == [], "who is forgotten is not told of"


def test_room(factory: Factory) -> None:
    async def look() -> None:
        child = Child().it
        child.capacity = 2
        assert not child.has_room, "it has not started"
        child.ready = True
        child.jobs = {1}
        assert child.has_room
        child.jobs = {1, 2}
        assert not child.has_room
        child.forget()

    asyncio.run(look())


async def test_what_cannot_be_started_leaves_no_descriptor(factory: Factory) -> None:
    before = descriptors()
    factory.refuse = [OSError(11, "Resource temporarily unavailable")]
    with pytest.raises(OSError, match="temporarily"):
        Child()
    assert descriptors() == before


# -- the pool -------------------------------------------------------------------------------------------------


class Pool:
    """A pool of played processes and what it told the supervisor."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, workers: int = 2) -> None:
        self.later, self.clock = Later(monkeypatch), Clock()
        self.lost: list[str] = []
        self.gave_up: list[str] = []
        self.replaces = True
        self.it = ProcessPool(
            workers,
            entry_point=lambda role: (print, (role,)),
            hear=lambda child, message: None,
            lost=self._lost,
            give_up=self.gave_up.append,
            clock=self.clock,
        )

    def _lost(self, child: ChildProcess) -> bool:
        assert not child.ready
        self.lost.append(child.role)
        return self.replaces


async def test_workers_are_started_first_and_everybody_has_a_name(
    factory: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = Pool(monkeypatch)
    assert [process.arguments for process in factory.made] == [
        ("inferencer",),
        ("inferencer",),
        ("writer",),
        ("fetcher",),
    ]
    assert {process.target for process in factory.made} == {print}
    assert list(pool.it) == [pool.it.writer, pool.it.fetcher, *pool.it.workers]
    assert [name for name, _ in pool.it.named()] == ["writer", "fetcher", "inferencer 1", "inferencer 2"]
    pool.it.dismiss()
    assert all(process.killed for process in factory.made)
    assert pool.lost == []


@pytest.mark.parametrize("role", ["writer", "fetcher", "inferencer"])
async def test_who_dies_is_replaced_in_its_place(
    role: str, factory: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = Pool(monkeypatch)
    place = {"writer": 0, "fetcher": 1, "inferencer": 3}[role]
    before = list(pool.it)
    before[place].ready = True
    factory.made[{"writer": 2, "fetcher": 3, "inferencer": 1}[role]].dies(70)
    await turn()
    assert pool.lost == [role]
    assert list(pool.it) == before, "not at once"
    assert pool.later.pass_by() == [0.2]
    after = list(pool.it)
    assert [old is new for old, new in zip(before, after, strict=True)] == [n != place for n in range(4)]
    assert after[place].role == role
    pool.it.dismiss()


async def test_each_death_in_a_row_is_waited_for_longer_and_after_the_last_the_run_is_given_up(
    factory: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = Pool(monkeypatch, workers=0)
    waits = []
    for death in range(1, MAX_DEATHS_IN_A_ROW):
        factory.made[-1].dies(70)
        await turn()
        assert len(pool.lost) == death
        waits += pool.later.pass_by()
    assert waits == [0.2, 0.4, 0.8, 1.6]
    assert pool.gave_up == []
    factory.made[-1].dies(70)
    await turn()
    assert pool.gave_up == [
        "the fetcher failed 5 times in a row, last: ended by exit code 70; see the lines above"
    ]
    assert pool.later.waiting == []
    pool.it.writer.forget()


async def test_a_job_served_in_between_forgives_its_role_and_no_other(
    factory: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = Pool(monkeypatch, workers=0)
    for _ in range(2):
        factory.made[-1].dies(70)
        await turn()
        pool.later.pass_by()
    pool.it.served(pool.it.writer)
    factory.made[-1].dies(70)
    await turn()
    assert pool.later.pass_by() == [0.8]
    pool.clock.now_s = 1_050.0
    pool.it.served(pool.it.fetcher)
    assert pool.it.fetcher.served_s == 1_050.0
    factory.made[-1].dies(70)
    await turn()
    assert pool.later.pass_by() == [0.2]
    pool.it.dismiss()


async def test_the_wait_has_an_end(factory: Factory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "MAX_DEATHS_IN_A_ROW", 100)
    pool = Pool(monkeypatch, workers=0)
    waits = []
    for _ in range(10):
        factory.made[-1].dies(70)
        await turn()
        waits += pool.later.pass_by()
    assert waits[-3:] == [25.6, 30.0, 30.0]
    pool.it.dismiss()


async def test_a_replacement_that_cannot_be_started_is_tried_again(
    factory: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = Pool(monkeypatch, workers=0)
    dead = pool.it.fetcher
    factory.made[-1].dies(70)
    await turn()
    factory.refuse = [OSError(11, "no more processes"), MemoryError()]
    assert pool.later.pass_by() == [0.2]
    assert pool.later.pass_by() == [0.4]
    assert pool.it.fetcher is dead
    assert pool.later.pass_by() == [0.8]
    assert pool.it.fetcher is not dead
    pool.it.dismiss()


async def test_nobody_is_replaced_when_the_run_is_over_or_dismissed(
    factory: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = Pool(monkeypatch, workers=1)
    factory.made[0].dies(70)
    await turn()
    pool.replaces = False
    factory.made[1].dies(0)
    await turn()
    assert pool.lost == ["inferencer", "writer"]
    assert len(pool.later.waiting) == 1, "the writer is not replaced"
    pool.it.dismiss()
    pool.later.pass_by()
    assert len(factory.made) == 3, "nor the worker, once all are dismissed"


async def test_who_is_silent_for_longer_than_the_patience_is_killed(
    factory: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = Pool(monkeypatch, workers=0)
    pool.clock.now_s = 1_060.0
    pool.it.replace_hanging(lambda child: child.heard_s, 60.0)
    assert not any(process.killed for process in factory.made), "just in time"
    pool.it.writer.heard_s = 1_000.5
    pool.clock.now_s = 1_060.1
    pool.it.replace_hanging(lambda child: child.heard_s, 60.0)
    assert [process.killed for process in factory.made] == [False, True]
    assert pool.it.fetcher.heard_s == 1_060.1, "it is killed once, though its end is seen later"
    pool.it.dismiss()
