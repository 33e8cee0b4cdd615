"""Looks at a run at every turn of its loop, and tells systemd and the log what it sees."""

import time
from collections.abc import Callable

from loguru import logger

from autotagger.pipeline.supervisor.status import RunStatus
from autotagger.pipeline.supervisor.summary import Summary
from autotagger.service.health import Health, examine, patience_s
from autotagger.service.notify import Notifier
from autotagger.service.pace import Pace
from autotagger.service.words import progress, run_stats, sum_up

#: sd_watchdog_enabled(3) recommends to speak twice as often as the watchdog asks; twice that is no burden.
FEEDS_PER_WATCHDOG = 4
#: Where nobody says how often: systemd takes no notice of it, and any other listener may.
UNASKED_WATCHDOG_S = 20.0


class Observer:
    """The last status of a run and what follows from it. `reachable` is set by whoever asks Immich."""

    def __init__(
        self, notifier: Notifier, summary_interval_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.status: RunStatus | None = None
        self.reachable = False
        self.pace = Pace()
        self._notifier = notifier
        self._clock = clock
        self._summary_interval_s = summary_interval_s
        self._next_summary_s = clock() + summary_interval_s
        self._next_feed_s = float("-inf")
        self._told_ready = self._told_stopping = False
        self._status = ""

    @property
    def health(self) -> Health:
        return examine(self.status, reachable=self.reachable, patience_s=patience_s(self._notifier.watchdog_s))

    def begin(self) -> None:
        """The run is about to look for Immich and its model."""
        self._tell_status("starting: connecting to Immich and loading the model")

    def observe(self, status: RunStatus) -> None:
        """Called by the supervisor; must be quick."""
        before, now_s = self.status, self._clock()
        self.status = status
        if before is None or status.summary is not before.summary:
            self.pace.sample(now_s, status.summary.counts.get("inferred", 0))
        health = self.health
        if health.ready and not self._told_ready:
            self._told_ready = True
            self._notifier.send(READY=1)
        if status.stopping and not self._told_stopping:
            self._told_stopping = True
            self._notifier.send(STOPPING=1)
        if self._told_ready and health.live and now_s >= self._next_feed_s:
            watchdog_s = self._notifier.watchdog_s or UNASKED_WATCHDOG_S
            self._next_feed_s = now_s + watchdog_s / FEEDS_PER_WATCHDOG
            self._notifier.send(WATCHDOG=1)
        self._tell_status(self._state_of_things(status, health))
        if before is None:
            self._next_summary_s = now_s + self._summary_interval_s
        elif now_s >= self._next_summary_s:
            self._next_summary_s = now_s + self._summary_interval_s
            self._log_summary(status.summary, "summary")

    def end(self, summary: Summary) -> None:
        """The run is over."""
        self._tell_status(f"ended: {progress(summary, self.pace)}")
        self._log_summary(summary, "ended")

    def _state_of_things(self, status: RunStatus, health: Health) -> str:
        words = progress(status.summary, self.pace)
        if status.listing:
            words += ", listing the library"
        idle = (status.idle_reason,) if status.idle_reason else ()
        return "; ".join((*health.reasons, *idle, words))

    def _tell_status(self, status: str) -> None:
        if status != self._status:
            self._status = status
            self._notifier.send(STATUS=status)

    def _log_summary(self, summary: Summary, event: str) -> None:
        line = sum_up(summary, self.pace)
        logger.bind(event=event, figures=run_stats(summary, self.pace)).info(
            "{}", f"ended: {line}" if event == "ended" else line
        )
