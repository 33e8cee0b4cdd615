"""Immich's background jobs, faithfully careless: the reason for law 1.

Every asset that gains or loses a link gets a *sidecar write*, which reads the asset's tags from the database and
some time later has written them to the .xmp file, and then a *metadata extraction*, which reads the .xmp and some
time later **replaces** the asset's links with what it read. A link made between the first reading and the
replacing is deleted; the sidecar write that this link caused may then find it gone, and the loss is for good. A
link removed in between comes back the same way. Jobs of one asset run side by side, so they overtake each other.
"""

import asyncio
import heapq
import math
import random
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from autotagger.demo.library import Preview
from autotagger.demo.sidecar import after_round_trip
from autotagger.demo.store import Clock, Row, Store

SIDECAR = "sidecar"
METADATA = "metadataExtraction"
THUMBNAILS = "thumbnailGeneration"
QUEUES = (SIDECAR, METADATA, THUMBNAILS)
STEPS_A_TURN = 200
"""Steps done before requests get their turn again."""

Write = Callable[[], None]
Read = Callable[[], Write]
"""The first half of a job: it reads what it works on and answers its second half, which writes the outcome."""


@dataclass(frozen=True, slots=True, order=True)
class _Step:
    due: float
    number: int
    act: Callable[[], None] = field(compare=False)


