"""What the whole pipeline does: a run against the stand-in, watched while it is in full swing."""

import asyncio
import os
import time
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from autotagger.bench.apart import apart
from autotagger.bench.processes import Usage, usages
from autotagger.bench.server import served
from autotagger.errors import StartupFailed
from autotagger.ledger.states import State
from autotagger.log import setup_logging
from autotagger.pipeline.run import run_pipeline
from autotagger.pipeline.summary import Summary
from autotagger.settings import Settings

#: Looks at the run; CPU time and memory are read at every fourth, as that costs a few milliseconds.
LOOK_S, USAGE_EVERY = 0.5, 4
#: The first share of the pictures is not measured: caches fill, threads start.
WARM_UP = 0.1
#: Thread names of an inferencer (pipeline/inferencer.py) whose time is a stage of its own; the others are the
#: runtime's, or wait in the runtime: inference.
_STAGES = {"decode": "decode", "main": "inferencer", "beat": "inferencer"}


@dataclass(frozen=True, slots=True)
class Whole:
    """A run in figures. `cpu_ms`: CPU time of a picture by stage; `peak_mb`: most resident memory by process;
    `first_tag_s`: from the start of the command's work to the first tag call at the server; `seconds`: all of it,
    proof included. `inferred` and `verified` are assets."""

    ips: float
    cpu_ms: dict[str, float]
    peak_mb: dict[str, float]
    first_tag_s: float
    seconds: float
    inferred: int
    verified: int

    @property
    def overhead(self) -> float:
        """Share of autotagger's CPU time that is neither inference nor decoding. The stand-in's is not ours."""
        own = {stage: ms for stage, ms in self.cpu_ms.items() if stage != "stand_in"}
        work = own.get("inference", 0.0) + own.get("decode", 0.0)
        return 1.0 - work / total if (total := sum(own.values())) else 0.0


def whole_pipeline(settings: Settings, pictures: int, *, tiny: bool = False) -> Whole:
    """Tag `pictures` previews in a stand-in Immich with an empty ledger in `settings.state_dir`."""
    with served(pictures, tiny=tiny) as server:
        immich = {"base_url": server.url, "api_key": server.api_key}
        there = settings.model_copy(update={"immich": settings.immich.model_validate(immich)})
        started_s = time.monotonic()
        watch, summary = apart(_run, there, server.pid)
        first_tag_s = server.first_tag_s()
    if first_tag_s is None or not summary.counts.get("inferred"):
        raise StartupFailed(f"the pipeline tagged nothing: {summary.failures}", kind="bench")
    begin, end = watch.window(pictures)
    return Whole(
        ips=watch.speed(pictures),
        cpu_ms=watch.cpu_ms(begin, end),
        peak_mb=watch.peak_mb(),
        first_tag_s=first_tag_s - started_s,
        seconds=summary.seconds,
        inferred=summary.counts["inferred"],
        verified=summary.states[State.VERIFIED],
    )


def _run(settings: Settings, server_pid: int) -> tuple["Watch", Summary]:
    setup_logging("WARNING")
    watch = Watch(os.getpid(), server_pid)
    return watch, asyncio.run(run_pipeline(settings, once=True, report=watch.look, report_s=LOOK_S))


@dataclass
class _Look:
    at_s: float
    inferred: int
    usages: list[Usage]


@dataclass
class Watch:
    """Looks at a run of process `pid`, one after the other."""

    pid: int
    server_pid: int
    looks: list[_Look] = field(default_factory=list)

    def look(self, summary: Summary) -> None:
        inferred = summary.counts.get("inferred", 0)
        counted = len(self.looks) % USAGE_EVERY == 0
        found = [*usages(self.pid), *usages(self.server_pid)] if counted else []
        self.looks.append(_Look(time.monotonic(), inferred, found))

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
        return float(np.polyfit([look.at_s for look in looks], [look.inferred for look in looks], 1)[0])

    def cpu_ms(self, begin: _Look, end: _Look) -> dict[str, float]:
        spent = self._cpu_s(end)
        spent.subtract(self._cpu_s(begin))
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
