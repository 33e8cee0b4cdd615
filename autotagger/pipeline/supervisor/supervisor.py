"""The supervisor: starts the processes, hears what they say, replaces what dies, and ends the run.

It touches neither Immich nor a picture. A signal or a message only changes what is known; `_dispatch` acts on it.
Which picture goes where is the dispatcher's business (dispatcher.py), what is listed when the listing's
(listing.py), and how a run ends the shutdown's (shutdown.py).
"""

import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from loguru import logger

from autotagger.errors import Fatal, KeptCrashing, ServerRefused, StartupFailed
from autotagger.ledger.database import DATABASE_ERRORS, LedgerLock, checkpoint, plainly
from autotagger.ledger.reader import LedgerReader
from autotagger.ledger.states import TO_DO, State
from autotagger.ledger.writer import LedgerWriter
from autotagger.log import log_for
from autotagger.pipeline.accounts import Accounts, expect_selections, registered
from autotagger.pipeline.child.spec import ChildSpec
from autotagger.pipeline.control.mailbox import Mailbox
from autotagger.pipeline.ipc import messages as m
from autotagger.pipeline.ipc.slots import SlotMemory
from autotagger.pipeline.supervisor import entry_points
from autotagger.pipeline.supervisor.dispatcher import Dispatcher
from autotagger.pipeline.supervisor.in_flight import Stage
from autotagger.pipeline.supervisor.processes import ChildProcess, EntryPoint, ProcessPool
from autotagger.pipeline.supervisor.schedule import Listing, Schedule
from autotagger.pipeline.supervisor.shutdown import Shutdown, heeding_faults, heeding_signals
from autotagger.pipeline.supervisor.status import Observe, RunStatus, process_statuses, unobserved
from autotagger.pipeline.supervisor.summary import Ending, Summary
from autotagger.settings import Settings
from autotagger.statedir import spill_folder
from autotagger.tagger.model import Model
from autotagger.topology import with_workers

#: What is left to do in these, before Immich is proven to hold what is meant.
UNDONE = frozenset({*TO_DO, State.APPLIED})
TICK_S = 0.5
REPORT_S = 2.0
#: One line in so many seconds says that a service waits for Immich.
TELL_OUTAGE_EVERY_S = 600.0