class Jobs:
    """The queues and the one task that works on them.

    `delay_s`: a job waits up to a fifth of this, then runs up to four fifths (an idle real server is done with an
    asset's two jobs within 0.1 s, and most of that time the jobs run).
    `jobs_per_s`: most jobs started a second, None for no limit (a real server with 2 cores: about 20).
    `losing`: False makes the write-back use the links of that instant, which no real Immich does.
    `clock`: seconds; None takes the event loop's. With one of its own a test moves the time and calls `catch_up`.
    """

    def __init__(
        self,
        store: Store,
        *,
        delay_s: float,
        jobs_per_s: float | None,
        losing: bool,
        seed: int,
        clock: Clock | None = None,
    ) -> None:
        self._store = store
        self._delay_s = delay_s
        self._spacing_s = 1 / jobs_per_s if jobs_per_s else 0.0
        self._losing = losing
        self._clock = clock
        self._step_time: float | None = None
        self._random = random.Random(seed)
        self._steps: dict[str, list[_Step]] = {queue: [] for queue in QUEUES}
        self._open: Counter[str] = Counter()
        self._paused: set[str] = set()
        self._last_start = -math.inf
        self._number = 0
        self._hurrying = 0
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.done: Counter[str] = Counter()
        """Jobs finished, by queue."""

    def start(self) -> None:
        self._task = asyncio.create_task(self._work(), name="stand-in jobs")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    # What causes jobs

    def links_changed(self, row: Row) -> None:
        """An asset gained or lost a link."""
        self._enqueue(SIDECAR, row, partial(self._write_sidecar, row))

    def refresh(self, row: Row) -> None:
        """Read the asset's metadata anew, as an admin's "refresh metadata" does."""
        self._enqueue(METADATA, row, partial(self._extract_metadata, row))

    def make_preview(self, row: Row) -> None:
        self._enqueue(THUMBNAILS, row, partial(self._make_preview, row))

    def forget(self) -> None:
        """Drop all that waits or runs, as a restored server does."""
        for queue, steps in self._steps.items():
            steps.clear()
            self._open[queue] = 0

    # What a test or an admin does with them

    @property
    def idle(self) -> bool:
        return not any(self._open.values())

    def open(self, queue: str) -> int:
        """Jobs of a queue that wait or run."""
        return self._open[queue]

    def is_paused(self, queue: str) -> bool:
        return queue in self._paused

    def pause(self, *queues: str) -> None:
        """Hold queues (all of them when none is named): nothing of them moves until `resume`."""
        self._paused.update(queues or QUEUES)

    def resume(self, *queues: str) -> None:
        self._paused.difference_update(queues or QUEUES)
        self._changed.set()

    async def settle(self, *queues: str) -> None:
        """Work until the queues (all when none is named) are empty, in the order of time but without its delays.

        Raises RuntimeError where a paused queue would make that for ever.
        """
        wanted = queues or QUEUES
        self._hurrying += 1
        try:
            while any(self._open[queue] for queue in wanted):
                self._refuse_standstill()
                self._changed.set()
                await asyncio.sleep(0)
        finally:
            self._hurrying -= 1
            self._last_start = -math.inf  # it may lie in the future that was hurried through

    async def catch_up(self) -> None:
        """Do all that is due by the clock, and nothing that is not."""
        while any(self._is_due(self._steps[queue][0]) for queue in QUEUES if self._may_run(queue)):
            self._refuse_standstill()
            self._changed.set()
            await asyncio.sleep(0)

    def _refuse_standstill(self) -> None:
        if all(queue in self._paused for queue in QUEUES if self._open[queue]):
            raise RuntimeError(f"paused queues never settle: {', '.join(sorted(self._paused))}")
        if self._task is None or self._task.done():
            raise RuntimeError("the background jobs do not run")

    # The jobs

    def _write_sidecar(self, row: Row) -> Write:
        seen = tuple(self._store.values(row))

        def write() -> None:
            if not row.read_only:
                row.xmp = self._written(row, seen if self._losing else tuple(self._store.values(row)))
            self.refresh(row)

        return write

    @staticmethod
    def _written(row: Row, values: tuple[str, ...]) -> tuple[str, ...]:
        """What really stands in the .xmp afterwards, where removals went wrong (see `removals`)."""
        if row.torn:
            return ()
        back = row.coming_back - set(values)
        row.came_back |= row.coming_back
        row.returning |= back
        row.coming_back = set()
        return (*values, *sorted(back))

    def _now_meant(self, row: Row) -> tuple[str, ...]:
        """What jobs that lose nothing read: the links of this instant, but for what removals did to the .xmp."""
        returning, row.returning = row.returning, set()
        return () if row.torn else (*self._store.values(row), *sorted(returning))

    def _extract_metadata(self, row: Row) -> Write:
        listed = row.xmp or ()

        def write() -> None:
            if row.id not in self._store.rows:
                return
            values = listed if self._losing or row.read_only else self._now_meant(row)
            self._replace_links(row, values)
            row.extracted = True
            self._store.touch(row)

        return write

    def _replace_links(self, row: Row, values: tuple[str, ...]) -> None:
        read = (after_round_trip(value) for value in values)
        wanted = {tag.id for tag in self._store.upsert(read, row.spec.owner_id)}
        if superfluous := row.tags - wanted:
            self._store.unlink(row, superfluous)
        self._store.link(row, wanted)

    def _make_preview(self, row: Row) -> Write:
        def write() -> None:
            row.preview = Preview.READY if row.spec.preview is Preview.LATER else row.spec.preview
            row.preview_ms = self._store.now_ms()
            row.rendered = row.edits
            self._store.touch(row)
            self._store.versions.shape += 1

        return write

    # The machinery

    def _enqueue(self, queue: str, row: Row, read: Read) -> None:
        row.jobs += 1
        self._last_start = max(self._last_start + self._spacing_s, self._now())
        self._open[queue] += 1
        wait_s = self._random.uniform(0.0, 0.2) * self._delay_s
        self._push(queue, self._last_start + wait_s, partial(self._begin, queue, row, read))

    def _begin(self, queue: str, row: Row, read: Read) -> None:
        run_s = self._random.uniform(0.0, 0.8) * self._delay_s
        self._push(queue, self._now() + run_s, partial(self._finish, queue, row, read()))

    def _finish(self, queue: str, row: Row, write: Write) -> None:
        write()
        row.jobs -= 1
        row.torn &= row.jobs > 0
        self._open[queue] -= 1
        self.done[queue] += 1

    def _push(self, queue: str, due: float, act: Callable[[], None]) -> None:
        self._number += 1
        heapq.heappush(self._steps[queue], _Step(due, self._number, act))
        self._changed.set()

    def _now(self) -> float:
        if self._step_time is not None:
            return self._step_time
        return asyncio.get_running_loop().time() if self._clock is None else self._clock()

    async def _work(self) -> None:
        while True:
            if self._some_steps():
                await asyncio.sleep(0)
            else:
                await self._wait()

    def _some_steps(self) -> int:
        """Do what is due, at most `STEPS_A_TURN`; answers how many steps were done."""
        for count in range(STEPS_A_TURN):
            first = min(
                (q for q in self._steps if self._may_run(q)), key=lambda q: self._steps[q][0], default=None
            )
            if first is None or not self._is_due(self._steps[first][0]):
                return count
            self._do(heapq.heappop(self._steps[first]))
        return STEPS_A_TURN

    def _do(self, step: _Step) -> None:
        """Act at the step's own time where time is not real: what it causes is then due in the right order."""
        real = self._clock is None and not self._hurrying
        self._step_time = self._now() if real else step.due
        try:
            step.act()
        finally:
            self._step_time = None

    def _may_run(self, queue: str) -> bool:
        return bool(self._steps[queue]) and queue not in self._paused

    def _is_due(self, step: _Step) -> bool:
        return self._hurrying > 0 or step.due <= self._now()

    async def _wait(self) -> None:
        self._changed.clear()
        due = min((self._steps[queue][0].due for queue in self._steps if self._may_run(queue)), default=math.inf)
        pause_s = None if math.isinf(due) else max(0.0, due - self._now())
        with suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), pause_s)
