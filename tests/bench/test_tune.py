"""Tuning: what is tried, what is chosen, and that the configuration keeps everything else."""

import tomllib
from pathlib import Path

import pytest

from autotagger.bench.tune import best, candidates, write_topology
from autotagger.config import load_settings
from autotagger.errors import BadConfig
from autotagger.topology import Topology

PLAN = Topology(1, 4, 8, 6)
SMALL, LARGE = Topology(1, 1, 2, 2), Topology(2, 1, 1, 1)


def test_candidates_fit_the_cores_and_half_of_the_memory() -> None:
    plans = candidates(4, 16_000_000_000, 380_000_000)
    assert [(plan.workers, plan.streams) for plan in plans] == [(1, 4), (1, 2), (1, 1), (2, 2)]
    assert all(plan.workers * plan.threads == 4 for plan in plans)
    assert candidates(4, 3_000_000_000, 380_000_000) == [Topology(1, 2, 4, 4), Topology(1, 1, 4, 4)]
    assert candidates(2, 1, 380_000_000) == [Topology(1, 1, 2, 2)]


def test_memory_decides_among_equals() -> None:
    assert best([(LARGE, 10.2, 2000.0), (SMALL, 10.0, 900.0)]) == SMALL
    assert best([(LARGE, 11.0, 2000.0), (SMALL, 10.0, 900.0)]) == LARGE


@pytest.mark.parametrize(
    "text",
    [
        "",
        "marker = 'm'",
        "marker = 'm'\n[model]",
        "[model]\nname = 'palette' # mine\nstreams = 1\nthreads=7\n\n[pipeline]\nslots = 8\n[pipeline_other]\n",
        "# streams = 3\n[immich]\nbase_url = 'http://a'\n\n[pipeline]\nworkers = 3\n",
    ],
)
def test_a_configuration_keeps_everything_but_the_topology(tmp_path: Path, text: str) -> None:
    config = tmp_path / "new" / "config.toml"
    if text:
        config.parent.mkdir()
        config.write_text(text)
    write_topology(config, PLAN)
    write_topology(config, PLAN)
    after, before = tomllib.loads(config.read_text()), tomllib.loads(text)
    assert after["model"] == before.get("model", {}) | {"streams": 4, "threads": 8}
    assert after["pipeline"] == before.get("pipeline", {}) | {"workers": 1, "decoders": 6}
    assert {key: after[key] for key in before if key not in ("model", "pipeline")} == {
        key: value for key, value in before.items() if key not in ("model", "pipeline")
    }
    assert [line for line in text.splitlines() if line.startswith("#")] == [
        line for line in config.read_text().splitlines() if line.startswith("#")
    ]


def test_it_is_what_the_settings_read(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    write_topology(config, PLAN)
    settings = load_settings(config, environ={})
    assert (settings.pipeline.workers, settings.model.streams) == (1, 4)
    assert (settings.model.threads, settings.pipeline.decoders) == (8, 6)


def test_a_configuration_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match=str(tmp_path)):
        write_topology(tmp_path, PLAN)
