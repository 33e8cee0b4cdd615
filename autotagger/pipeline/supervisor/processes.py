"""The child processes as the supervisor sees them: started, listened to, and replaced when they die or hang."""

import asyncio
import multiprocessing
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from loguru import logger

from autotagger.pipeline.ipc.channel import AsyncChannel, Channel, ChannelClosed, Garbled
from autotagger.resources import told

#: Spawned, not forked: a fork would copy threads' locks and OpenVINO's state.
_SPAWN = multiprocessing.get_context("spawn")


class ChildProcess:
    """One running process. `role` is what it does (fetcher, inferencer, writer); `heard_s` when it last spoke,
    `served_s` when it last ended its part of a job.

    Making one raises OSError or MemoryError where the machine does not give another process.
    """

    def __init__(
        self,
        role: str,
        target: Callable[..., None],
        arguments: tuple[Any, ...],
        *,
        handle: Callable[["ChildProcess", Any], None],
        died: Callable[["ChildProcess"], None],
        clock: Callable[[], float],
    ) -> None:
        ours, theirs = Channel.pair()
        self.role = role
        self.ready = False
        self.capacity = 0
        self.jobs: set[int] = set()
        self.heard_s = self.served_s = clock()
        self._clock = clock
        self._handle = handle
        self._died = died
        self._process = _SPAWN.Process(target=target, args=(theirs, *arguments), name=f"autotagger {role}")
        self._exit_code: int | None = None
        try:
            self._process.start()
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self._pid = self._process.pid or 0
        self._channel = AsyncChannel(ours, self._heard, closed=self._fell_silent)
        asyncio.get_running_loop().add_reader(self._process.sentinel, self._ended)

    @property
    def pid(self) -> int:
        return self._pid

    @property
    def has_room(self) -> bool:
        """Whether it has started and can take another job."""
        return self.ready and len(self.jobs) < self.capacity

    @property
    def exit_description(self) -> str:
        """`signal 9 (SIGKILL)` or `exit code 70`."""
        code = self._exit_code
        if code is None:
            return "still running"
        return f"signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"exit code {code}"

    def send(self, message: object) -> None:
        self._channel.send(message)

    def close(self) -> None:
        """Close the channel: the child takes it as the end."""
        self._channel.close()

    def kill(self) -> None:
        """End it now; `died` is called as for any other end."""
        if self._exit_code is None:
            self._process.kill()

    def forget(self) -> None:
        """Kill it and wait; `died` is not called."""
        if self._exit_code is not None:
            return
        asyncio.get_running_loop().remove_reader(self._process.sentinel)
        self._channel.close()
        self._process.kill()
        self._reap()

    def _reap(self) -> None:
        """Wait for its end, and give back the descriptors that it was watched by: a long run reaps many."""
        self._process.join()
        self._exit_code = self._process.exitcode
        self._process.close()

    def _heard(self, message: Any) -> None:
        self.heard_s = self._clock()
        self._handle(self, message)

    def _fell_silent(self, why: ChannelClosed) -> None:
        """The end of the process is what counts, and its channel closes a moment before: unless it lives on and
        sends what is no message."""
        if isinstance(why, Garbled):
            logger.error("the {} (process {}) sent {}; it is replaced", self.role, self._pid, why)
            self.kill()

    def _ended(self) -> None:
        asyncio.get_running_loop().remove_reader(self._process.sentinel)
        self._reap()
        # Its last words, an `Ended` above all, may still be in the channel.
        self._channel.drain()
        self._channel.close()
        self._died(self)


#: Deaths of a role in a row (or replacements that could not be started), without a job served in between, after
#: which the run ends.
MAX_DEATHS_IN_A_ROW = 5
RESTART_FIRST_S, RESTART_LONGEST_S = 0.2, 30.0

#: What a role runs: the entry point of its process and the arguments after the channel.
EntryPoint = tuple[Callable[..., None], tuple[Any, ...]]


class ProcessPool:
    """The child processes of a run. `entry_point` says what a role runs, each time one is started.

    `lost` is called for every death, before the replacement; it answers False when the run is over and nobody
    is to be replaced. `give_up` is called with a message when replacing does not help.

    Making one raises OSError or MemoryError where the machine does not give the processes.
    """

    def __init__(
        self,
        workers: int,
        *,
        entry_point: Callable[[str], EntryPoint],
        hear: Callable[[ChildProcess, Any], None],
        lost: Callable[[ChildProcess], bool],
        give_up: Callable[[str], None],
        clock: Callable[[], float],
    ) -> None:
        self._entry_point = entry_point
        self._hear = hear
        self._lost = lost
        self._give_up = give_up
        self._clock = clock
        self._deaths: Counter[str] = Counter()
        self._dismissed = False
        # Those who take longest to get ready begin first.
        self.workers = [self._start("inferencer") for _ in range(workers)]
        self.writer = self._start("writer")
        self.fetcher = self._start("fetcher")

    def __iter__(self) -> Iterator[ChildProcess]:
        return iter((self.writer, self.fetcher, *self.workers))

    def named(self) -> Iterator[tuple[str, ChildProcess]]:
        """Everybody with a name that a replacement keeps: writer, fetcher, inferencer 1, inferencer 2 ..."""
        yield "writer", self.writer
        yield "fetcher", self.fetcher
        for number, worker in enumerate(self.workers, 1):
            yield f"inferencer {number}", worker

    def served(self, child: ChildProcess) -> None:
        """The child did its work for an asset: what killed its predecessors does not kill all."""
        self._deaths[child.role] = 0
        child.served_s = self._clock()

    def replace_hanging(self, silent_since_s: Callable[[ChildProcess], float], timeout_s: float) -> None:
        """Kill every child that has been silent for `timeout_s`; its death brings the replacement."""
        now_s = self._clock()
        for child in self:
            if now_s - silent_since_s(child) > timeout_s:
                logger.error("the {} (process {}) hangs; it is replaced", child.role, child.pid)
                child.heard_s = now_s
                child.kill()

    def dismiss(self) -> None:
        """End everybody now."""
        self._dismissed = True
        for child in self:
            child.forget()

    def _start(self, role: str) -> ChildProcess:
        target, arguments = self._entry_point(role)
        return ChildProcess(role, target, arguments, handle=self._hear, died=self._died, clock=self._clock)

    def _died(self, child: ChildProcess) -> None:
        child.ready = False
        if not self._lost(child):
            return
        self._replace_soon(child, f"ended by {child.exit_description}")

    def _replace_soon(self, child: ChildProcess, what: str) -> None:
        self._deaths[child.role] += 1
        deaths = self._deaths[child.role]
        if deaths >= MAX_DEATHS_IN_A_ROW:
            self._give_up(f"the {child.role} failed {deaths} times in a row, last: {what}; see the lines above")
            return
        delay_s = min(RESTART_FIRST_S * 2 ** (deaths - 1), RESTART_LONGEST_S)
        logger.error("the {} {}; replaced in {:.1f} s", child.role, what, delay_s)
        asyncio.get_running_loop().call_later(delay_s, self._replace, child)

    def _replace(self, child: ChildProcess) -> None:
        if self._dismissed:
            return
        try:
            fresh = self._start(child.role)
        except (OSError, MemoryError) as error:
            self._replace_soon(child, f"cannot be started ({told(error)})")
            return
        if child is self.writer:
            self.writer = fresh
        elif child is self.fetcher:
            self.fetcher = fresh
        else:
            self.workers[self.workers.index(child)] = fresh
