"""What decoding alone can do: all cores, nothing else."""

import threading
import time

from autotagger.bench.pictures import preview_bodies
from autotagger.tagger.manifest import InputSpec
from autotagger.tagger.preprocess import Decoding, prepare


def decode_speed(spec: InputSpec, decoding: Decoding, cores: int, *, seconds: float, tiny: bool) -> float:
    """Pictures a second that `cores` threads decode when nothing else is done."""
    bodies = preview_bodies(24, tiny=tiny)
    barrier = threading.Barrier(cores)
    speeds: list[float] = []

    def work(first: int) -> None:
        barrier.wait()
        started, count = time.perf_counter(), 0
        while (took_s := time.perf_counter() - started) < seconds or not count:
            prepare(bodies[(first + count) % len(bodies)], spec, decoding=decoding)
            count += 1
        speeds.append(count / took_s)

    threads = [threading.Thread(target=work, args=(number * 7,)) for number in range(cores)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(speeds)
