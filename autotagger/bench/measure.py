"""One interleaved run of all measurements, in rounds: what else the machine does weighs on all of them alike."""

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from autotagger.bench.decoding import decode_speed
from autotagger.bench.openvino import benchmark_app_ips, find_benchmark_app
from autotagger.bench.pipeline import Whole, whole_pipeline
from autotagger.bench.report import ASSUMED_LIBRARY, Machine, Report, Round
from autotagger.bench.workload import INSTANT, NAMES, workload
from autotagger.ledger.reader import LedgerReader
from autotagger.pipeline.child.apart import apart
from autotagger.settings import Settings
from autotagger.tagger.catalog import find_model
from autotagger.tagger.cores import allowed_cores, allowed_memory
from autotagger.tagger.engine.speed import Bare, bare_session
from autotagger.tagger.model import Model
from autotagger.topology import Topology, topology_for

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Effort:
    """How long it takes. `seconds`: of each measurement of a speed; `most`: pictures of a run of the pipeline."""

    rounds: int
    seconds: float
    most: int


THOROUGH = Effort(rounds=3, seconds=20.0, most=3_000)
BRIEF = Effort(rounds=1, seconds=1.0, most=120)


def measure(settings: Settings, name: str, effort: Effort, *, tiny: bool, say: Say) -> Report:
    """Measure the model `name` (a workload, a catalogue name or a folder) with the settings of the user.

    `say` is told what is done. Raises StartupFailed when a model cannot be made or does not run.
    """
    model = bench_model(name, settings, tiny=tiny)
    instant = bench_model(INSTANT, settings, tiny=tiny)
    cores = allowed_cores()
    machine = Machine(_processor(), cores, allowed_memory() / 1e6, round(os.getloadavg()[0], 2))
    plan = topology_for(settings, model, on_cpu=settings.model.device in ("auto", "CPU"))
    app = find_benchmark_app()
    rounds = []
    for number in range(1, effort.rounds + 1):
        place = f"round {number} of {effort.rounds}: "
        say(f"{place}the bare session")
        before = _bare(settings, model, plan, effort)
        ceiling = None
        if app and before.device == "CPU":
            say(f"{place}benchmark_app")
            ceiling = benchmark_app_ips(
                app, model.path, model.manifest.input.shape, streams=plan.streams, threads=plan.threads,
                seconds=effort.seconds,
            )  # fmt: skip
        say(f"{place}the whole pipeline")
        whole = _whole(settings, model, before.ips, effort, tiny=tiny)
        say(f"{place}the bare session once more")  # a machine that gets slower or faster weighs on both alike
        bare = before.mean(_bare(settings, model, plan, effort))
        say(f"{place}decoding alone")
        decode_ips = apart(
            decode_speed,
            model.manifest.input,
            settings.model.decoding,
            cores,
            seconds=effort.seconds / 2,
            tiny=tiny,
        )
        say(f"{place}the pipeline with the instant model")
        quick = whole if name == INSTANT else _whole(settings, instant, decode_ips, effort, tiny=tiny)
        rounds.append(Round(bare, whole, quick, decode_ips, ceiling))
    known = _library(settings)
    return Report(
        name, machine, plan, settings.model.decoding, rounds, known or ASSUMED_LIBRARY, known is not None
    )


def bench_model(name: str, settings: Settings, *, tiny: bool) -> Model:
    """A workload model (made below the state folder), or whatever else the name or folder means."""
    place = str(workload(name, settings.state_dir / "bench", tiny=tiny)) if name in NAMES else name
    return find_model(place, settings.models_dir, download=True)


def _bare(settings: Settings, model: Model, plan: Topology, effort: Effort) -> Bare:
    return apart(
        bare_session,
        model,
        settings.model.device,
        streams=plan.streams * plan.workers,
        threads=plan.threads * plan.workers,
        seconds=effort.seconds / 2,
    )


def _whole(settings: Settings, model: Model, ips: float, effort: Effort, *, tiny: bool) -> Whole:
    """A run of about twice `effort.seconds`: a good part of it is for the beginning and the end."""
    pictures = max(24, min(effort.most, round(ips * effort.seconds * 2)))
    with tempfile.TemporaryDirectory(prefix="autotagger-bench-") as folder:
        return whole_pipeline(bench_settings(settings, model, Path(folder)), pictures, tiny=tiny)


def bench_settings(settings: Settings, model: Model, folder: Path, plan: Topology | None = None) -> Settings:
    """The user's settings of model and pipeline on a ledger of its own; nothing of theirs about a server or tags.

    `plan` goes before what they say about topology.
    """
    name = str(model.folder) if model.name != "palette" else "palette"
    chosen = settings.model.model_copy(update={"name": name})
    pipeline = settings.pipeline
    if plan is not None:
        chosen = chosen.model_copy(update={"streams": plan.streams, "threads": plan.threads})
        pipeline = pipeline.model_copy(update={"workers": plan.workers, "decoders": plan.decoders})
    return Settings(state_dir=folder, model=chosen, pipeline=pipeline)


def _library(settings: Settings) -> int | None:
    """How many assets the user's ledger knows, None without one."""
    if not settings.ledger_path.exists():
        return None
    with LedgerReader(settings.ledger_path) as ledger:
        return sum(ledger.counts().values()) or None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return "unknown"
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")
