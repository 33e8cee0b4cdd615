"""When the library is listed or polled, when nothing new is begun, and when the writer makes no tag calls."""

from collections.abc import Callable
from datetime import datetime

from loguru import logger

from autotagger.hours import Hours
from autotagger.ledger.reader import LedgerReader
from autotagger.pipeline.control.pause import PAUSED, is_paused
from autotagger.pipeline.ipc import messages as m
from autotagger.pipeline.ipc.messages import Poll, Polled, Sweep, Swept
from autotagger.pipeline.supervisor.processes import ProcessPool
from autotagger.settings import Settings

#: After an outage a listing is tried again so much later.
AGAIN_S = 30.0
#: A poll that took long (thousands of uploads that Immich is not done with) is followed by a rest of so many times
#: its length: polling stays below a tenth of the time.
REST_FACTOR = 10.0


class Schedule:
    """Says what is to be listed next. `once`: one sweep and nothing more, at any hour. `sweeps`: False where
    nothing is listed at all; `heeds_pause`: False where a person asks for something just now. `clock`: seconds,
    monotonic; `now`: the local time.

    `tick` looks at the time; everything else answers from that look. `idle_reason`: why nothing new is begun
    now, empty while there is no reason.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        once: bool,
        sweeps: bool = True,
        heeds_pause: bool = True,
        clock: Callable[[], float],
        now: Callable[[], datetime] = datetime.now,
    ) -> None:
        self._settings = settings
        self._hours = Hours() if once else Hours.read(settings.watch.hours)
        self._once = once
        self._heeds_pause = heeds_pause
        self._clock = clock
        self._now = now
        self._swept = not sweeps
        self._doing: Sweep | Poll | None = None
        self._begun_s = 0.0
        self._next_sweep_s = self._next_poll_s = float("-inf")
        self._poll_from_ms: int | None = None
        self.idle_reason = ""

    @property
    def idle(self) -> bool:
        """Whether nothing new is to be fetched, scored or tagged now."""
        return bool(self.idle_reason)

    @property
    def ends(self) -> bool:
        """Whether the run is to end because of a pause: a service waits, one run would wait for ever."""
        return self._once and self.idle_reason == PAUSED

    @property
    def holds(self) -> bool:
        """Whether the writer is to make no tag calls now."""
        return self.idle or isinstance(self._doing, Sweep)

    @property
    def listed(self) -> bool:
        """Whether the library was listed, and is not being listed."""
        return self._swept and not isinstance(self._doing, Sweep)

    def tick(self) -> None:
        """Look at the hour and at the pause."""
        idle_reason = ""
        if self._heeds_pause and is_paused(self._settings.state_dir):
            idle_reason = PAUSED
        elif not self._hours.hold(self._now()):
            hours = ", ".join(self._settings.watch.hours)
            idle_reason = f"outside the hours of [watch] ({hours}): new pictures are noted and wait"
        if idle_reason != self.idle_reason:
            logger.info("{}", idle_reason or "working again")
        self.idle_reason = idle_reason

    def next_order(self, next_sweep: Callable[[], int]) -> Sweep | Poll | None:
        """What the fetcher is to list now, if anything; from here on it counts as being listed. `next_sweep`: the
        number for a sweep."""
        now_s = self._clock()
        if self._doing:
            return None
        if now_s >= self._next_sweep_s and self._may_sweep():
            self._doing = Sweep(next_sweep())
        elif not self._once and self._poll_from_ms is not None and now_s >= self._next_poll_s:
            self._doing = Poll(self._poll_from_ms)
        self._begun_s = now_s
        return self._doing

    def _may_sweep(self) -> bool:
        if self._once:
            return not self.idle and not self._swept
        # A service's first sweep goes at any hour: polls begin where it ended, and note what is new.
        return not self.idle or not self._swept

    def done(self, end: Swept | Polled) -> None:
        """The listing is in the ledger."""
        now_s, watch = self._clock(), self._settings.watch
        self._poll_from_ms = end.poll_from_ms
        self._next_poll_s = now_s + max(watch.poll_interval_s, REST_FACTOR * (now_s - self._begun_s))
        if isinstance(end, Swept):
            self._swept = True
            self._next_sweep_s = now_s + self._settings.pipeline.sweep_interval_s
            self._next_poll_s = now_s + watch.poll_interval_s
        self._doing = None

    def interrupted(self) -> None:
        """Who listed, or noted what was listed, was replaced: the listing begins again at once."""
        self._doing = None

    def failed(self) -> None:
        """Immich was not there: the listing begins again in a while."""
        if isinstance(self._doing, Sweep):
            self._next_sweep_s = self._clock() + AGAIN_S
        self._next_poll_s = self._clock() + AGAIN_S
        self._doing = None


class Listing:
    """Has the fetcher list what is due; nobody is told anything before fetcher and writer are ready."""

    def __init__(self, processes: ProcessPool, schedule: Schedule, ledger: LedgerReader) -> None:
        self._processes = processes
        self._schedule = schedule
        self._ledger = ledger
        self._held = False

    def go_on(self) -> None:
        """Begin what is due, and have the writer hold or go on."""
        if not (self._processes.writer.ready and self._processes.fetcher.ready):
            return
        order = self._schedule.next_order(self._ledger.next_sweep)
        if self._held != self._schedule.holds:
            self._held = self._schedule.holds
            self._processes.writer.send(m.Hold(on=self._held))
        if order:
            self._processes.fetcher.send(order)

    def done(self, end: m.Swept | m.Polled) -> None:
        """The listing is in the ledger."""
        self._schedule.done(end)
        self.go_on()

    def failed(self) -> None:
        """Immich was not there: again in a while."""
        self._schedule.failed()
        self.go_on()

    def fetcher_is_new(self) -> None:
        """What the last one was listing is listed again."""
        self._schedule.interrupted()
        self.go_on()

    def writer_is_new(self) -> None:
        """What the last one had not noted is listed again; the new one has not been told to hold."""
        self._held = False
        self._schedule.interrupted()
        self.go_on()
