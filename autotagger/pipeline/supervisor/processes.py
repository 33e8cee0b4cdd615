"""The crew: one writer, one fetcher, some inferencers; whoever dies or hangs is replaced."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from loguru import logger

from autotagger.pipeline.supervisor.child_process import Child
from autotagger.resources import told

#: Deaths of a role in a row (or replacements that could not be started), without a flight served in between, after
#: which the run ends.
MOST_DEATHS_IN_A_ROW = 5
RESTART_FIRST_S, RESTART_LONGEST_S = 0.2, 30.0

#: What a role runs: the entry point of its process and the arguments after the channel.
Duty = tuple[Callable[..., None], tuple[Any, ...]]


class Crew:
    """The child processes of a run. `duty` says what a role runs, each time one is started.

    `lost` is called for every death, before the replacement; it answers False when the run is over and nobody
    is to be replaced. `give_up` is called with a message when replacing does not help.

    Making one raises OSError or MemoryError where the machine does not give the processes.
    """

    def __init__(
        self,
        workers: int,
        *,
        duty: Callable[[str], Duty],
        hear: Callable[[Child, Any], None],
        lost: Callable[[Child], bool],
        give_up: Callable[[str], None],
        clock: Callable[[], float],
    ) -> None:
        self._duty = duty
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

    def __iter__(self) -> Iterator[Child]:
        return iter((self.writer, self.fetcher, *self.workers))

    def named(self) -> Iterator[tuple[str, Child]]:
        """Everybody with a name that a replacement keeps: writer, fetcher, inferencer 1, inferencer 2 ..."""
        yield "writer", self.writer
        yield "fetcher", self.fetcher
        for number, worker in enumerate(self.workers, 1):
            yield f"inferencer {number}", worker

    def served(self, child: Child) -> None:
        """The child did its work for an asset: what killed its forerunners does not kill everyone."""
        self._deaths[child.role] = 0
        child.served_s = self._clock()

    def replace_hanging(self, silent_since_s: Callable[[Child], float], timeout_s: float) -> None:
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

    def _start(self, role: str) -> Child:
        target, arguments = self._duty(role)
        return Child(role, target, arguments, handle=self._hear, died=self._died, clock=self._clock)

    def _died(self, child: Child) -> None:
        child.ready = False
        if not self._lost(child):
            return
        self._replace_soon(child, f"ended by {child.exit_description}")

    def _replace_soon(self, child: Child, what: str) -> None:
        self._deaths[child.role] += 1
        deaths = self._deaths[child.role]
        if deaths >= MOST_DEATHS_IN_A_ROW:
            self._give_up(f"the {child.role} failed {deaths} times in a row, last: {what}; see the lines above")
            return
        delay_s = min(RESTART_FIRST_S * 2 ** (deaths - 1), RESTART_LONGEST_S)
        logger.error("the {} {}; replaced in {:.1f} s", child.role, what, delay_s)
        asyncio.get_running_loop().call_later(delay_s, self._replace, child)

    def _replace(self, child: Child) -> None:
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
