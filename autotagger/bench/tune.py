"""The few topologies that make sense on a machine, each tried, the fastest written into the configuration."""

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from autotagger.bench.measure import bench_model, bench_settings
from autotagger.bench.pipeline import Whole, whole_pipeline
from autotagger.config import config_to_write
from autotagger.configfile import set_key
from autotagger.pipeline.child.apart import apart
from autotagger.settings import Settings
from autotagger.tagger.cores import allowed_cores, allowed_memory
from autotagger.tagger.engine.speed import bare_session
from autotagger.tagger.model import Model
from autotagger.topology import MODEL_COPIES, STREAM_BYTES, WORKER_BYTES, Topology

#: A topology that needs more memory or processes has to be faster by this to be chosen.
WORTH_IT = 1.03
#: Every candidate runs so often, for about so long.
ROUNDS, SECONDS = 2, 25.0


@dataclass(frozen=True, slots=True)
class Tuned:
    """`measured`: each topology with its pictures a second and peak memory in MB; `chosen` stands in `config`."""

    config: Path
    chosen: Topology
    measured: tuple[tuple[Topology, float, float], ...]

    def rows(self) -> list[dict[str, object]]:
        """A row a topology, for a table: pictures a second, peak memory in MB, and `yes` where it was chosen."""
        return [
            {
                "topology": describe(plan),
                "pictures_s": round(ips, 2),
                "peak_mb": round(peak_mb),
                "chosen": "yes" if plan == self.chosen else "",
            }
            for plan, ips, peak_mb in self.measured
        ]


def candidates(cores: int, memory_bytes: int, model_bytes: int) -> list[Topology]:
    """One process with a stream for each core, with a stream for two, with one for all; then two processes. Least
    memory comes last among equals, and what does not fit into half of the memory is left out."""
    plans = [
        Topology(1, streams, cores, cores) for streams in sorted({cores, max(1, cores // 2), 1}, reverse=True)
    ]
    if cores >= 2:
        half = cores // 2
        plans.append(Topology(2, half, half, half))

    def bytes_of(plan: Topology) -> float:
        return plan.workers * (WORKER_BYTES + MODEL_COPIES * model_bytes + plan.streams * STREAM_BYTES)

    fitting = [plan for plan in plans if bytes_of(plan) <= memory_bytes / 2]
    return fitting or [Topology(1, 1, cores, cores)]


def tune(settings: Settings, name: str, config: Path | None, *, tiny: bool, say: Callable[[str], None]) -> Tuned:
    """Try every candidate with the model `name`, and write the best into `config`, the user's own file where that
    is None. Raises BadConfig when that cannot be written, StartupFailed when the model does not run."""
    config = config_to_write(config, os.environ)
    model = bench_model(name, settings, tiny=tiny)
    plans = candidates(allowed_cores(), allowed_memory(), model.path.stat().st_size)
    measured = _try(settings, model, plans, tiny=tiny, say=say)
    chosen = best(measured)
    write_topology(config, chosen)
    return Tuned(config, chosen, tuple(measured))


def _try(
    settings: Settings, model: Model, plans: list[Topology], *, tiny: bool, say: Callable[[str], None]
) -> list[tuple[Topology, float, float]]:
    """Each plan with its pictures a second (the best of all rounds) and peak memory in MB; fastest first."""
    seconds = 1.0 if tiny else SECONDS
    speed = apart(
        bare_session,
        model,
        settings.model.device,
        streams=1,
        threads=allowed_cores(),
        seconds=seconds / 4,
    )
    pictures = max(24, min(2_000, round(speed.ips * seconds)))
    found: dict[Topology, list[Whole]] = {plan: [] for plan in plans}
    for number in range(ROUNDS):
        for plan in plans:
            say(f"tuning, round {number + 1} of {ROUNDS}: {describe(plan)}")
            with tempfile.TemporaryDirectory(prefix="autotagger-bench-") as folder:
                run = bench_settings(settings, model, Path(folder), plan)
                found[plan].append(whole_pipeline(run, pictures, tiny=tiny))
    measured = [
        (plan, max(one.ips for one in runs), max(sum(one.peak_mb.values()) for one in runs))
        for plan, runs in found.items()
    ]
    return sorted(measured, key=lambda entry: -entry[1])


def best(measured: list[tuple[Topology, float, float]]) -> Topology:
    """The one with the least memory among those that are as fast as the fastest, give or take `WORTH_IT`."""
    fastest = measured[0][1]
    return min((entry for entry in measured if entry[1] * WORTH_IT >= fastest), key=lambda entry: entry[2])[0]


def describe(plan: Topology) -> str:
    """`1 process, 2 streams on 2 threads`."""
    processes = "1 process" if plan.workers == 1 else f"{plan.workers} processes"
    return f"{processes}, {plan.streams} streams on {plan.threads} threads"


def write_topology(config: Path, plan: Topology) -> None:
    """Set the plan's keys in a TOML file, everything else left as it stands. Raises BadConfig."""
    for section, key, value in (
        ("model", "streams", plan.streams),
        ("model", "threads", plan.threads),
        ("pipeline", "workers", plan.workers),
        ("pipeline", "decoders", plan.decoders),
    ):
        set_key(config, section, key, value)
