"""How fast it goes just now, and how long the rest will take."""

from collections import deque

#: What "just now" means: long enough for a batch's stop and go, short enough to notice a stop.
WINDOW_S = 120.0


class Pace:
    """Pictures scored a second over the last two minutes."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()

    def sample(self, now_s: float, scored: int) -> None:
        """`scored`: pictures of this run so far."""
        self._samples.append((now_s, scored))
        while self._samples[0][0] < now_s - WINDOW_S:
            self._samples.popleft()

    @property
    def per_s(self) -> float:
        if len(self._samples) < 2:
            return 0.0
        (began_s, before), (ended_s, after) = self._samples[0], self._samples[-1]
        return (after - before) / (ended_s - began_s) if ended_s > began_s else 0.0

    def seconds_for(self, pictures: int) -> float | None:
        """How long so many will take; None while nothing moves."""
        return pictures / self.per_s if self.per_s > 0 else None
