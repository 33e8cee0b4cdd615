"""The dispatcher: which picture starts, which worker gets it, and what becomes of a job whose part is done.

It keeps the table of jobs (in_flight.py). A message only changes the table; `dispatch` acts on it.
"""

from collections.abc import Callable

from loguru import logger

from autotagger.ledger.reader import LedgerReader
from autotagger.pipeline.child.spec import ChildSpec
from autotagger.pipeline.ipc import messages as m
from autotagger.pipeline.ipc.slots import SlotTable
from autotagger.pipeline.supervisor.in_flight import Job, JobTable, Stage
from autotagger.pipeline.supervisor.processes import ChildProcess, ProcessPool
from autotagger.pipeline.supervisor.work_queue import WorkList

#: Jobs that may wait for the ledger; beyond it nothing new starts until the writer has caught up.
MAX_RECORDING = 200
#: Pause of all starts after Immich was unreachable for the retry budget.
OUTAGE_PAUSE_S = 30.0


class Dispatcher:
    """The jobs of a run, between the ledger that says what is due and the processes that run them. `limit`: so
    many assets and no more; `outage` is called with a message when one ended because Immich is unreachable.

    `job_table` and `slots` are public for reading; `inferred`: pictures scored so far.
    """

    def __init__(
        self,
        processes: ProcessPool,
        ledger: LedgerReader,
        spec: ChildSpec,
        *,
        limit: int | None,
        outage: Callable[[str], None],
        clock: Callable[[], float],
    ) -> None:
        pipeline = spec.settings.pipeline
        self.slots = SlotTable(pipeline.slots)
        self.job_table = JobTable(self.slots)
        self.inferred = 0
        self._processes = processes
        self._work = WorkList(
            self.job_table,
            ledger,
            accounts=[account.id for account in spec.accounts],
            model=spec.model.identity if spec.model else None,
            begun=spec.operation is not None,
            copy=self._have_copied,
        )
        self._patience_s = pipeline.hang_timeout_s
        self._picture_s = min(pipeline.picture_timeout_s, pipeline.hang_timeout_s)
        self._limit = limit
        self._outage = outage
        self._clock = clock
        self._dispatched = 0
        self._paused_until_s = 0.0

    # -- handing out --------------------------------------------------------------------------------------

    def dispatch(self, *, begin: bool) -> None:
        """Start every job that can start, unless nothing new is to `begin`; give every fetched picture to a
        worker."""
        while begin and self._may_start() and (job := self._next_job()):
            self._dispatched += 1
            self._processes.fetcher.jobs.add(job.id)
            assert job.slot is not None
            self._processes.fetcher.send(m.Fetch(job.id, job.slot, job.work))
        self._hand_to_workers()

    def _may_start(self) -> bool:
        return (
            bool(self._processes.workers)
            and self._processes.writer.ready
            and self._processes.fetcher.has_room
            and self.slots.free > 0
            and self.job_table.count(Stage.RECORDING) + self._work.copying < MAX_RECORDING
            and not self.paused
            and not self.job_table.running_alone
            and not self._limit_reached()
        )

    def _next_job(self) -> Job | None:
        if self.job_table.suspects:
            # A suspect runs while nothing else does, so that its worker's death tells something.
            return None if len(self.job_table) else self.job_table.start(None, self._clock())
        work = self._work.next(self._limit_reached)
        return self.job_table.start(work, self._clock()) if work else None

    def _hand_to_workers(self) -> None:
        while job := self.job_table.first(Stage.FETCHED):
            ready = [
                worker for worker in self._processes.workers if worker.ready and len(worker.jobs) < worker.capacity
            ]
            if not ready:
                return
            worker = min(ready, key=lambda worker: len(worker.jobs))
            worker.jobs.add(job.id)
            self.job_table.given_to_worker(job, self._clock())
            assert job.slot is not None
            worker.send(m.Infer(job.id, job.slot, job.length, job.spilled))

    def _have_copied(self, asset_id: str) -> None:
        self._dispatched += 1
        self._processes.writer.send(m.Copy(asset_id))

    def _limit_reached(self) -> bool:
        return self._limit is not None and self._dispatched >= self._limit

    # -- taking back --------------------------------------------------------------------------------------

    def fetched(self, child: ChildProcess, message: m.Fetched) -> None:
        """The picture is in its slot and waits for a worker."""
        child.jobs.discard(message.job)
        self._processes.served(child)
        if job := self.job_table.get(message.job):
            self.job_table.fetched(job, message.length, spilled=message.spilled, now_s=self._clock())

    def scored(self, child: ChildProcess, message: m.Scored) -> None:
        """A worker is done with a picture: its scores go to the ledger."""
        if job := self._given_back(child, message.job):
            self.inferred += 1
            self._record(job, message.packed)

    def failed(self, child: ChildProcess, message: m.Failed) -> None:
        """A job ended in trouble. The ledger hears of it, unless the asset has no part in it."""
        job, trouble = self._given_back(child, message.job), message.trouble
        if job is None:
            return
        if trouble.next in (m.Next.UNBLAMED, m.Next.PAUSED):
            self.job_table.drop(job)
            if trouble.next is m.Next.UNBLAMED:
                self._outage(trouble.message)
            return
        logger.info("{}: {}", job.work.file_name, trouble.message)
        self._record(job, trouble)

    def recorded(self, child: ChildProcess, asset_ids: tuple[str, ...]) -> None:
        """The ledger has these assets: their jobs are over."""
        self._processes.served(child)
        self._work.recorded(asset_ids, [work for work in map(self.job_table.finish, asset_ids) if work])

    def lost(self, child: ChildProcess) -> None:
        """Do again, or give up, what a dead child held."""
        for job in [job for job in map(self.job_table.get, child.jobs) if job]:
            if self.job_table.crash(job):
                message = f"{job.work.file_name} ended its {child.role} twice ({child.exit_description})"
                self._record(job, m.Trouble(m.Next.NEVER, "killed-worker", message))

    def forget_unrecorded(self) -> None:
        """The writer is a new one: what a dead one had not recorded is done again."""
        while job := self.job_table.first(Stage.RECORDING):
            self.job_table.drop(job)
        self._work.forget_copies()

    def _given_back(self, child: ChildProcess, job_id: int) -> Job | None:
        child.jobs.discard(job_id)
        self._processes.served(child)
        return self.job_table.get(job_id)

    def _record(self, job: Job, outcome: bytes | m.Trouble) -> None:
        self.job_table.scored(job, self._clock())
        self._processes.writer.send(m.Record(job.work.asset_id, outcome))

    # -- what is left -------------------------------------------------------------------------------------

    @property
    def idle(self) -> bool:
        """Whether nothing is under way."""
        if len(self.job_table) or self._work.copying:
            return False
        assert self.slots.free == self.slots.count, "a slot was lost"
        return True

    def is_finished(self) -> bool:
        """Whether nothing is left to start, now or soon. Asks the ledger."""
        if not self._processes.workers or self._limit_reached():
            return True
        return not self.job_table.suspects and not self.paused and self._work.is_done()

    @property
    def paused(self) -> bool:
        """Whether nothing starts because Immich was unreachable."""
        return self._clock() < self._paused_until_s

    def pause(self) -> None:
        """Immich is unreachable: nothing starts for a while."""
        self._paused_until_s = self._clock() + OUTAGE_PAUSE_S

    def leave_account(self, account: int) -> None:
        """Nothing more starts for this account."""
        self._work.leave_account(account)

    def silent_since(self, child: ChildProcess) -> float:
        """Since when, on our clock, a child is silent or owes us a picture: a worker's other threads go on saying
        that it lives. A picture is owed for `picture_timeout_s` when that lies `hang_timeout_s` back."""
        # A video is many pictures: each that the child has, or queues behind, earns it the whole patience again.
        patience_s = self.job_table.videos(child.jobs) * self._patience_s + self._picture_s - self._patience_s
        owed_s = self.job_table.inferring_since(child.jobs)
        return min([child.heard_s, *(since_s + patience_s for since_s in owed_s)])
