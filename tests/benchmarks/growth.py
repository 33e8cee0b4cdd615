"""Whether an asset costs the same in a library of a thousand as in one of a hundred thousand.

`python -m tests.benchmarks.growth 1000 10000 [--tiny]`
"""

import argparse
import asyncio
import json
import resource
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from loguru import logger

from autotagger.bench.measure import bench_model, bench_settings
from autotagger.bench.pipeline import Whole, run_against, settings_for
from autotagger.bench.server import served
from autotagger.bench.workload import INSTANT
from autotagger.config import load_settings
from autotagger.errors import StartupFailed
from autotagger.log import setup_logging
from autotagger.pipeline.child.apart import apart
from autotagger.pipeline.ipc.messages import Operation
from autotagger.pipeline.run import run_operation, run_pipeline
from autotagger.pipeline.supervisor.summary import Summary
from autotagger.settings import PolicySettings, Settings
from autotagger.tagger.model import Model

#: A policy that gives a picture of the instant model some more tags than the model's own thresholds do.
_OTHER_POLICY = PolicySettings(threshold={"general": 0.12})


@dataclass(frozen=True, slots=True)
class Growth:
    """What an asset costs in a library of `assets` small pictures, with the instant model.

    Of the run that tags it, `own_ms`: CPU time outside the inferencers (listing, ledger, tag calls, proof);
    `wall_ms`: time, from beginning to proof. CPU time of all our processes, without what the same costs in a
    library of one asset: `again_ms`, of a run that finds nothing to do; `verify_ms`, read and compared;
    `retag_ms`, given the tags of another policy, proof included.
    """

    assets: int
    own_ms: float
    wall_ms: float
    again_ms: float
    verify_ms: float
    retag_ms: float
    peak_mb: float
    verified: int


@dataclass(frozen=True, slots=True)
class _Phases:
    """CPU-seconds of what follows the first run."""

    again_s: float
    verify_s: float
    retag_s: float


def growth(
    settings: Settings, sizes: Sequence[int], *, tiny: bool, say: Callable[[str], None]
) -> Iterator[Growth]:
    """One library for each of the `sizes`. Raises StartupFailed when a run does not do what it should."""
    model = bench_model(INSTANT, settings, tiny=tiny)
    _, start = _measured(settings, model, 1, say)  # what starting costs
    for assets in sizes:
        whole, phases = _measured(settings, model, assets, say)
        yield Growth(
            assets=assets,
            own_ms=_own_ms(whole),
            wall_ms=round(whole.seconds * 1000 / assets, 3),
            again_ms=round((phases.again_s - start.again_s) * 1000 / assets, 3),
            verify_ms=round((phases.verify_s - start.verify_s) * 1000 / assets, 3),
            retag_ms=round((phases.retag_s - start.retag_s) * 1000 / assets, 3),
            peak_mb=round(sum(whole.peak_mb.values()), 1),
            verified=whole.verified,
        )


def _measured(settings: Settings, model: Model, assets: int, say: Callable[[str], None]) -> tuple[Whole, _Phases]:
    """A library tagged, run again, verified, retagged. `say` is told of each: a large one takes an hour."""
    with tempfile.TemporaryDirectory(prefix="autotagger-bench-") as folder, served(assets, tiny=True) as server:
        there = settings_for(server, bench_settings(settings, model, Path(folder)))
        say(f"growth: tagging {assets:,} assets")
        whole = run_against(server, there, assets)
        say(f"growth: {_own_ms(whole)} ms of CPU an asset; {assets:,} assets once more")
        again_s, again = apart(_again, there)
        say(f"growth: {again_s:.1f} s of CPU; verifying {assets:,} assets")
        verify_s, verified = apart(_operation, there, Operation("verify"))
        say(f"growth: {verify_s:.1f} s of CPU; retagging {assets:,} assets")
        other = there.model_copy(update={"policy": _OTHER_POLICY})
        retag_s, retagged = apart(_operation, other, Operation("retag"))
        say(f"growth: {retag_s:.1f} s of CPU")
    _insist("a second run infers nothing", again.counts.get("inferred", 0), 0)
    _insist("verify finds all as it is meant", (verified.operation or {}).get("as_meant"), whole.verified)
    _insist("retag reopens all", (retagged.operation or {}).get("reopened"), whole.verified)
    return whole, _Phases(again_s, verify_s, retag_s)


def _own_ms(whole: Whole) -> float:
    return round(sum(whole.cpu_ms.get(stage, 0.0) for stage in ("supervisor", "fetcher", "writer")), 3)


def _insist(what: str, found: object, meant: object) -> None:
    if found != meant:
        raise StartupFailed(f"growth: {what}, but it was {found} instead of {meant}", kind="bench")


def _again(settings: Settings) -> tuple[float, Summary]:
    """CPU-seconds of this process and those it started, for a run: to be run `apart`."""
    setup_logging("WARNING")
    summary = asyncio.run(run_pipeline(settings, once=True))
    return _spent_s(), summary


def _operation(settings: Settings, operation: Operation) -> tuple[float, Summary]:
    """The same for an operation."""
    setup_logging("WARNING")
    summary = asyncio.run(run_operation(settings, operation))
    return _spent_s(), summary


def _spent_s() -> float:
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", nargs="+", type=int, help="assets in each library")
    parser.add_argument("--tiny", action="store_true", help="a model with few labels: does it work?")
    wish = parser.parse_args()
    settings = load_settings()
    setup_logging("INFO")
    found = [asdict(one) for one in growth(settings, wish.sizes, tiny=wish.tiny, say=logger.info)]
    print(json.dumps({"growth": found}, indent=1))


if __name__ == "__main__":
    main()
