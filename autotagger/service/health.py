"""Whether a run is live, and whether it is ready to work."""

from dataclasses import dataclass

from autotagger.pipeline.child.base import HEARTBEAT_S
from autotagger.pipeline.supervisor.status import RunStatus
from autotagger.pipeline.supervisor.summary import UNMARKED, Summary

#: Seconds of silence after which a process counts as hanging: fifteen heartbeats, so that a machine under full
#: load is not taken for a dead one. The supervisor replaces it after `pipeline.hang_timeout_s`.
SILENCE_S = 30.0
#: Never less than this many heartbeats, however short systemd's watchdog is.
MIN_HEARTBEATS = 3
#: Seconds in which a worker that holds pictures ends none. A large model on a slow machine takes its time.
STALL_S = 120.0


@dataclass(frozen=True, slots=True)
class Health:
    """`live`: every process answers and makes progress; if not, a restart may help. `ready`: in addition, the
    model is loaded and Immich answers. `reasons`: why not. `warnings`: what no restart mends, and a person has to
    look at."""

    live: bool
    ready: bool
    reasons: tuple[str, ...]
    warnings: tuple[str, ...] = ()

    @property
    def healthy(self) -> bool:
        return self.live and self.ready


def patience_s(watchdog_s: float | None) -> float:
    """Silence that is tolerated where systemd's watchdog is set to `watchdog_s`."""
    return max(MIN_HEARTBEATS * HEARTBEAT_S, min(SILENCE_S, watchdog_s / 2 if watchdog_s else SILENCE_S))


def examine(status: RunStatus | None, *, reachable: bool, patience_s: float) -> Health:
    """`status` None: the run is still looking for Immich and its model. `reachable`: Immich answers."""
    if status is None:
        return Health(live=True, ready=False, reasons=("starting: connecting to Immich and loading the model",))
    hanging = [
        f"{process.name} (process {process.pid}) has sent no heartbeat for {process.silent_s:.0f} s"
        for process in status.processes
        if process.silent_s > patience_s
    ]
    hanging += [
        f"{process.name} (process {process.pid}) has finished no picture for {process.stalled_s:.0f} s"
        for process in status.processes
        if process.silent_s <= patience_s and process.stalled_s > STALL_S
    ]
    starting = [f"{process.name} is starting" for process in status.processes if not process.ready]
    waiting = [] if reachable else ["Immich does not answer"]
    if status.stopping:
        waiting.append("stopping")
    reasons = (*hanging, *starting, *waiting)
    return Health(live=not hanging, ready=not reasons, reasons=reasons, warnings=_warnings(status.summary))


def _warnings(summary: Summary) -> tuple[str, ...]:
    if not summary.lost_many:
        return ()
    return (UNMARKED.format(summary.unmarked),)
