"""Does a model work here, how fast, and do its scores look like scores? Measured on given pictures."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autotagger.errors import AssetFailed, StartupFailed
from autotagger.memory import resident_bytes
from autotagger.tagger.engine.openvino import found_devices, open_session
from autotagger.tagger.engine.protocol import Device, Session
from autotagger.tagger.model import Model
from autotagger.tagger.preprocess import prepare

#: Largest difference of a score between two devices that all run in 32-bit floats. Rounding gives 0.001.
MAX_DIFFERENCE = 0.01

#: Scores that no two pictures tell apart by more than this say nothing about pictures.
MIN_SPREAD = 1e-4


@dataclass(frozen=True, slots=True)
class DeviceCheck:
    """One device. Times are per picture, one after the other; `memory_mb`: what loading added to this process.

    `not_numbers`: pictures that gave such scores. `difference`: the largest from the first device's scores.
    """

    device: str
    load_s: float
    prepare_ms: float
    inference_ms: float
    memory_mb: float
    lowest: float | None
    highest: float | None
    not_numbers: int
    difference: float | None


@dataclass(frozen=True, slots=True)
class Checkup:
    """`problems`: what is wrong with the model or its manifest, a line each; none is good.

    There is no `fallback` to tell of: a session that would leave a part of a model to another provider, or to
    another device than the one named, does not open, and that is a problem of the list.
    """

    devices: tuple[DeviceCheck, ...]
    problems: tuple[str, ...]


def check_model(model: Model, bodies: Sequence[bytes], device: Device = "auto") -> Checkup:
    """Run `model` on the encoded pictures `bodies` on `device`; `auto`: on each that OpenVINO finds, CPU first.

    Raises StartupFailed when it runs on none of them.
    """
    wanted = [device] if device != "auto" else sorted(found_devices(), key=lambda name: (name != "CPU", name))
    started = time.perf_counter()
    pictures = [prepare(body, model.manifest.input) for body in bodies]
    prepare_ms = (time.perf_counter() - started) * 1000 / len(bodies)
    checks: list[DeviceCheck] = []
    problems: list[str] = []
    first: NDArray[np.float32] | None = None
    for name in wanted:
        try:
            check, scores = _check_device(model, name, pictures, prepare_ms, first)
        except StartupFailed as error:
            if len(wanted) == 1:
                raise
            problems.append(error.message)
            continue
        problems += _problems(model, check, scores)
        checks.append(check)
        first = scores if first is None else first
    if not checks:
        raise StartupFailed("; ".join(problems), kind="model-broken")
    return Checkup(tuple(checks), tuple(problems))


def _check_device(
    model: Model,
    device: Device,
    pictures: Sequence[NDArray[np.float32]],
    prepare_ms: float,
    first: NDArray[np.float32] | None,
) -> tuple[DeviceCheck, NDArray[np.float32]]:
    """The check of a device, and the scores of all pictures; a row of NaN where a picture gave none."""
    before, started = resident_bytes(), time.perf_counter()
    session = open_session(model, device=device, streams=1)
    load_s, memory_mb = time.perf_counter() - started, (resident_bytes() - before) / 1e6
    started = time.perf_counter()
    scores = np.stack([_scores(session, picture) for picture in pictures])
    inference_ms = (time.perf_counter() - started) * 1000 / len(pictures)
    good = scores[~np.isnan(scores).any(axis=1)]
    check = DeviceCheck(
        device=session.device,
        load_s=round(load_s, 3),
        prepare_ms=round(prepare_ms, 2),
        inference_ms=round(inference_ms, 2),
        memory_mb=round(memory_mb, 1),
        lowest=round(float(good.min()), 5) if len(good) else None,
        highest=round(float(good.max()), 5) if len(good) else None,
        not_numbers=len(scores) - len(good),
        difference=None if first is None else _difference(scores, first),
    )
    return check, scores


def _scores(session: Session, picture: NDArray[np.float32]) -> NDArray[np.float32]:
    try:
        scores: NDArray[np.float32] = session.scores(picture[np.newaxis])[0]
    except AssetFailed:
        return np.full(session.label_count, np.nan, np.float32)
    return scores


def _difference(scores: NDArray[np.float32], first: NDArray[np.float32]) -> float:
    """The largest, over the pictures of which both gave scores."""
    apart = np.abs(scores - first)
    return round(float(np.max(apart, initial=0.0, where=~np.isnan(apart))), 5)


def _problems(model: Model, check: DeviceCheck, scores: NDArray[np.float32]) -> list[str]:
    found = []
    if check.not_numbers:
        found.append(f"{check.not_numbers} of {len(scores)} pictures gave scores that are no numbers")
    if check.lowest is None or check.highest is None:
        return [f"{check.device}: {problem}" for problem in found]
    if check.lowest < 0.0 or check.highest > 1.0:
        found.append('scores lie outside 0..1: [output] activation = "sigmoid" or another output is missing')
    good = scores[~np.isnan(scores).any(axis=1)]
    if len(good) > 1 and np.ptp(good, axis=0).max() < MIN_SPREAD:
        found.append("every picture gets the same scores: look at scale, mean and std, layout and output")
    if model.manifest.output.activation == "sigmoid" and check.lowest >= 0.5 and check.highest < 0.74:
        # the sigmoid of 0..1 is 0.5..0.731, and a tagger denies nearly all of its labels
        found.append('no score is below 0.5: they were 0..1 already, [output] activation must be "none"')
    if check.difference is not None and check.difference > MAX_DIFFERENCE:
        found.append(f"scores differ by up to {check.difference:.3f} from the first device's: do not use it")
    return [f"{check.device}: {problem}" for problem in found]
