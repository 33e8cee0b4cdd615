"""What the model could do alone: tensors ready in memory, the very session that the pipeline opens."""

import threading
import time
from dataclasses import dataclass

import numpy as np

from autotagger.bench.pictures import preview_bodies
from autotagger.bench.processes import usages
from autotagger.tagger.engine.openvino import open_session
from autotagger.tagger.engine.protocol import Device, Session
from autotagger.tagger.model import Model
from autotagger.tagger.preprocess import prepare


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


def bare_session(model: Model, device: Device, *, streams: int, threads: int, seconds: float, tiny: bool) -> Bare:
    """Let `streams` threads infer for about `seconds`. To be run `apart`."""
    pictures = [prepare(body, model.manifest.input)[np.newaxis] for body in preview_bodies(4, tiny=tiny)]
    session = open_session(model, device=device, streams=streams, threads=threads)
    session.scores(pictures[0])
    caller = _Callers(session, pictures, streams, seconds)
    started_cpu_s = time.process_time()
    ips, inferred = caller.run()
    cpu_ms = (time.process_time() - started_cpu_s) * 1000 / inferred
    own = usages(threading.main_thread().native_id or 0)
    return Bare(ips, cpu_ms, own[0].peak_mb, session.device)


class _Callers:
    """Every thread's own speed is measured over whole pictures, and the speeds added up."""

    def __init__(self, session: Session, pictures: list[np.ndarray], streams: int, seconds: float) -> None:
        self._session = session
        self._pictures = pictures
        self._seconds = seconds
        self._barrier = threading.Barrier(streams)
        self._speeds: list[tuple[int, float]] = []
        self._threads = [threading.Thread(target=self._call, args=(number,)) for number in range(streams)]

    def run(self) -> tuple[float, int]:
        """Pictures a second, and pictures."""
        for thread in self._threads:
            thread.start()
        for thread in self._threads:
            thread.join()
        return sum(count / took_s for count, took_s in self._speeds), sum(count for count, _ in self._speeds)

    def _call(self, number: int) -> None:
        self._barrier.wait()
        started, count = time.perf_counter(), 0
        while (took_s := time.perf_counter() - started) < self._seconds or not count:
            self._session.scores(self._pictures[(number + count) % len(self._pictures)])
            count += 1
        self._speeds.append((count, took_s))