class Supervisor:
    """One run. `report` is called every `report_s` seconds with the run so far, for a progress display; `observe`
    at every turn of the loop and at once when the run is asked to stop.

    `operation`: only that is done, nothing new is listed or tagged; without a `model` nothing is inferred either.
    `scoring_only`: pictures are scored and nothing is changed in Immich.
    """

    def __init__(
        self,
        settings: Settings,
        accounts: Accounts,
        model: Model | None,
        *,
        once: bool,
        operation: m.Operation | None = None,
        scoring_only: bool = False,
        limit: int | None = None,
        report: Callable[[Summary], None] = lambda _: None,
        report_s: float = REPORT_S,
        observe: Observe = unobserved,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        settings = with_workers(settings, model) if model else settings
        self._settings = settings
        self._spec = ChildSpec(settings, accounts.accounts, model, operation=operation, scoring_only=scoring_only)
        self._refused = {name: error.message for name, error in accounts.refused.items()}
        self._once = once
        self._limit = limit
        self._report = report
        self._report_s = report_s
        self._observe = observe
        self._clock = clock
        self._started_s = clock()
        self._operation_result: dict[str, Any] | None = None
        self._schedule = Schedule(
            settings,
            once=once,
            sweeps=operation is None,
            heeds_pause=operation is None and not scoring_only,
            clock=clock,
        )
        self._looked_around = operation is not None
        self._counts: Counter[str] = Counter()
        self._device = ""
        self._tell_outage_s = float("-inf")
        self._mailbox = Mailbox(settings.state_dir)
        self._shutdown = Shutdown(settings, tell=lambda drain: self._processes.writer.send(drain), clock=clock)

    # -- life ---------------------------------------------------------------------------------------------

    async def run(self) -> Summary:
        """Run until drained or stopped. Raises Fatal when the run cannot go on."""
        pipeline = self._settings.pipeline
        with ExitStack() as cleanup:
            self._lock = LedgerLock(self._settings.ledger_path)
            cleanup.callback(self._lock.release)
            self._lock.acquire()
            cleanup.callback(checkpoint, self._settings.ledger_path)  # when nobody of ours has it open any more
            # The schema is brought up to date before anybody reads.
            with LedgerWriter(self._settings.ledger_path) as ledger:
                self._spec = replace(self._spec, accounts=registered(self._spec.accounts, ledger))
                if self._spec.operation is None:
                    expect_selections(self._settings, self._spec.accounts, ledger)
            self._ledger = cleanup.enter_context(LedgerReader(self._settings.ledger_path))
            spill_dir = spill_folder(self._settings.state_dir)
            self._memory = SlotMemory.create(pipeline.slots, pipeline.slot_bytes, spill_dir)
            cleanup.callback(self._memory.close)
            self._processes = ProcessPool(
                self._worker_count(),
                entry_point=self._entry_point,
                hear=self._hear,
                lost=self._lost,
                give_up=self._give_up,
                clock=self._clock,
            )
            cleanup.callback(self._processes.dismiss)
            self._dispatcher = Dispatcher(
                self._processes,
                self._ledger,
                self._spec,
                limit=self._limit,
                outage=self._outage,
                clock=self._clock,
            )
            self._listing = Listing(self._processes, self._schedule, self._ledger)
            self._last_summary = self._summary()
            cleanup.enter_context(heeding_signals(self.stop, self._settings.state_dir))
            cleanup.enter_context(heeding_faults(self._shutdown.fail))
            try:
                await self._turn()
                if self._shutdown.error:
                    raise self._shutdown.error
                return replace(self._summary(), ending=self._ending())
            except DATABASE_ERRORS as error:
                raise plainly(self._settings.ledger_path, error) from None

    async def _turn(self) -> None:
        next_report_s = 0.0
        while not self._shutdown.over:
            self._tick()
            if self._clock() >= next_report_s:
                self._last_summary = self._summary()
                self._report(self._last_summary)
                next_report_s = self._clock() + self._report_s
            self._observe(self._status())
            await self._shutdown.wait(TICK_S)

    def _worker_count(self) -> int:
        """Inference processes: as configured, none where nothing has to be inferred."""
        spec = self._spec
        if spec.model is None:
            return 0
        known = self._ledger.model_id(spec.model.identity)
        if spec.operation and known is not None and not self._ledger.needs_inference(known):
            return 0
        return max(1, self._settings.pipeline.workers)

    def _tick(self) -> None:
        """What time alone brings about."""
        self._processes.replace_hanging(self._dispatcher.silent_since, self._settings.pipeline.hang_timeout_s)
        self._schedule.tick()
        if self._schedule.ends and not self._shutdown.stopping:
            self.stop()
        self._listing.go_on()
        self._shutdown.tick()
        self._hand_out_requests()
        self._dispatch()

    def _hand_out_requests(self) -> None:
        """What other commands ask for, unless the end has begun: then the next run does it."""
        if self._processes.writer.ready and not self._shutdown.draining:
            for request in self._mailbox.fresh():
                self._processes.writer.send(m.Asked(request))

    def stop(self) -> None:
        """Ask for a graceful end: what is under way is finished; asked twice, now."""
        self._shutdown.ask(under_way=len(self._dispatcher.job_table))
        if not self._shutdown.over:
            self._observe(self._status())
            self._dispatch()

    # -- processes ----------------------------------------------------------------------------------------

    def _entry_point(self, role: str) -> EntryPoint:
        if role == "writer":
            return entry_points.write, (self._spec.of_writer(self._lock),)
        if role == "fetcher":
            return entry_points.fetch, (self._spec.of_fetcher(), self._memory)
        return entry_points.infer, (self._spec.of_inferencer(), self._memory)

    def _lost(self, child: ChildProcess) -> bool:
        """What a dead child held is done again. Returns whether it is to be replaced."""
        if self._shutdown.drained and child is self._processes.writer:
            self._shutdown.end()
        if self._shutdown.over:
            return False
        self._counts["restarts"] += 1
        self._dispatcher.lost(child)
        return True

    def _give_up(self, message: str) -> None:
        """Replacing does not help. Only where nothing ever worked is there no point in starting again later."""
        worked = bool(self._device)
        self._shutdown.fail(KeptCrashing(message) if worked else StartupFailed(message, kind="crash-loop"))

    # -- messages -----------------------------------------------------------------------------------------

    def _hear(self, child: ChildProcess, message: Any) -> None:  # noqa: C901 - a table of messages, not a maze
        match message:
            case m.Heartbeat():
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
                self._processes.writer.send(message)
            case m.Noted():
                self._processes.fetcher.send(message)
            case m.Swept() | m.Polled():
                self._counts["unreadable"] += message.unreadable
                self._listing.done(message)
                self._processes.writer.send(message)
            case m.Fetched():
                self._dispatcher.fetched(child, message)
            case m.Scored():
                self._dispatcher.scored(child, message)
            case m.Failed():
                self._dispatcher.failed(child, message)
            case m.Recorded(asset_ids):
                self._dispatcher.recorded(child, asset_ids)
            case m.Outage(text, unreachable):
                self._outage(text, unreachable=unreachable)
                if child is self._processes.fetcher:
                    self._listing.failed()
            case m.Refused():
                self._leave_account(child, message)
            case m.Ended(text, kind, exit_code):
                self._shutdown.fail(Fatal(text, kind=kind, exit_code=exit_code))
            case m.LookedAround():
                self._looked_around = True
            case m.Settled(request_id):
                self._mailbox.settle(request_id)
            case m.OperationDone(result):
                self._operation_result = result
            case m.Drained():
                self._shutdown.drained = message
                summary = replace(self._summary(), ending=self._ending())
                self._processes.writer.send(m.Finish(summary.as_dict()))
        self._dispatch()

    def _ready(self, child: ChildProcess, message: m.Ready) -> None:
        child.ready, child.capacity = True, message.capacity
        if message.device and message.device != self._device:
            self._device = message.device
            logger.info("inference runs on {}", message.device)
        if child is self._processes.writer:
            self._spec = replace(self._spec, run=message.run)
            self._writer_is_new()
        if child is self._processes.fetcher:
            self._listing.fetcher_is_new()

    def _writer_is_new(self) -> None:
        """What a dead writer had not recorded is done again; what it was told is told to the new one."""
        self._dispatcher.forget_unrecorded()
        self._mailbox.hand_out_again()
        self._looked_around |= self._schedule.listed  # the new one was told of no sweep
        self._listing.writer_is_new()
        if self._shutdown.draining:
            self._processes.writer.send(self._shutdown.draining)

    def _leave_account(self, child: ChildProcess, message: m.Refused) -> None:
        """The key of one account is refused: the others go on, also in children that are started from now on."""
        left = tuple(account for account in self._spec.accounts if account.id != message.account)
        name = next((account.name for account in self._spec.accounts if account not in left), None)
        if name is None:
            return
        if not left:
            self._shutdown.fail(Fatal(message.message, kind=message.kind, exit_code=message.exit_code))
            return
        logger.error(
            "account {}: {}; it is skipped until autotagger is restarted; the other accounts continue",
            name,
            message.message,
        )
        self._refused[name] = message.message
        self._spec = replace(self._spec, accounts=left)
        self._dispatcher.leave_account(message.account)
        (self._processes.fetcher if child is self._processes.writer else self._processes.writer).send(message)

    def _outage(self, text: str, *, unreachable: bool = True) -> None:
        """Immich is unreachable, or cannot be listed: a service waits for it, --once does not."""
        if self._once:
            text = f"{text}; what is done is kept, run it again later"
            self._shutdown.fail(ServerRefused(text, kind="immich-unreachable"))
            return
        if self._clock() >= self._tell_outage_s:
            self._tell_outage_s = self._clock() + TELL_OUTAGE_EVERY_S
            logger.warning("{}; what is done is kept, trying again", text)
        if unreachable:
            self._dispatcher.pause()

    # -- dispatch -----------------------------------------------------------------------------------------

    def _dispatch(self) -> None:
        """Have everything begin that can begin; drain when all is done."""
        if self._shutdown.over or self._shutdown.draining:
            return
        stopping = self._shutdown.stopping
        self._dispatcher.dispatch(begin=not stopping and not self._schedule.idle)
        if self._dispatcher.idle and (stopping or self._once_done()):
            self._shutdown.drain()

    def _once_done(self) -> bool:
        if not (self._once and self._schedule.listed and self._looked_around):
            return False
        if self._spec.operation and self._operation_result is None:
            return False
        return self._dispatcher.is_finished()

    # -- what is told of it -------------------------------------------------------------------------------

    def _summary(self) -> Summary:
        drained = self._shutdown.drained
        accounts = len(self._spec.accounts) > 1 or self._refused
        return Summary(
            states=self._ledger.counts(),
            counts={**self._counts, "inferred": self._dispatcher.inferred},
            failures=self._ledger.failures(),
            seconds=self._clock() - self._started_s,
            device=self._device,
            unsettled=drained.unsettled if drained else 0,
            accounts=self._ledger.account_counts() if accounts else {},
            refused=dict(self._refused),
            operation=self._operation_result,
            closed=self._ledger.closed_assets(),
            unmarked=self._ledger.unmarked(),
        )

    def _ending(self) -> Ending:
        stopping, paused = self._shutdown.stopping, self._schedule.ends
        return Ending(
            failed=self._ledger.failed_in(self._spec.run) if self._spec.run is not None else {},
            undone={} if self._spec.scoring_only else self._undone(),
            unreadable=self._counts["unreadable"],
            interrupted=stopping and not paused,
            paused=stopping and paused,
        )

    def _undone(self) -> dict[State, int]:
        """What this run was to do and has not done, of its own accounts. What Immich has no preview of yet is not
        among it: the next run looks again."""
        of_all = self._ledger.account_counts()
        mine = [of_all[account.name] for account in self._spec.accounts if account.name in of_all]
        states = UNDONE - ({State.PENDING} if self._spec.operation or self._limit is not None else set())
        left = {state: sum(counts[state] for counts in mine) for state in State if state in states}
        if self._spec.operation:  # others that are scored are none of its business
            left[State.SCORED] = self._ledger.scored_again() if self._spec.operation.kind == "retag" else 0
        return {state: count for state, count in left.items() if count}

    def _status(self) -> RunStatus:
        jobs, slots, model = self._dispatcher.job_table, self._dispatcher.slots, self._spec.model
        return RunStatus(
            summary=self._last_summary,
            processes=process_statuses(
                self._processes, jobs, self._clock(), video_s=self._settings.pipeline.hang_timeout_s
            ),
            jobs={stage.name.lower(): jobs.count(stage) for stage in Stage},
            slots=slots.count,
            free_slots=slots.free,
            listing=not self._schedule.listed,
            paused=self._dispatcher.paused,
            idle_reason=self._schedule.idle_reason,
            stopping=self._shutdown.stopping,
            model=model.name if model else "",
            model_identity=model.identity if model else "",
            server_version=str(self._spec.accounts[0].server.version),
        )
