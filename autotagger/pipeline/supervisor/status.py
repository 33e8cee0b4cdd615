"""What can be seen of a run from outside, for health, metrics and the service manager."""

from collections.abc import Callable
from dataclasses import dataclass

from autotagger.pipeline.supervisor.in_flight import FlightBook
from autotagger.pipeline.supervisor.processes import Crew
from autotagger.pipeline.supervisor.summary import Summary


@dataclass(frozen=True, slots=True)
class ProcessView:
    """A child process. `silent_s`: since it last spoke; `stalled_s`: since it owes pictures and ends none."""

    name: str  # writer, fetcher, inferencer 1 ...
    pid: int
    ready: bool
    silent_s: float
    stalled_s: float


@dataclass(frozen=True, slots=True)
class View:
    """The run at one moment. `summary` can be a few seconds older: it asks the ledger."""

    summary: Summary
    processes: tuple[ProcessView, ...]
    flights: dict[str, int]  # by stage: fetching, fetched, inferring, recording
    slots: int
    free_slots: int
    listing: bool
    paused: bool  # after an outage of Immich
    rest: str  # why nothing new is begun: a person's pause, or the hours; empty while it works
    stopping: bool
    model: str
    model_identity: str
    server_version: str


def process_views(crew: Crew, book: FlightBook, now_s: float, *, film_s: float) -> tuple[ProcessView, ...]:
    """Every child process as it is at `now_s`, on the clock of the supervisor. `film_s`: how much longer than a
    picture each film may take that a worker holds."""
    views = []
    for name, child in crew.named():
        owed_s = book.inferring_since(child.flights)
        since_s = max(child.served_s, min(owed_s, default=now_s)) + film_s * book.films(child.flights)
        stalled_s = max(0.0, now_s - since_s) if owed_s else 0.0
        views.append(ProcessView(name, child.pid, child.ready, now_s - child.heard_s, stalled_s))
    return tuple(views)


Observe = Callable[[View], None]


def unobserved(_: View) -> None:
    """Nobody looks."""
