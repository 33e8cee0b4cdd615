"""The table of jobs: which asset is where, in which slot, and who is suspected of killing workers."""

from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum, auto

from autotagger.ledger.rows import Work
from autotagger.pipeline.ipc.slots import SlotTable

#: Deaths of its worker, each time alone in the whole pipeline, after which an asset is set aside. The first
#: death in company only makes a suspect, so that an innocent asset (kill -9, out of memory) is not convicted.
MAX_DEATHS_ALONE = 2


class Stage(Enum):
    FETCHING = auto()
    FETCHED = auto()
    INFERRING = auto()
    RECORDING = auto()


@dataclass(slots=True)
class Job:
    """One asset on its way through the pipeline. `slot` is None once it is given back; `since_s`: when its stage
    began."""

    id: int
    work: Work
    slot: int | None
    alone: bool
    stage: Stage = Stage.FETCHING
    length: int = 0
    spilled: bool = False
    since_s: float = 0.0


class JobTable:
    """Every job from its start to the ledger. An asset is in at most one job."""

    def __init__(self, slots: SlotTable) -> None:
        self._slots = slots
        self._jobs: dict[int, Job] = {}
        # Asked for at every message: never by a look through all jobs.
        self._by_stage: dict[Stage, dict[int, Job]] = {stage: {} for stage in Stage}
        self._by_asset: dict[str, int] = {}
        self._checksums: Counter[str] = Counter()
        self._next_id = 1
        self._deaths_alone: Counter[str] = Counter()
        self._suspects: deque[Work] = deque()

    def __len__(self) -> int:
        return len(self._jobs)

    def __iter__(self) -> Iterator[Job]:
        return iter(list(self._jobs.values()))

    def __contains__(self, asset_id: object) -> bool:
        return asset_id in self._by_asset

    @property
    def suspects(self) -> bool:
        """Whether assets wait to run alone."""
        return bool(self._suspects)

    @property
    def running_alone(self) -> bool:
        return any(job.alone for job in self._jobs.values())

    def count(self, stage: Stage) -> int:
        return len(self._by_stage[stage])

    def first(self, stage: Stage) -> Job | None:
        """The job that reached this stage first of those still in it."""
        return next(iter(self._by_stage[stage].values()), None)

    def holds_twin_of(self, work: Work) -> bool:
        """Whether a picture that may be identical is on its way: what becomes of it will do for both."""
        return bool(work.checksum) and self._checksums[work.checksum] > 0

    def inferring_since(self, job_ids: Iterable[int]) -> list[float]:
        """When each of these pictures that a worker has not given back was given to it."""
        jobs = [job for job in map(self.get, job_ids) if job]
        return [job.since_s for job in jobs if job.stage is Stage.INFERRING]

    def videos(self, job_ids: Iterable[int]) -> int:
        """How many of these jobs are no single picture."""
        return sum(job.work.kind != "IMAGE" for job in map(self.get, job_ids) if job)

    def start(self, work: Work | None, now_s: float) -> Job:
        """Start a job; `work` None takes the next suspect, alone."""
        alone = work is None
        work = work or self._suspects.popleft()
        job = Job(self._next_id, work, self._slots.take(), alone, since_s=now_s)
        self._next_id += 1
        self._jobs[job.id] = job
        self._by_stage[job.stage][job.id] = job
        self._by_asset[work.asset_id] = job.id
        self._checksums[work.checksum] += 1
        return job

    def get(self, job_id: int) -> Job | None:
        """The job, or None when it was lost meanwhile with a process that has died."""
        return self._jobs.get(job_id)

    def fetched(self, job: Job, length: int, *, spilled: bool, now_s: float) -> None:
        """`length` bytes of the picture are in its slot, or `spilled` into a file."""
        job.length, job.spilled = length, spilled
        self._move(job, Stage.FETCHED, now_s)

    def given_to_worker(self, job: Job, now_s: float) -> None:
        self._move(job, Stage.INFERRING, now_s)

    def scored(self, job: Job, now_s: float) -> None:
        """The picture is not needed any more; the job waits for the ledger."""
        self._move(job, Stage.RECORDING, now_s)
        self._give_back(job)

    def finish(self, asset_id: str) -> Work | None:
        """The ledger has it. Returns the work that this ends, None for an asset that is in no job."""
        job_id = self._by_asset.get(asset_id)
        if job_id is None:
            return None
        job = self._jobs[job_id]
        self.drop(job)
        self._deaths_alone.pop(asset_id, None)
        return job.work

    def drop(self, job: Job) -> None:
        """Forget a job that did not finish: its asset is as it was before."""
        if self._jobs.pop(job.id, None):
            del self._by_stage[job.stage][job.id]
            self._by_asset.pop(job.work.asset_id, None)
            self._checksums[job.work.checksum] -= 1
        self._give_back(job)

    def crash(self, job: Job) -> bool:
        """The process that held the job died. Returns whether the asset is convicted of it; otherwise the
        job is dropped and the asset runs again, alone."""
        if job.alone:
            self._deaths_alone[job.work.asset_id] += 1
            if self._deaths_alone[job.work.asset_id] >= MAX_DEATHS_ALONE:
                return True
        self.drop(job)
        self._suspects.append(job.work)
        return False

    def _move(self, job: Job, stage: Stage, now_s: float) -> None:
        if job.id in self._jobs:
            del self._by_stage[job.stage][job.id]
            self._by_stage[stage][job.id] = job
        job.stage, job.since_s = stage, now_s

    def _give_back(self, job: Job) -> None:
        if job.slot is not None:
            self._slots.give_back(job.slot)
            job.slot = None
