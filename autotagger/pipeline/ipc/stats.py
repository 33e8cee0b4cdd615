"""How a child tells what it did and how long it took: names in the Counter of a `Counts` message.

A plain word counts events (`tagged`). A name with slashes belongs to something measured:
`calls/<call>/<outcome>` counts exchanges with Immich, `ms/<what>` adds up milliseconds, and `le/<what>/<bound>`
counts those that took at most `bound` milliseconds and more than the next smaller bound.
"""

import threading
from bisect import bisect_left
from collections import Counter

#: Upper bounds of the histogram's buckets in milliseconds, ended by one without a bound.
BOUNDS_MS: tuple[int, ...] = (5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000)
UNBOUNDED = "inf"


def timed(what: str, seconds: float) -> Counter[str]:
    """The counts of one `what` (`decode`, `immich.search`) that took `seconds`."""
    ms = seconds * 1_000
    place = bisect_left(BOUNDS_MS, ms)
    bound = str(BOUNDS_MS[place]) if place < len(BOUNDS_MS) else UNBOUNDED
    return Counter({f"ms/{what}": round(ms), f"le/{what}/{bound}": 1})


def exchanged(call: str, outcome: str, seconds: float) -> Counter[str]:
    """The counts of one exchange with Immich."""
    return timed(f"immich.{call}", seconds) + Counter({f"calls/{call}/{outcome}": 1})


class Tally:
    """Counts that several threads add to, until one takes them away to report them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    def add(self, counts: Counter[str]) -> None:
        with self._lock:
            self._counts.update(counts)

    def take(self) -> Counter[str]:
        """All that was added since the last time."""
        with self._lock:
            taken, self._counts = self._counts, Counter()
        return taken
