"""The lowest score that makes a tag, per category: the settings' where given, else the model's own."""

import difflib
from collections.abc import Collection, Mapping

import numpy as np
from numpy.typing import NDArray

from autotagger.errors import BadConfig

#: The category of which the likeliest label is applied, whatever its score; a threshold can be set all the same.
RATING = "rating"

#: Stored scores are rounded to multiples of 1 / 65535 (`scores.pack`).
_GRID = 65535.0


def resolve(
    categories: Collection[str], chosen: Mapping[str, float], defaults: Mapping[str, float]
) -> dict[str, float]:
    """Threshold of each of the model's `categories`.

    Categories that `defaults` names count as the model's even without a label. Raises BadConfig when `chosen`
    names any other, with the nearest right one, or a category has no threshold at all.
    """
    check_categories("policy.threshold", chosen, {*categories, *defaults})
    limits = {RATING: 0.0, **defaults, **chosen}
    for category in sorted(set(categories)):
        if category not in limits:
            raise BadConfig(
                f"the model has no threshold for its category {category}: set it in [policy.threshold]"
            )
    return {category: limits[category] for category in categories}


def check_categories(section: str, chosen: Collection[str], known: Collection[str]) -> None:
    """Raises BadConfig when `[section]` names a category that is not among the `known` ones."""
    for name in chosen:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            names = ", ".join(sorted(known))
            raise BadConfig(f"[{section}] {name}: {hint}The model's categories are {names}")


def mcut(falling: NDArray[np.float32], floor: float) -> float:
    """The middle of the largest gap between the scores of a category, best first, and never below `floor`.

    Maximum cut thresholding (Largeron, Moulin, Gery 2012). The stored scores end at `SCORE_FLOOR`; what lies
    below counts as 0, which moves no score to the other side of a gap wider than 0.05.
    """
    if not len(falling):
        return floor
    below = np.append(falling[1:], np.float32(0.0))
    gap = int((falling - below).argmax())
    return max(floor, float(falling[gap] + below[gap]) / 2)


def as_stored(thresholds: Collection[float]) -> NDArray[np.float32]:
    """The thresholds, shape (n,), such that a score of exactly one passes both before and after it is stored."""
    exact = np.array(thresholds, dtype=np.float64)
    stored = np.rint(exact * _GRID).astype(np.float32) / np.float32(_GRID)
    limits: NDArray[np.float32] = np.minimum(stored, exact.astype(np.float32))
    return limits
