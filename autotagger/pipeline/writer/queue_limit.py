"""Patience with Immich's own queues: no tag calls while its jobs for earlier ones pile up.

Each tagged asset costs Immich a sidecar write and a metadata extraction, behind which uploads wait (immich.md).
Only an administrator's key may read the queues; without one, `pace` is what keeps the load low.
"""

from collections.abc import Callable

from loguru import logger

from autotagger.errors import ServerRefused
from autotagger.immich.client import ImmichClient
from autotagger.immich.types import Dialect, Server

#: Seconds between two looks, and between two lines that say what is waited for.
LOOK_EVERY_S = 5.0
TELL_EVERY_S = 600.0


class Queues:
    """`most`: jobs in Immich's sidecar and metadata queues above which tag calls wait; 0 never waits. `clock`:
    seconds."""

    def __init__(self, client: ImmichClient, server: Server, *, most: int, clock: Callable[[], float]) -> None:
        self._client = client
        self._by_name = server.dialect is Dialect.V2_7
        self._most = most
        self._clock = clock
        self._can_look = most > 0 and server.may("job.read" if self._by_name else "queue.read")
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
        had_room, self._has_room = self._has_room, waiting <= self._most
        if had_room and self._has_room:
            return True
        if self._has_room:
            logger.info("Immich has caught up: tagging goes on")
        elif had_room or self._clock() >= self._tell_at_s:
            self._tell_at_s = self._clock() + TELL_EVERY_S
            logger.info(
                "Immich has {} jobs waiting: tag calls wait until there are at most {}", waiting, self._most
            )
        return self._has_room
