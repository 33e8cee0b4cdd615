"""The end of a run: drained when all is done, within a deadline when asked to stop, at once when asked twice."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from loguru import logger

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
            logger.warning("stopping now; what is under way is done again by the next run")
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
            logger.warning("stopping now: Immich does not answer; what is under way is done again by the next run")
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
