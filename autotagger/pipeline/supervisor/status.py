"""What can be seen of a run from outside, for health, metrics and the service manager."""

from collections.abc import Callable
from dataclasses import dataclass

from autotagger.pipeline.supervisor.in_flight import JobTable
from autotagger.pipeline.supervisor.processes import ProcessPool
from autotagger.pipeline.supervisor.summary import Summary


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """A child process. `silent_s`: since it last spoke; `stalled_s`: since it owes pictures and ends none."""

    name: str  # writer, fetcher, inferencer 1 ...
    pid: int
    ready: bool
    silent_s: float
    stalled_s: float


@dataclass(frozen=True, slots=True)
class RunStatus:
    """The run at one moment. `summary` can be a few seconds older: it asks the ledger."""

    summary: Summary
    processes: tuple[ProcessStatus, ...]
    jobs: dict[str, int]  # by stage: fetching, fetched, inferring, recording
    slots: int
    free_slots: int
    listing: bool
    paused: bool  # after an outage of Immich
    idle_reason: str  # why nothing new is begun: a person's pause, or the hours; empty while it works
    stopping: bool
    model: str
    model_identity: str
    server_version: str


def process_statuses(
    processes: ProcessPool, jobs: JobTable, now_s: float, *, video_s: float
) -> tuple[ProcessStatus, ...]:
    """Every child process as it is at `now_s`, on the clock of the supervisor. `video_s`: how much longer than a
    picture each video may take that a worker holds."""
    statuses = []
    for name, child in processes.named():
        owed_s = jobs.inferring_since(child.jobs)
        since_s = max(child.served_s, min(owed_s, default=now_s)) + video_s * jobs.videos(child.jobs)
        stalled_s = max(0.0, now_s - since_s) if owed_s else 0.0
        statuses.append(ProcessStatus(name, child.pid, child.ready, now_s - child.heard_s, stalled_s))
    return tuple(statuses)


Observe = Callable[[RunStatus], None]


def unobserved(_: RunStatus) -> None:
    """Nobody looks."""
