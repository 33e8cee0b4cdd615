"""A run that is watched while it is in full swing.

This is what the watched process itself loads: not the stand-in, nor the rest of the bench, so that the supervisor
weighs what it weighs in `autotagger run`.
"""

import asyncio
import os
import statistics
import time
from collections import Counter
from dataclasses import dataclass, field

from autotagger.bench.processes import Usage, usages
from autotagger.log import setup_logging
from autotagger.pipeline.run import run_pipeline
from autotagger.pipeline.supervisor.summary import Summary
from autotagger.settings import Settings

#: Looks at the run; CPU time and memory are read at every second one. Both are work of the supervisor: a look has
#: it count the ledger, as a report does every two seconds; what reading costs is taken off its time again.
LOOK_S, USAGE_EVERY = 1.0, 2
#: The first share of the pictures is not measured: caches fill, threads start.
WARM_UP = 0.1
#: Thread names of an inferencer (pipeline/inferencer.py) whose time is a stage of its own; the others are the
#: runtime's, or wait in the runtime: inference.
_STAGES = {"decode": "decode", "main": "inferencer", "heartbeat": "inferencer"}


def watched_run(settings: Settings, server_pid: int) -> tuple["Watch", Summary]:
    """A run to its end, in this process: to be run `apart`."""
    setup_logging("WARNING")
    watch = Watch(os.getpid(), server_pid)
    return watch, asyncio.run(run_pipeline(settings, once=True, report=watch.look, report_s=LOOK_S))


@dataclass
class _Look:
    """`watching_s`: CPU time that this and earlier looks themselves took."""

    at_s: float
    inferred: int
    usages: list[Usage]
    watching_s: float


@dataclass
class Watch:
    """Looks at a run of process `pid`, one after the other."""

    pid: int
    server_pid: int
    looks: list[_Look] = field(default_factory=list)
    watching_s: float = 0.0

    def look(self, summary: Summary) -> None:
        """Note how far the run is, and at times what its processes have used."""
        began_s = time.thread_time()
        inferred = summary.counts.get("inferred", 0)
        counted = len(self.looks) % USAGE_EVERY == 0
        found = [*usages(self.pid), *usages(self.server_pid)] if counted else []
        self.watching_s += time.thread_time() - began_s
        self.looks.append(_Look(time.monotonic(), inferred, found, self.watching_s))

    def window(self, pictures: int) -> tuple[_Look, _Look]:
        """The first and the last look with usages while the pipeline was full."""
        inside = [look for look in self._full(pictures) if look.usages]
        if len(inside) < 2:  # too short a run to say more than its average
            inside = [look for look in self.looks if look.usages]
        return inside[0], inside[-1]

    def speed(self, pictures: int) -> float:
        """Pictures a second: the slope of the line through the looks."""
        looks = self._full(pictures)
        if len(looks) < 3:
            looks = [look for look in self.looks if look.inferred]
        if len(looks) < 2:
            return 0.0
        line = statistics.linear_regression([look.at_s for look in looks], [look.inferred for look in looks])
        return float(line.slope)

    def cpu_ms(self, begin: _Look, end: _Look) -> dict[str, float]:
        spent = self._cpu_s(end)
        spent.subtract(self._cpu_s(begin))
        spent["supervisor"] -= end.watching_s - begin.watching_s  # type: ignore[assignment]
        inferred = max(1, end.inferred - begin.inferred)
        return {stage: round(seconds * 1000 / inferred, 3) for stage, seconds in sorted(spent.items())}

    def peak_mb(self) -> dict[str, float]:
        """Most resident memory of each of our processes; equal roles are added up."""
        last: dict[int, Usage] = {}
        for look in self.looks:
            last.update({usage.pid: usage for usage in look.usages if usage.pid != self.server_pid})
        peaks: Counter[str] = Counter()
        for usage in last.values():
            peaks[self._stage(usage)] += usage.peak_mb  # type: ignore[assignment]
        return {role: round(peak, 1) for role, peak in sorted(peaks.items())}

    def held_mb(self) -> float:
        """The most memory that our processes held together at one look, in equal shares where they share it."""
        held = (sum(usage.held_mb for usage in look.usages if usage.pid != self.server_pid) for look in self.looks)
        return round(max(held, default=0.0), 1)

    def _full(self, pictures: int) -> list[_Look]:
        return [look for look in self.looks if pictures * WARM_UP <= look.inferred < pictures * 0.98]

    def _cpu_s(self, look: _Look) -> Counter[str]:
        spent: Counter[str] = Counter()
        for usage in look.usages:
            stage = self._stage(usage)
            for thread, seconds in usage.cpu_s.items():
                name = _STAGES.get(thread, "inference") if stage == "inferencer" else stage
                spent[name] += seconds  # type: ignore[assignment]
        return spent

    def _stage(self, usage: Usage) -> str:
        if usage.pid == self.server_pid:
            return "stand_in"
        if usage.pid == self.pid:
            return "supervisor"
        role = usage.role.removeprefix("autotag-")
        return "inferencer" if role.startswith("infer") else role if role in ("fetcher", "writer") else "other"
