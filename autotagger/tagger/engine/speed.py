"""What a model can do alone: a tensor ready in memory, the very session that the pipeline opens."""

import threading
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from autotagger.memory import peak_bytes
from autotagger.tagger.engine.openvino import open_session
from autotagger.tagger.engine.protocol import Device, Session
from autotagger.tagger.model import Model
from autotagger.tagger.preprocess import prepare_image

#: Width and height of the noise that is inferred; what a picture shows does not change what it costs.
_SIDE = 448


@dataclass(frozen=True, slots=True)
class Bare:
    """A bare session: pictures a second, CPU-milliseconds a picture, its process's peak memory, the device."""

    ips: float
    cpu_ms: float
    peak_mb: float
    device: str

    def mean(self, other: "Bare") -> "Bare":
        """Both measurements as one, each counting the same; of the peaks the higher."""
        ips, cpu_ms = (self.ips + other.ips) / 2, (self.cpu_ms + other.cpu_ms) / 2
        return Bare(ips, cpu_ms, max(self.peak_mb, other.peak_mb), self.device)


def bare_session(model: Model, device: Device, *, streams: int, threads: int, seconds: float) -> Bare:
    """Let `streams` threads infer for about `seconds`. For a process of its own, whose peak of memory it tells."""
    noise = np.random.default_rng(7).integers(0, 256, (_SIDE, _SIDE, 3), dtype=np.uint8)
    picture = prepare_image(Image.fromarray(noise), model.manifest.input)[np.newaxis]
    session = open_session(model, device=device, streams=streams, threads=threads)
    session.scores(picture)
    caller = _Callers(session, picture, streams, seconds)
    started_cpu_s = time.process_time()
    ips, inferred = caller.run()
    cpu_ms = (time.process_time() - started_cpu_s) * 1000 / inferred
    return Bare(ips, cpu_ms, peak_bytes() / 1e6, session.device)


class _Callers:
    """Every thread's own speed is measured over whole pictures, and the speeds added up."""

    def __init__(self, session: Session, picture: NDArray[np.float32], streams: int, seconds: float) -> None:
        self._session = session
        self._picture = picture
        self._seconds = seconds
        self._barrier = threading.Barrier(streams)
        self._speeds: list[tuple[int, float]] = []
        self._threads = [threading.Thread(target=self._call) for _ in range(streams)]

    def run(self) -> tuple[float, int]:
        """Pictures a second, and pictures."""
        for thread in self._threads:
            thread.start()
        for thread in self._threads:
            thread.join()
        return sum(count / took_s for count, took_s in self._speeds), sum(count for count, _ in self._speeds)

    def _call(self) -> None:
        self._barrier.wait()
        started, count = time.perf_counter(), 0
        while (took_s := time.perf_counter() - started) < self._seconds or not count:
            self._session.scores(self._picture)
            count += 1
        self._speeds.append((count, took_s))
