"""How many pictures a second this machine decodes and scores, measured on the library's own."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from autotagger.doctor.facts import SpeedFacts
from autotagger.errors import AssetFailed, Retryable
from autotagger.tagger.engine.protocol import Session
from autotagger.tagger.model import Model
from autotagger.tagger.preprocess import Decoding, prepare


def measure(
    model: Model, session: Session, bodies: Sequence[bytes], streams: int, decoding: Decoding
) -> SpeedFacts | None:
    """Decode and score every picture once, on `streams` threads; None where none of them is a picture.

    A run does the same work in the same number of threads; only that it does so in other processes, where what
    is between them costs another percent or two.
    """

    def score(body: bytes) -> bool:
        try:
            session.scores(prepare(body, model.manifest.input, decoding=decoding)[np.newaxis])
        except (AssetFailed, Retryable):
            return False
        return True

    with ThreadPoolExecutor(streams) as pool:
        begun = time.perf_counter()
        done = sum(pool.map(score, bodies))
        seconds = time.perf_counter() - begun
    return SpeedFacts(done, seconds) if done else None
