"""What the scores of a video's frames say together."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from autotagger.scores import SCORE_FLOOR


def combined(
    scores: Sequence[NDArray[np.float32]], averaged: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.uint8] | None]:
    """One row of scores for the frames' rows: the mean where `averaged` is set, else the highest; and in how many
    frames each label scored at all (see `scores.pack`), None for a single frame."""
    if len(scores) == 1:
        return scores[0], None
    table = np.stack(scores)
    seen = np.asarray((table >= SCORE_FLOOR).sum(axis=0), dtype=np.uint8)
    return np.where(averaged, table.mean(axis=0), table.max(axis=0)).astype(np.float32), seen


def mean_rows(categories: Sequence[str], combine: Mapping[str, str]) -> NDArray[np.bool_]:
    """Which labels `combine` (by category) wants the mean of."""
    return np.array([combine.get(category) == "mean" for category in categories], dtype=bool)
