"""The clock that Immich's `updatedAt` is read off: its database's.

Four clocks tell a time here: ours, that of Immich's process, a proxy's (which may replace the `Date` header), and
the database's, perhaps on another host. Whether an asset has settled is a question of `updatedAt` alone, so the
time of a call has to come from the same clock (docs/immich.md, law 12). Every upsert of a tag writes the tag's own
`updatedAt`: upserting the marker, which changes nothing else, tells the database's time for the price of one small
call a batch.
"""

import asyncio
import time
from collections.abc import Callable

from loguru import logger

from autotagger.pipeline.writer.tag_ids import TagIds

#: How long a time that was read serves, counted on by our own clock: a database's clock may be set meanwhile.
READ_AGAIN_S = 10.0


class DatabaseClock:
    """Tells the database's time, never later than it is. `marker`: the tag that is upserted for it; `clock`:
    seconds, monotonic."""

    def __init__(self, tag_ids: TagIds, marker: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._tag_ids = tag_ids
        self._marker = marker
        self._clock = clock
        self._read_ms = 0
        self._read_s = float("-inf")
        self._told = False
        self._reading = asyncio.Lock()

    async def now_ms(self) -> int:
        """The time now, epoch milliseconds; 0, which is before everything, where Immich does not tell it (one
        warning says so). Raises what the client raises."""
        async with self._reading:  # many ask at once, and one reading serves them all
            if self._clock() - self._read_s >= READ_AGAIN_S:
                self._read_ms = await self._tag_ids.touch(self._marker)
                self._read_s = self._clock()  # the answer came a little later than the time that it tells
                if not self._read_ms and not self._told:
                    self._told = True
                    logger.warning(
                        "Immich does not say when it wrote a tag: assets may count as settled too early"
                    )
        return self._read_ms and self._read_ms + int((self._clock() - self._read_s) * 1_000)
