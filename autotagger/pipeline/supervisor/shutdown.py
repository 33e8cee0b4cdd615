"""The end of a run: drained when all is done, within a deadline when asked to stop, at once when asked twice.

And what a run hears from its event loop besides messages: signals, and errors that break off a callback.
"""

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from loguru import logger

from autotagger.errors import Fatal
from autotagger.pipeline.control import pause as pausing
from autotagger.pipeline.ipc import messages as m
from autotagger.settings import Settings

#: After the time to finish work under way, the writer has this long to end the batch that it has begun.
LAST_BATCH_S = 5.0
#: The drain of a stop: the writer finishes its batch, and the next run goes on.
_HASTY = m.Drain(complete=False, settle_s=0.0)


class Shutdown:
    """How far a run is on its way to the end. `tell`: tells the writer that nothing more will come.

    `stopping`: somebody asked for the end, and nothing new is begun; `draining`: what the writer was told;
    `drained`: what it answered; `error`: why the run cannot go on.
    """

    def __init__(self, settings: Settings, *, tell: Callable[[m.Drain], None], clock: Callable[[], float]) -> None:
        self._settings = settings
        self._tell = tell
        self._clock = clock
        self._stop_by_s = 0.0
        self._over = asyncio.Event()
        self.stopping = False
        self.draining: m.Drain | None = None
        self.drained: m.Drained | None = None
        self.error: Exception | None = None

    @property
    def over(self) -> bool:
        """Whether the run is to end now."""
        return self._over.is_set()

    async def wait(self, timeout_s: float) -> None:
        """Wait until it is over, at most `timeout_s`."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._over.wait(), timeout_s)

    def ask(self, under_way: int) -> None:
        """Ask for a graceful end: what is under way, so many assets, is finished; asked twice, now."""
        if self.stopping:
            logger.warning("stopping now; the next run repeats unfinished work")
            self.end()
            return
        logger.info("stopping: finishing {} assets under way (again to stop now)", under_way)
        self.stopping = True
        self._stop_by_s = self._clock() + self._settings.pipeline.drain_timeout_s
        if self.draining:
            self._drain(_HASTY)  # --once was only waiting for Immich to settle: the next run can do that

    def tick(self) -> None:
        """When the time to finish is up, the writer ends its batch; when Immich keeps it, it is not waited for."""
        if not self.stopping or self._clock() < self._stop_by_s:
            return
        if not self.draining:
            self._drain(_HASTY)
        elif self._clock() >= self._stop_by_s + LAST_BATCH_S:
            logger.warning("stopping now: Immich does not answer; the next run repeats unfinished work")
            self.end()

    def drain(self) -> None:
        """Nothing is left to begin, or under way. After SIGTERM the writer only ends its batch; at the end of
        --once it applies and proves everything."""
        complete = m.Drain(complete=True, settle_s=self._settings.verify.settle_timeout_s)
        self._drain(_HASTY if self.stopping else complete)

    def fail(self, error: Exception) -> None:
        """The run cannot go on. The first error counts."""
        self.error = self.error or error
        self.end()

    def end(self) -> None:
        """End now."""
        self._over.set()

    def _drain(self, drain: m.Drain) -> None:
        self.draining = drain
        self._tell(drain)


@contextmanager
def heeding_signals(stop: Callable[[], None], state_dir: Path) -> Iterator[None]:
    """SIGTERM and SIGINT call `stop`; SIGUSR1 pauses whoever works on `state_dir`, SIGUSR2 has it work again."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    loop.add_signal_handler(signal.SIGUSR1, _pause_or_resume, pausing.pause, state_dir)
    loop.add_signal_handler(signal.SIGUSR2, _pause_or_resume, pausing.resume, state_dir)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
            loop.remove_signal_handler(number)


def _pause_or_resume(act: Callable[[Path], bool], state_dir: Path) -> None:
    try:
        act(state_dir)
    except Fatal as error:
        logger.error("{}", error.message)


@contextmanager
def heeding_faults(fail: Callable[[Exception], None]) -> Iterator[None]:
    """Whatever breaks off a callback - the ledger cannot be read, no memory, a mistake of ours - is given to
    `fail`: the job table may be wrong from then on, and the run would wait for ever for what it lacks."""
    loop = asyncio.get_running_loop()

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, Exception) and "handle" in context:  # asyncio's name for a callback
            fail(error)
        else:
            loop.default_exception_handler(context)

    loop.set_exception_handler(handle)
    try:
        yield
    finally:
        loop.set_exception_handler(None)
