"""What `init` proposes for machines of every size."""

import pytest

from autotagger.doctor.proposal import propose, propose_here
from tests.doctor.support import GB

CPU = frozenset({"CPU"})


@pytest.mark.parametrize(
    ("cores", "memory", "devices", "workers"),
    [
        (4, 8 * GB, CPU, 1),
        (32, 32 * GB, CPU, 2),
        (32, 3 * GB, CPU, 1),
        (32, 64 * GB, frozenset({"CPU", "GPU"}), 1),
    ],
)
def test_workers_are_as_many_as_cores_and_memory_carry(
    cores: int, memory: int, devices: frozenset[str], workers: int
) -> None:
    proposal = propose(cpu="Intel(R) N100", cores=cores, memory_bytes=memory, devices=devices)
    assert (proposal.model, proposal.workers, proposal.caution) == ("wd-vit-tagger-v3", workers, "")
    assert proposal.reason.startswith(f"Intel(R) N100, {cores} cores, {memory // GB}.0 GB of memory free")


def test_too_little_memory_is_said() -> None:
    proposal = propose(cpu="x", cores=1, memory_bytes=GB, devices=CPU)
    assert proposal.workers == 1
    assert "smaller model" in proposal.caution


def test_this_machine_gets_a_proposal() -> None:
    assert propose_here().workers >= 1
