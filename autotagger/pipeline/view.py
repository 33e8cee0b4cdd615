"""What can be seen of a run from outside, for health, metrics and the service manager."""

from collections.abc import Callable
from dataclasses import dataclass

from autotagger.pipeline.summary import Summary


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
    stopping: bool
    model: str
    model_identity: str
    server_version: str


Observe = Callable[[View], None]


def unobserved(_: View) -> None:
    """Nobody looks."""
