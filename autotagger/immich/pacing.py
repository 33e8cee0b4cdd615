"""How many requests may be under way at once: additive increase, multiplicative decrease."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

Clock = Callable[[], float]

#: Part of the width that is left after an error or a slow spell.
_SHRINK = 0.5
#: Calls this much slower than the best of their kind say that the server is busy: at its knee (8 connections)
#: Immich answers previews 4 times slower than on one connection, and a quarter of a second hides scheduling noise.
_SLOW_FACTOR = 4.0
_SLOW_SLACK_S = 0.25
#: Weight of the newest call in the average that is compared with the best.
_NEWEST = 0.2
#: The best is forgotten by this factor a call, so that a lucky answer does not count for ever.
_FORGET = 1.002


class Limiter:
    """Places for requests. Its `width` grows by one a round while all is well and halves when it is not.

    `max_width` (requests): the widest it gets, and where it starts. `clock`: seconds, monotonic.
    One event halves it once: what had begun before a cut does not cut again.
    """

    def __init__(self, max_width: int, *, clock: Clock = time.monotonic) -> None:
        self._max_width = float(max_width)
        self._clock = clock
        self._width = self._max_width
        self._busy = 0
        self._turns: deque[asyncio.Future[None]] = deque()
        self._cut_at = float("-inf")
        self._best_s: dict[str, float] = {}
        self._usual_s: dict[str, float] = {}

    @property
    def width(self) -> int:
        """Requests that may be under way now, at least 1."""
        return int(self._width)

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Wait for a place, first come first served, and hold it."""
        await self._take()
        try:
            yield
        finally:
            self._busy -= 1
            self._hand_out()

    def answered(self, kind: str, begun: float, took_s: float) -> None:
        """Tell of a good answer to a call of `kind` (only like calls are compared) begun at clock `begun`."""
        best = min(took_s, self._best_s.get(kind, took_s) * _FORGET)
        usual = self._usual_s.get(kind, took_s)
        self._best_s[kind] = best
        self._usual_s[kind] = usual + _NEWEST * (took_s - usual)
        if self._usual_s[kind] > _SLOW_FACTOR * best + _SLOW_SLACK_S:
            self.failed(begun)
        else:
            self.welcome()

    def welcome(self) -> None:
        """Tell of a good answer whose time says nothing (it depends on how much was asked for)."""
        self._width = min(self._max_width, self._width + 1.0 / self._width)
        self._hand_out()

    def failed(self, begun: float) -> None:
        """Tell of an error, a timeout or a 429 of a call begun at clock `begun`."""
        if begun >= self._cut_at:
            self._width = max(1.0, self._width * _SHRINK)
            self._cut_at = self._clock()

    async def _take(self) -> None:
        if self._busy < self.width and not self._turns:
            self._busy += 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._turns.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # the place was handed over while its taker was cancelled
                self._busy -= 1
            self._hand_out()
            raise

    def _hand_out(self) -> None:
        while self._turns and (self._turns[0].done() or self._busy < self.width):
            turn = self._turns.popleft()
            if not turn.done():
                self._busy += 1
                turn.set_result(None)
