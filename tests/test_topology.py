"""Topology: cores are shared out, never more than there are; memory bounds what is chosen, not what is set."""

import pytest

from autotagger.settings import ModelSettings, PipelineSettings, Settings
from autotagger.topology import Topology, choose

VIT = 380_000_000
PLENTY = 1 << 40


def plan(cores: int, memory: int = PLENTY, on_cpu: bool = True, **settings: dict[str, int]) -> Topology:
    chosen = Settings(
        model=ModelSettings(**settings.get("model", {})), pipeline=PipelineSettings(**settings.get("pipeline", {}))
    )
    return choose(chosen, cores=cores, memory_bytes=memory, model_bytes=VIT, on_cpu=on_cpu)


@pytest.mark.parametrize(
    ("cores", "expected"),
    [
        (1, Topology(1, 1, 1, 1)),
        (2, Topology(1, 2, 2, 2)),
        (8, Topology(1, 8, 8, 8)),
        (32, Topology(2, 16, 16, 16)),
    ],
)
def test_one_process_on_a_small_machine_and_a_stream_for_every_core(cores: int, expected: Topology) -> None:
    assert plan(cores) == expected


@pytest.mark.parametrize("cores", [1, 2, 3, 4, 6, 16, 24, 64])
@pytest.mark.parametrize("workers", [0, 1, 2, 3])
def test_workers_share_the_cores(cores: int, workers: int) -> None:
    chosen = plan(cores, pipeline={"workers": workers})
    assert chosen.workers * chosen.threads <= max(cores, chosen.workers)
    assert chosen.workers == workers or not workers


def test_little_memory_means_fewer_streams_and_processes() -> None:
    assert plan(8, 1_600_000_000).streams == 4
    assert plan(8, 500_000_000).streams == 1
    assert plan(64, 6_000_000_000).workers == 2


def test_what_is_set_is_taken() -> None:
    chosen = plan(
        4, 1, model={"streams": 3, "threads": 2}, pipeline={"workers": 2, "decoders": 5}
    )  # and memory does not matter
    assert chosen == Topology(2, 3, 2, 5)


def test_beside_a_device_all_cores_decode() -> None:
    assert plan(8, on_cpu=False) == Topology(1, 2, 8, 8)
