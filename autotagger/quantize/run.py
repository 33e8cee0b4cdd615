"""`autotagger quantize` from beginning to end: sample, conversion, gate, and the configuration."""

import asyncio
import os
import shutil
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from autotagger.config import config_to_write
from autotagger.configfile import set_key
from autotagger.errors import StartupFailed
from autotagger.pipeline.child.apart import apart
from autotagger.pipeline.decider import TagDecider
from autotagger.quantize.convert import ENVIRONMENT, check_requirements, convert, save_tensors
from autotagger.quantize.gate import MIN_F1, MIN_SPEED_UP, Agreement, GateResult, compare
from autotagger.quantize.sample import Sample, from_folder, from_library
from autotagger.settings import Settings
from autotagger.tagger.catalog import find_model
from autotagger.tagger.cores import allowed_cores
from autotagger.tagger.engine.openvino import open_session
from autotagger.tagger.engine.speed import bare_session
from autotagger.tagger.model import Model

Say = Callable[[str], None]
#: Fewer pictures say too little about a library.
MIN_PICTURES = 8
_ROUNDS, _SECONDS = 3, 10.0


@dataclass(frozen=True, slots=True)
class Wish:
    """`source`: a folder instead of the library; `calibrate` and `judge`: pictures for each, never the same ones;
    `plain`: without smoothing and bias correction."""

    source: Path | None = None
    calibrate: int = 200
    judge: int = 200
    plain: bool = False
    min_f1: float = MIN_F1
    min_speed_up: float = MIN_SPEED_UP


@dataclass(frozen=True, slots=True)
class Outcome:
    """`folder`: the INT8 model, None when it was not good enough; `config`: where it was put into use."""

    result: GateResult
    folder: Path | None
    config: Path


def quantize(
    settings: Settings, wish: Wish, config: Path | None, say: Say, environment: Path = ENVIRONMENT
) -> Outcome:
    """Make the INT8 twin of the model of the settings; put it into use in `config` when it passes the gate.

    Raises StartupFailed when NNCF, memory or pictures are missing, and what a library can raise.
    """
    config = config_to_write(config, os.environ)
    model = find_model(settings.model.name, settings.models_dir, download=True)
    python = check_requirements(model, environment)
    calibration, judging = _samples(settings, wish, say)
    settings.models_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=settings.models_dir, prefix="quantizing-") as place:
        made, tensors = Path(place) / "int8", Path(place) / "tensors.npy"
        say(f"preparing {len(calibration)} calibration pictures")
        if not save_tensors(model, [body for _, body in calibration], tensors):
            raise StartupFailed("none of the calibration pictures can be decoded", kind="no-pictures")
        convert(model, python, tensors, made, plain=wish.plain, say=say)
        twin = find_model(str(made), settings.models_dir, download=False)
        say(f"comparing tags on {len(judging)} other pictures")
        agreed = apart(_compare, settings, model, twin, judging)
        result = GateResult(agreed, _speed_up(model, twin, say), wish.min_f1, wish.min_speed_up)
        if not result.passed:
            return Outcome(result, None, config)
        folder = settings.models_dir / twin.name
        shutil.rmtree(folder, ignore_errors=True)
        made.rename(folder)
    set_key(config, "model", "name", str(folder))
    return Outcome(result, folder, config)


def _samples(settings: Settings, wish: Wish, say: Say) -> tuple[Sample, Sample]:
    """Two that have no picture in common; where there are too few, each gets its share."""
    wanted = wish.calibrate + wish.judge
    if wish.source:
        found = from_folder(wish.source, wanted)
    else:
        say(f"drawing {wanted} pictures of the library")
        found = asyncio.run(from_library(settings, wanted, say))
    if len(found) < MIN_PICTURES:
        raise StartupFailed(f"{len(found)} pictures are too few to quantise with", kind="no-pictures")
    cut = len(found) * wish.calibrate // wanted
    return found[:cut], found[cut:]


def _compare(settings: Settings, model: Model, twin: Model, judging: Sample) -> Agreement:
    policy = TagDecider.of_model(model, settings).policy
    original, quantised = (open_session(one, device=settings.model.device, streams=1) for one in (model, twin))
    return compare(policy, original, quantised, model, judging)


def _speed_up(model: Model, twin: Model, say: Say) -> float:
    """INT8's pictures a second over the original's, median of rounds that take turns, on the CPU."""
    cores = allowed_cores()
    ratios = []
    for number in range(_ROUNDS):
        say(f"measuring speed, round {number + 1} of {_ROUNDS}")
        slow, fast = (
            apart(bare_session, one, "CPU", streams=cores, threads=cores, seconds=_SECONDS).ips
            for one in (model, twin)
        )
        ratios.append(fast / slow)
    return statistics.median(ratios)
