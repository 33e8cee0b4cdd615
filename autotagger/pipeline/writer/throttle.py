"""Pace: at most so many assets a second, because each costs Immich seconds of background work (immich.md)."""

import asyncio
from collections.abc import Awaitable, Callable


class Pace:
    """`per_s` assets a second, evenly; 0 is no limit. `clock` in seconds."""

    def __init__(
        self,
        per_s: float,
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._per_s = per_s
        self._clock = clock
        self._sleep = sleep
        self._free_at = 0.0

    async def take(self, assets: int) -> None:
        """Wait until `assets` more may be sent."""
        if not self._per_s:
            return
        now = self._clock()
        wait = self._free_at - now
        self._free_at = max(self._free_at, now) + assets / self._per_s
        if wait > 0:
            await self._sleep(wait)
