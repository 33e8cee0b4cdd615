"""How a machine's cores are used: inference processes, streams and threads of each, decoders.

workers x threads = the cores we may use (affinity, cgroup quota): more would only wait for each other. A stream
is one picture inferred at a time by its share of the threads; one stream a core is the fastest on a CPU wherever
the memory allows it, because no thread ever waits for another one's half.
"""

from dataclasses import dataclass

from autotagger.settings import Settings
from autotagger.tagger.cores import allowed_cores, allowed_memory
from autotagger.tagger.model import Model

#: From so many cores on, one process's memory bus and locks are worth sharing among several.
CORES_OF_A_WORKER = 16
#: What a worker needs beside its model, what OpenVINO makes of a model's weights (a copy, packed for the CPU),
#: and what a stream needs to work in: estimates, on the safe side of wd-vit's peaks in docs/performance.md.
WORKER_BYTES, MODEL_COPIES, STREAM_BYTES = 250_000_000, 2.5, 100_000_000
#: On a GPU or NPU: one picture is inferred while the next one is copied.
DEVICE_STREAMS = 2


@dataclass(frozen=True, slots=True)
class Topology:
    """`workers` processes; in each: `streams` pictures inferred at once by `threads` threads, `decoders` threads
    that decode."""

    workers: int
    streams: int
    threads: int
    decoders: int


def choose(settings: Settings, *, cores: int, memory_bytes: int, model_bytes: int, on_cpu: bool) -> Topology:
    """What the settings say, and for what they leave open (0) the best for `cores` within `memory_bytes`."""
    workers = settings.pipeline.workers or (_workers(cores, memory_bytes, model_bytes) if on_cpu else 1)
    share = max(1, cores // workers)
    if on_cpu:
        room = memory_bytes // workers - WORKER_BYTES - MODEL_COPIES * model_bytes
        streams = settings.model.streams or max(1, min(share, int(room // STREAM_BYTES)))
    else:
        streams = settings.model.streams or DEVICE_STREAMS
    return Topology(
        workers=workers,
        streams=streams,
        threads=settings.model.threads or share,
        decoders=settings.pipeline.decoders or max(share, streams),
    )


def _workers(cores: int, memory_bytes: int, model_bytes: int) -> int:
    fit = int(memory_bytes // (WORKER_BYTES + MODEL_COPIES * model_bytes + CORES_OF_A_WORKER * STREAM_BYTES))
    return max(1, min(cores // CORES_OF_A_WORKER, fit))


def topology_for(settings: Settings, model: Model, *, on_cpu: bool) -> Topology:
    """The topology of a run on this machine."""
    return choose(
        settings,
        cores=allowed_cores(),
        memory_bytes=allowed_memory(),
        model_bytes=model.path.stat().st_size,
        on_cpu=on_cpu,
    )


def with_workers(settings: Settings, model: Model) -> Settings:
    """Settings in which the number of workers stands: memory that is free now is not when they start."""
    workers = topology_for(settings, model, on_cpu=settings.model.device in ("auto", "CPU")).workers
    return settings.model_copy(update={"pipeline": settings.pipeline.model_copy(update={"workers": workers})})
