"""Which model, how many workers and which device suit a machine, before anything is downloaded."""

from dataclasses import dataclass
from pathlib import Path

from autotagger.config import ModelSettings
from autotagger.cpu import cpu_name
from autotagger.doctor.machine import free_memory
from autotagger.doctor.machine_checks import BASE_BYTES, WORKER_BYTES
from autotagger.tagger.cores import allowed_cores
from autotagger.tagger.session import found_devices

#: What loading wd-vit-tagger-v3 adds to a worker: 1,200 MB were measured.
MODEL_BYTES = 1_200_000_000
#: More than one worker is for isolation, not for speed (one process with a stream a core is as fast): when one dies
#: or hangs, the other goes on. Worth its memory where there are cores to share.
CORES_OF_A_WORKER = 8


@dataclass(frozen=True, slots=True)
class Proposal:
    """`workers` for [pipeline]; `reason`: what the machine is, in a line; `caution`: empty where all fits."""

    model: str
    workers: int
    reason: str
    caution: str = ""


def propose(*, cpu: str, cores: int, memory_bytes: int, devices: frozenset[str]) -> Proposal:
    """The default model; a worker for every 8 cores as far as memory goes; 1 on a GPU, which they would share."""
    model = str(ModelSettings().name)
    each = WORKER_BYTES + MODEL_BYTES
    fitting = (memory_bytes - BASE_BYTES) // each
    wanted = 1 if "GPU" in devices else max(1, cores // CORES_OF_A_WORKER)
    workers = max(1, min(wanted, fitting))
    device = "an Intel GPU" if "GPU" in devices else "no GPU for OpenVINO"
    reason = f"{cpu}, {cores} core{'s' if cores > 1 else ''}, {memory_bytes / 1e9:.1f} GB of memory free, {device}"
    caution = ""
    if fitting < 1:
        caution = (
            f"{model} wants {(each + BASE_BYTES) / 1e9:.1f} GB: free some memory, or choose a smaller model "
            "(autotagger models list)"
        )
    return Proposal(model, workers, reason, caution)


def propose_here(root: Path = Path("/")) -> Proposal:
    """For this machine, as far as this process may use it."""
    return propose(
        cpu=cpu_name(root / "proc/cpuinfo"),
        cores=allowed_cores(),
        memory_bytes=free_memory(root),
        devices=frozenset(found_devices()),
    )
