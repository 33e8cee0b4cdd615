"""The supervisor: starts the processes, hands out the work, replaces what dies, drains, and ends.

It keeps the books (flights.py) and touches neither Immich nor a picture. A signal or a message only changes
the books; `_dispatch` acts on them.
"""

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Callable, Collection
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from loguru import logger

from autotagger.errors import Fatal, KeptCrashing, ServerRefused, StartupFailed
from autotagger.ledger.database import DATABASE_ERRORS, LedgerLock, plainly
from autotagger.ledger.rows import Work
from autotagger.ledger.store import Ledger
from autotagger.log import log_for
from autotagger.pipeline import duties, pausing
from autotagger.pipeline import messages as m
from autotagger.pipeline.accounts import registered
from autotagger.pipeline.child import wall_ms
from autotagger.pipeline.children import Child
from autotagger.pipeline.clockwork import Clockwork
from autotagger.pipeline.crew import Crew, Duty
from autotagger.pipeline.flights import Flight, FlightBook, Stage
from autotagger.pipeline.household import Household
from autotagger.pipeline.requests import Mailbox
from autotagger.pipeline.slots import SlotMemory, SlotTable
from autotagger.pipeline.spec import ChildSpec
from autotagger.pipeline.summary import Summary
from autotagger.pipeline.topology import with_workers
from autotagger.pipeline.view import Observe, View, process_views, unobserved
from autotagger.pipeline.worklist import WorkList
from autotagger.settings import Settings
from autotagger.tagger.model import Model

#: Flights that may wait for the ledger; beyond it nothing new takes off until the writer has caught up.
MOST_RECORDING = 200
#: After the time to finish work under way, the writer has this long to end the batch that it has begun.
LAST_BATCH_S = 5.0
TICK_S = 0.5
REPORT_S = 2.0
#: Pause of the whole dispatch after Immich was unreachable for the retry budget.
OUTAGE_PAUSE_S = 30.0


#: The drain of a stop: the writer finishes its batch, and the next run goes on.
_HASTY = m.Drain(complete=False, settle_s=0.0)


@dataclass
class _Plans:
    """What the supervisor has in mind."""

    stopping: bool = False  # SIGTERM
    stop_by_s: float = 0.0
    drain: m.Drain | None = None
    drained: m.Drained | None = None
    errand: dict[str, Any] | None = None  # the figures of the errand, once it is seen to
    paused_until_s: float = 0.0
    error: Exception | None = None  # why the run cannot go on
    dispatched: int = 0


