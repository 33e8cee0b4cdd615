"""Which model and how many workers suit a machine, before anything is downloaded."""

from dataclasses import dataclass

from autotagger.config import load_settings
from autotagger.cpu import cpu_name
from autotagger.doctor.machine_checks import BASE_BYTES
from autotagger.tagger.catalog import catalogue
from autotagger.tagger.cores import allowed_cores, allowed_memory
from autotagger.tagger.engine.openvino import found_devices
from autotagger.topology import MODEL_COPIES, STREAM_BYTES, WORKER_BYTES, choose


@dataclass(frozen=True, slots=True)
class Proposal:
    """`workers` for [pipeline]; `reason`: what the machine is, in a line; `caution`: empty where all fits."""

    model: str
    workers: int
    reason: str
    caution: str = ""


def propose(*, cpu: str, cores: int, memory_bytes: int, devices: frozenset[str]) -> Proposal:
    """The default model, and the workers that a run would choose for it here."""
    settings = load_settings(environ={"AUTOTAGGER_CONFIG": "/dev/null"})
    model = settings.model.name
    source = catalogue()[model].source
    model_bytes = max((file.bytes or 0 for file in source.files.values()), default=0) if source else 0
    plan = choose(
        settings, cores=cores, memory_bytes=memory_bytes, model_bytes=model_bytes, on_cpu="GPU" not in devices
    )
    device = "an Intel GPU" if "GPU" in devices else "no GPU for OpenVINO"
    reason = f"{cpu}, {cores} core{'s' if cores > 1 else ''}, {memory_bytes / 1e9:.1f} GB of memory free, {device}"
    needed = BASE_BYTES + WORKER_BYTES + MODEL_COPIES * model_bytes + STREAM_BYTES
    caution = ""
    if needed > memory_bytes:
        caution = (
            f"{model} needs {needed / 1e9:.1f} GB: free some, or choose a smaller model (autotagger models list)"
        )
    return Proposal(model, plan.workers, reason, caution)


def propose_here() -> Proposal:
    """For this machine, as far as this process may use it."""
    return propose(
        cpu=cpu_name(), cores=allowed_cores(), memory_bytes=allowed_memory(), devices=frozenset(found_devices())
    )
