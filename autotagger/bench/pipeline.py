"""What the whole pipeline does: a run against the stand-in, in numbers."""

import time
from dataclasses import dataclass

from autotagger.bench.server import Served, served
from autotagger.bench.watch import watched_run
from autotagger.errors import StartupFailed
from autotagger.ledger.states import State
from autotagger.pipeline.child.apart import apart
from autotagger.settings import Settings


@dataclass(frozen=True, slots=True)
class Whole:
    """A run in numbers. `cpu_ms`: CPU time of a picture by stage; `peak_mb`: most resident memory by process, each
    at its own time and with all that it shares; `held_mb`: what all of them held at most at one time, each page
    counted once; `first_tag_s`: from the start of the command's work to the first tag call at the server;
    `seconds`: all of it, proof included. `inferred` and `verified` are assets."""

    ips: float
    cpu_ms: dict[str, float]
    peak_mb: dict[str, float]
    held_mb: float
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
        return run_against(server, settings_for(server, settings), pictures)


def settings_for(server: Served, settings: Settings) -> Settings:
    """The settings, for that server."""
    immich = {"base_url": server.url, "api_key": server.api_key}
    return settings.model_copy(update={"immich": settings.immich.model_validate(immich)})


def run_against(server: Served, settings: Settings, pictures: int) -> Whole:
    """A first run, to its end, over the `pictures` of a server. Raises StartupFailed when it tags nothing."""
    started_s = time.monotonic()
    watch, summary = apart(watched_run, settings, server.pid)
    first_tag_s = server.first_tag_s()
    if first_tag_s is None or not summary.counts.get("inferred"):
        raise StartupFailed(f"the pipeline tagged nothing: {summary.failures}", kind="bench")
    begin, end = watch.window(pictures)
    return Whole(
        ips=watch.speed(pictures),
        cpu_ms=watch.cpu_ms(begin, end),
        peak_mb=watch.peak_mb(),
        held_mb=watch.held_mb(),
        first_tag_s=first_tag_s - started_s,
        seconds=summary.seconds,
        inferred=summary.counts["inferred"],
        verified=summary.states[State.VERIFIED],
    )
