"""Whether an asset costs the same in a library of a thousand as in one of a hundred thousand."""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from autotagger.bench.measure import bench_model, bench_settings
from autotagger.bench.pipeline import Whole, whole_pipeline
from autotagger.bench.workload import INSTANT
from autotagger.errors import BadConfig
from autotagger.settings import Settings


@dataclass(frozen=True, slots=True)
class Growth:
    """A whole run over `assets` small pictures with the instant model. `own_ms`: an asset's CPU time outside the
    inferencers: listing, ledger, tag calls, proof. `wall_ms`: an asset's time, from beginning to proof."""

    assets: int
    own_ms: float
    wall_ms: float
    peak_mb: float
    verified: int


def growth(settings: Settings, sizes: str, *, tiny: bool, say: Callable[[str], None]) -> Iterator[Growth]:
    """One run for each size in a list like `1000,10000`. Raises BadConfig for anything else."""
    try:
        wanted = [int(size) for size in sizes.split(",")]
    except ValueError:
        wanted = []
    if not wanted or min(wanted) < 1:
        raise BadConfig(f"--growth {sizes}: give numbers of assets, 1000,10000 for example")
    model = bench_model(INSTANT, settings, tiny=tiny)
    for assets in wanted:
        say(f"growth: {assets:,} assets")
        with tempfile.TemporaryDirectory(prefix="autotagger-bench-") as folder:
            yield _figures(
                assets, whole_pipeline(bench_settings(settings, model, Path(folder)), assets, tiny=True)
            )


def _figures(assets: int, whole: Whole) -> Growth:
    own = sum(whole.cpu_ms.get(stage, 0.0) for stage in ("supervisor", "fetcher", "writer"))
    return Growth(
        assets,
        round(own, 3),
        round(whole.seconds * 1000 / assets, 3),
        round(sum(whole.peak_mb.values()), 1),
        whole.verified,
    )