class Supervisor:
    """One run. `report` is called every `report_s` seconds with the run so far, for a progress display; `observe`
    at every turn of the loop and at once when the run is asked to stop.

    `errand`: only that is done, nothing new is listed or tagged; without a `model` nothing is inferred either.
    `dry`: pictures are scored and nothing is changed in Immich.
    """

    def __init__(
        self,
        settings: Settings,
        household: Household,
        model: Model | None,
        *,
        once: bool,
        errand: m.Errand | None = None,
        dry: bool = False,
        limit: int | None = None,
        report: Callable[[Summary], None] = lambda _: None,
        report_s: float = REPORT_S,
        observe: Observe = unobserved,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        settings = with_workers(settings, model) if model else settings
        self._settings = settings
        self._spec = ChildSpec(settings, household.accounts, model, errand=errand, dry=dry)
        self._refused = {name: error.message for name, error in household.refused.items()}
        self._once = once
        self._limit = limit
        self._report = report
        self._report_s = report_s
        self._observe = observe
        self._clock = clock
        self._started_s = clock()
        self._plans = _Plans()
        self._clockwork = Clockwork(
            settings, once=once, sweeps=errand is None, heeds_pause=errand is None and not dry, clock=clock
        )
        self._held = False
        self._counts: Counter[str] = Counter()
        self._device = ""
        self._mailbox = Mailbox(settings.state_dir)
        self._ended = asyncio.Event()

    # -- life ---------------------------------------------------------------------------------------------

    async def run(self) -> Summary:
        """Run until drained or stopped. Raises Fatal when the run cannot go on."""
        pipeline = self._settings.pipeline
        with ExitStack() as cleanup:
            self._lock = LedgerLock(self._settings.ledger_path)
            cleanup.callback(self._lock.release)
            self._lock.acquire()
            # The schema is brought up to date before anybody reads.
            with Ledger(self._settings.ledger_path, writable=True) as ledger:
                self._spec = replace(self._spec, accounts=registered(self._spec.accounts, ledger))
            self._ledger = cleanup.enter_context(Ledger(self._settings.ledger_path, writable=False))
            spill_dir = self._settings.state_dir / "spill"
            self._memory = SlotMemory.create(pipeline.slots, pipeline.slot_bytes, spill_dir)
            cleanup.callback(self._memory.close)
            self._slots = SlotTable(pipeline.slots)
            self._book = FlightBook(self._slots)
            self._work = WorkList(self._book, due=self._due, twins_of=self._twins_of, copy=self._have_copied)
            self._crew = Crew(
                self._worker_count(),
                duty=self._duty,
                hear=self._hear,
                lost=self._lost,
                give_up=self._give_up,
                clock=self._clock,
            )
            cleanup.callback(self._crew.dismiss)
            self._last_summary = self._summary()
            self._handle_signals(cleanup)
            self._handle_faults(cleanup)
            try:
                await self._turn()
                if self._plans.error:
                    raise self._plans.error
                return self._summary()
            except DATABASE_ERRORS as error:
                raise plainly(self._settings.ledger_path, error) from None

    async def _turn(self) -> None:
        next_report_s = 0.0
        while not self._ended.is_set():
            self._tick()
            if self._clock() >= next_report_s:
                self._last_summary = self._summary()
                self._report(self._last_summary)
                next_report_s = self._clock() + self._report_s
            self._observe(self._view())
            try:
                await asyncio.wait_for(self._ended.wait(), TICK_S)
            except TimeoutError:
                continue

    def _worker_count(self) -> int:
        """Inference processes: as configured, none where nothing has to be inferred."""
        spec = self._spec
        if spec.model is None:
            return 0
        known = self._ledger.model_id(spec.model.identity)
        if spec.errand and known is not None and not self._ledger.needs_inference(known):
            return 0
        return max(1, self._settings.pipeline.workers)

    def _tick(self) -> None:
        """What time alone brings about."""
        now, plans = self._clock(), self._plans
        self._crew.replace_hanging(self._silent_since, self._settings.pipeline.hang_timeout_s)
        self._clockwork.tick()
        self._list()
        if plans.stopping and now >= plans.stop_by_s:
            self._stop_late(now)
        self._hand_out_requests()
        self._dispatch()

    def _hand_out_requests(self) -> None:
        """What other commands ask for, unless the end has begun: then the next run sees to it."""
        if self._crew.writer.ready and not self._plans.drain:
            for request in self._mailbox.fresh():
                self._crew.writer.send(m.Asked(request))

    def _stop_late(self, now: float) -> None:
        """The time to finish is up: the writer ends its batch; when Immich keeps it, it is not waited for."""
        if not self._plans.drain:
            self._drain(_HASTY)
        elif now >= self._plans.stop_by_s + LAST_BATCH_S:
            logger.warning("stopping now: Immich does not answer; what is under way is done again by the next run")
            self._ended.set()

    def _silent_since(self, child: Child) -> float:
        """Since when a child is silent, or owes us a picture: a worker's other threads go on saying it lives."""
        # A film is many pictures: each that the child has, or queues behind, earns it the whole patience again.
        patience_s = self._book.films(child.flights) * self._settings.pipeline.hang_timeout_s
        owed_s = self._book.inferring_since(child.flights)
        return min([child.heard_s, *(since_s + patience_s for since_s in owed_s)])

    def stop(self) -> None:
        """Ask for a graceful end: what is under way is finished; asked twice, now."""
        if self._plans.stopping:
            logger.warning("stopping now; what is under way is done again by the next run")
            self._ended.set()
            return
        logger.info("stopping: finishing {} assets under way (again to stop now)", len(self._book))
        self._plans.stopping = True
        self._plans.stop_by_s = self._clock() + self._settings.pipeline.drain_timeout_s
        if self._plans.drain:
            self._drain(_HASTY)  # --once was only waiting for Immich to settle: the next run can do that
        self._observe(self._view())
        self._dispatch()

    def _handle_signals(self, cleanup: ExitStack) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
            cleanup.callback(loop.remove_signal_handler, number)
        for number, act in ((signal.SIGUSR1, pausing.pause), (signal.SIGUSR2, pausing.resume)):
            loop.add_signal_handler(number, self._pause_or_resume, act)
            cleanup.callback(loop.remove_signal_handler, number)

    def _pause_or_resume(self, act: Callable[[Path], bool]) -> None:
        try:
            act(self._settings.state_dir)
        except Fatal as error:
            logger.error("{}", error.message)

    def _handle_faults(self, cleanup: ExitStack) -> None:
        """Whatever breaks off a callback - the ledger cannot be read, no memory, a mistake of ours - ends the run:
        the books may be wrong from then on, and it would wait for ever for what they do not hold."""
        loop = asyncio.get_running_loop()

        def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
            error = context.get("exception")
            if isinstance(error, Exception) and "handle" in context:  # asyncio's name for a callback
                self._fail(error)
            else:
                loop.default_exception_handler(context)

        loop.set_exception_handler(handle)
        cleanup.callback(loop.set_exception_handler, None)

    # -- processes ----------------------------------------------------------------------------------------

    def _duty(self, role: str) -> Duty:
        if role == "writer":
            return duties.write, (self._spec.of_writer(self._lock),)
        if role == "fetcher":
            return duties.fetch, (self._spec.of_fetcher(), self._memory)
        return duties.infer, (self._spec.of_inferencer(), self._memory)

    def _lost(self, child: Child) -> bool:
        """Do again, or give up, what a dead child held. Returns whether it is to be replaced."""
        if self._plans.drained and child is self._crew.writer:
            self._ended.set()
        if self._ended.is_set():
            return False
        self._counts["restarts"] += 1
        for flight in [flight for flight in map(self._book.get, child.flights) if flight]:
            if self._book.crash(flight):
                message = f"{flight.work.file_name} ended its {child.role} twice ({child.exit_description})"
                self._record(flight, m.Trouble(m.Next.NEVER, "killed-worker", message))
        return True

    def _give_up(self, message: str) -> None:
        """Replacing does not help. Only where nothing ever worked is there no point in starting again later."""
        if self._device:
            self._fail(KeptCrashing(message))
        else:
            self._fail(StartupFailed(message, kind="crash-loop"))

    def _fail(self, error: Exception) -> None:
        self._plans.error = self._plans.error or error
        self._ended.set()

    # -- messages -----------------------------------------------------------------------------------------

    def _hear(self, child: Child, message: Any) -> None:  # noqa: C901 - a table of messages, not a maze
        match message:
            case m.Beat():
                return
            case m.Log(level, text):
                log_for(child.role, level, text)
                return
            case m.Counts(counts):
                self._counts.update(counts)
                return
            case m.Ready():
                self._ready(child, message)
            case m.Listed(assets):
                self._counts["listed"] += len(assets)
                self._crew.writer.send(message)
            case m.Noted():
                self._crew.fetcher.send(message)
            case m.Swept() | m.Polled():
                self._clockwork.done(message)
                self._list()
                self._crew.writer.send(message)
            case m.Fetched():
                self._fetched(child, message)
            case m.Scored(flight_id, packed):
                self._end_flight(child, flight_id, packed)
            case m.Failed(flight_id, trouble):
                self._end_flight(child, flight_id, trouble)
            case m.Recorded(asset_ids):
                self._crew.served(child)
                self._recorded(asset_ids)
            case m.Outage(text):
                self._outage(text)
                if child is self._crew.fetcher:
                    self._clockwork.failed()
                    self._list()
            case m.Refused():
                self._leave_account(child, message)
            case m.Ended(text, kind, exit_code):
                self._fail(_as_fatal(text, kind, exit_code))
            case m.Settled(request_id):
                self._mailbox.settle(request_id)
            case m.ErrandDone(result):
                self._plans.errand = result
            case m.Drained():
                self._plans.drained = message
                self._crew.writer.send(m.Finish(self._summary().as_dict()))
        self._dispatch()

    def _ready(self, child: Child, message: m.Ready) -> None:
        child.ready, child.capacity = True, message.capacity
        if message.device and message.device != self._device:
            self._device = message.device
            logger.info("inference runs on {}", message.device)
        if child is self._crew.writer:
            self._spec = replace(self._spec, run=message.run)
            self._writer_is_new()
        if child is self._crew.fetcher:
            self._clockwork.interrupted()
            self._list()

    def _writer_is_new(self) -> None:
        """What a dead writer had not recorded is done again; what it was told is told to the new one."""
        for flight in self._book:
            if flight.stage is Stage.RECORDING:
                self._book.drop(flight)
        self._work.forget_copies()
        self._mailbox.hand_out_again()
        self._held = False
        self._clockwork.interrupted()
        self._list()
        if self._plans.drain:
            self._crew.writer.send(self._plans.drain)

    def _fetched(self, child: Child, message: m.Fetched) -> None:
        child.flights.discard(message.flight)
        self._crew.served(child)
        if flight := self._book.get(message.flight):
            flight.stage, flight.length, flight.spilled = Stage.FETCHED, message.length, message.spilled

    def _end_flight(self, child: Child, flight_id: int, outcome: bytes | m.Trouble) -> None:
        child.flights.discard(flight_id)
        self._crew.served(child)
        flight = self._book.get(flight_id)
        if flight is None:
            return
        if isinstance(outcome, m.Trouble):
            if outcome.next in (m.Next.UNBLAMED, m.Next.PAUSED):
                self._book.drop(flight)
                if outcome.next is m.Next.UNBLAMED:
                    self._outage(outcome.message)
                return
            logger.info("{}: {}", flight.work.file_name, outcome.message)
        else:
            self._counts["inferred"] += 1
        self._record(flight, outcome)

    def _record(self, flight: Flight, outcome: bytes | m.Trouble) -> None:
        self._book.scored(flight)
        self._crew.writer.send(m.Record(flight.work.asset_id, outcome))

    def _recorded(self, asset_ids: tuple[str, ...]) -> None:
        self._work.recorded(asset_ids, [work for work in map(self._book.land, asset_ids) if work])

    def _leave_account(self, child: Child, message: m.Refused) -> None:
        """The key of one account is refused: the others go on, also in children that are started from now on."""
        left = tuple(account for account in self._spec.accounts if account.id != message.account)
        name = next((account.name for account in self._spec.accounts if account not in left), None)
        if name is None:
            return
        if not left:
            self._fail(_as_fatal(message.message, message.kind, message.exit_code))
            return
        logger.error(
            "account {}: {}; it is left alone until autotagger is started again, the other accounts go on",
            name,
            message.message,
        )
        self._refused[name] = message.message
        self._spec = replace(self._spec, accounts=left)
        self._work.without_account(message.account)
        (self._crew.fetcher if child is self._crew.writer else self._crew.writer).send(message)

    # -- the listing --------------------------------------------------------------------------------------

    def _list(self) -> None:
        """Have the fetcher list what is due, and the writer hold still while it must."""
        if not (self._crew.writer.ready and self._crew.fetcher.ready):
            return
        order = self._clockwork.next_order(self._ledger.next_sweep)
        if self._held != self._clockwork.holds:
            self._held = self._clockwork.holds
            self._crew.writer.send(m.Hold(on=self._held))
        if order:
            self._crew.fetcher.send(order)

    def _outage(self, text: str) -> None:
        if self._once:
            self._fail(
                ServerRefused(f"{text}; what is done is kept, run it again later", kind="immich-unreachable")
            )
            return
        self._plans.paused_until_s = self._clock() + OUTAGE_PAUSE_S

    # -- dispatch -----------------------------------------------------------------------------------------

    def _dispatch(self) -> None:
        """Start every flight that can start, give every fetched picture to a worker, drain when all is done."""
        if self._ended.is_set() or self._plans.drain:
            return
        while self._may_take_off() and (flight := self._next_flight()):
            self._plans.dispatched += 1
            self._crew.fetcher.flights.add(flight.id)
            assert flight.slot is not None
            self._crew.fetcher.send(m.Fetch(flight.id, flight.slot, flight.work))
        self._hand_to_workers()
        under_way = len(self._book) or self._work.copying
        if not under_way and (self._plans.stopping or self._once_done()):
            assert self._slots.free == self._slots.count, "a slot was lost"
            # After SIGTERM the writer only ends its batch; at the end of --once it applies and proves everything.
            complete = m.Drain(complete=True, settle_s=self._settings.verify.settle_timeout_s)
            self._drain(_HASTY if self._plans.stopping else complete)

    def _may_take_off(self) -> bool:
        return (
            not self._plans.stopping
            and not self._clockwork.resting
            and bool(self._crew.workers)
            and self._crew.writer.ready
            and self._crew.fetcher.has_room
            and self._slots.free > 0
            and self._book.count(Stage.RECORDING) + self._work.copying < MOST_RECORDING
            and self._clock() >= self._plans.paused_until_s
            and not self._book.flying_alone
            and not self._limit_reached()
        )

    def _next_flight(self) -> Flight | None:
        if self._book.suspects:
            # A suspect flies when the sky is empty, so that its worker's death says something.
            return None if len(self._book) else self._book.take_off(None, self._clock())
        work = self._work.next(self._limit_reached)
        return self._book.take_off(work, self._clock()) if work else None

    def _have_copied(self, asset_id: str) -> None:
        self._plans.dispatched += 1
        self._crew.writer.send(m.Copy(asset_id))

    def _twins_of(self, asset_ids: list[str]) -> Collection[str]:
        known = self._spec.model and self._ledger.model_id(self._spec.model.identity)
        return self._ledger.twin_scores(asset_ids, known) if known else ()

    def _due(self, limit: int) -> list[Work]:
        accounts = [account.id for account in self._spec.accounts]
        return self._ledger.due(wall_ms(), limit, accounts, begun=self._spec.errand is not None)

    def _hand_to_workers(self) -> None:
        for flight in self._book:
            if flight.stage is not Stage.FETCHED:
                continue
            ready = [
                worker for worker in self._crew.workers if worker.ready and len(worker.flights) < worker.capacity
            ]
            if not ready:
                return
            worker = min(ready, key=lambda worker: len(worker.flights))
            worker.flights.add(flight.id)
            flight.stage, flight.since_s = Stage.INFERRING, self._clock()
            assert flight.slot is not None
            worker.send(m.Infer(flight.id, flight.slot, flight.length, flight.spilled))

    def _once_done(self) -> bool:
        if not (self._once and self._clockwork.listed):
            return False
        if self._spec.errand and self._plans.errand is None:
            return False
        if not self._crew.workers:
            return True
        if self._limit_reached():
            return True
        idle = not self._book.suspects and self._clock() >= self._plans.paused_until_s
        return idle and not len(self._work) and not self._due(1)

    def _limit_reached(self) -> bool:
        return self._limit is not None and self._plans.dispatched >= self._limit

    def _drain(self, drain: m.Drain) -> None:
        self._plans.drain = drain
        self._crew.writer.send(drain)

    def _summary(self) -> Summary:
        household = len(self._spec.accounts) > 1 or self._refused
        return Summary(
            states=self._ledger.counts(),
            counts=dict(self._counts),
            failures=self._ledger.failures(),
            seconds=self._clock() - self._started_s,
            device=self._device,
            unsettled=self._plans.drained.unsettled if self._plans.drained else 0,
            accounts=self._ledger.account_counts() if household else {},
            refused=dict(self._refused),
            errand=self._plans.errand,
        )

    def _view(self) -> View:
        plans, model = self._plans, self._spec.model
        return View(
            summary=self._last_summary,
            processes=process_views(
                self._crew, self._book, self._clock(), film_s=self._settings.pipeline.hang_timeout_s
            ),
            flights={stage.name.lower(): self._book.count(stage) for stage in Stage},
            slots=self._slots.count,
            free_slots=self._slots.free,
            listing=not self._clockwork.listed,
            paused=self._clock() < plans.paused_until_s,
            rest=self._clockwork.rest,
            stopping=plans.stopping,
            model=model.name if model else "",
            model_identity=model.identity if model else "",
            server_version=str(self._spec.accounts[0].server.version),
        )


def _as_fatal(text: str, kind: str, exit_code: int) -> Fatal:
    error = Fatal(text, kind=kind)
    error.exit_code = exit_code
    return error
