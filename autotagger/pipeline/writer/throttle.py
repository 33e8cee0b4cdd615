"""How the writer spares Immich: at most so many assets a second, and none while its job queues are long."""

import asyncio
from collections.abc import Awaitable, Callable

from loguru import logger

from autotagger.errors import ServerRefused
from autotagger.immich.client import ImmichClient
from autotagger.immich.types import Dialect, Server


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


#: Seconds between two looks, and between two lines that say what is waited for.
LOOK_EVERY_S = 5.0
TELL_EVERY_S = 600.0


class Queues:
    """`limit`: jobs in Immich's sidecar and metadata queues above which tag calls wait; 0 never waits. `clock`:
    seconds."""

    def __init__(self, client: ImmichClient, server: Server, *, limit: int, clock: Callable[[], float]) -> None:
        self._client = client
        self._by_name = server.dialect is Dialect.V2_7
        self._limit = limit
        self._clock = clock
        self._can_look = limit > 0 and server.may("job.read" if self._by_name else "queue.read")
        self._look_at_s = 0.0
        self._tell_at_s = 0.0
        self._has_room = True

    async def have_room(self) -> bool:
        """Whether tag calls may be made now. Raises Unreachable."""
        if not self._can_look or self._clock() < self._look_at_s:
            return self._has_room
        self._look_at_s = self._clock() + LOOK_EVERY_S
        try:
            waiting = await self._client.queued_jobs(by_name=self._by_name)
        except ServerRefused:  # `all` of somebody who is no administrator
            logger.info("this key may not read Immich's queues: only [immich] pace slows tagging down")
            self._can_look, self._has_room = False, True
            return True
        had_room, self._has_room = self._has_room, waiting <= self._limit
        if had_room and self._has_room:
            return True
        if self._has_room:
            logger.info("Immich has caught up: tagging continues")
        elif had_room or self._clock() >= self._tell_at_s:
            self._tell_at_s = self._clock() + TELL_EVERY_S
            logger.info(
                "Immich has {} jobs waiting: tag calls wait until there are at most {}", waiting, self._limit
            )
        return self._has_room
