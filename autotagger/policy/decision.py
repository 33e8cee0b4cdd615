"""What the policy decided of each score of a picture, and by which rule."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray


class Rule(IntEnum):
    """The rule that had the last word on a label. Those up to `SERIES` keep it."""

    PASSED = 0
    LIKELIEST = 1
    MINIMUM = 2
    IMPLIED = 3
    SERIES = 4
    LOW = 5
    UNLIKELIER = 6
    BEYOND_TOP = 7
    HIDDEN = 8
    BEYOND_MAX = 9
    BLACKLISTED = 10
    NOT_WHITELISTED = 11
    MARKER = 12
    NO_RATINGS = 13
    WITHHELD = 14  # never the policy's word, as the next one: the vocabulary's, after it
    TAKEN_OFF = 15  # a person's

    @property
    def keeps(self) -> bool:
        """Whether the label becomes a tag."""
        return self <= Rule.SERIES


_LAST_KEPT = int(Rule.SERIES)  # an enumeration's member costs a look-up on every use
#: The rules that a label can be brought back from by another tag or by `min_tags`.
UNDECIDED = (int(Rule.LOW), int(Rule.BEYOND_TOP))


@dataclass(slots=True)
class Decision:
    """One entry a label, best first; every array has shape (n,).

    `rows`: of the policy's labels. `scores`: as stored, NaN for what was only implied. `weights`: what the order
    goes by: the score, or that of the best tag that implies it. `limits`: the lowest score that passes. `rules`:
    `Rule`. `because`: the row of the tag that implied or hid it, else -1.
    """

    rows: NDArray[np.intp]
    scores: NDArray[np.float32]
    weights: NDArray[np.float32]
    limits: NDArray[np.float32]
    rules: NDArray[np.uint8]
    because: NDArray[np.intp]

    @property
    def kept(self) -> NDArray[np.bool_]:
        """Which entries become tags."""
        found: NDArray[np.bool_] = self.rules <= _LAST_KEPT
        return found

    def add(self, fresh: Mapping[int, tuple[float, int, int]]) -> None:
        """Put in, by row, what the picture did not score on: (weight, rule, because); and have the best first.

        Of equals the one higher up in the label file goes first.
        """
        added = list(fresh.values())
        rows = np.append(self.rows, np.array(list(fresh), np.intp))
        weights = np.append(self.weights, np.array([weight for weight, _, _ in added], np.float32))
        order = np.lexsort((rows, -weights))
        nothing = np.full(len(added), np.nan, np.float32)
        self.rows, self.weights = rows[order], weights[order]
        self.scores = np.append(self.scores, nothing)[order]
        self.limits = np.append(self.limits, nothing)[order]
        self.rules = np.append(self.rules, np.array([rule for _, rule, _ in added], np.uint8))[order]
        self.because = np.append(self.because, np.array([source for _, _, source in added], np.intp))[order]
