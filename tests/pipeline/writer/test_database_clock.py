"""The database's time, told by upserts: never later than it is, and few calls."""

import asyncio
from typing import Any, cast

from autotagger.pipeline.writer.database_clock import READ_AGAIN_S, DatabaseClock

MARKER = "auto:processed"


class Tags:
    """Upserts at the times of a database that is ten minutes off. Counts them."""

    def __init__(self, *times_ms: int) -> None:
        self.times_ms = list(times_ms)
        self.touched: list[str] = []

    async def touch(self, name: str) -> int:
        self.touched.append(name)
        return self.times_ms.pop(0)


async def test_a_time_that_was_read_is_counted_on_for_a_while_and_then_read_again() -> None:
    now_s = [100.0]
    tags = Tags(5_000, 90_000)
    clock = DatabaseClock(cast("Any", tags), MARKER, clock=lambda: now_s[0])
    assert await clock.now_ms() == 5_000
    now_s[0] += 2.5
    assert await clock.now_ms() == 7_500
    now_s[0] += READ_AGAIN_S
    assert await clock.now_ms() == 90_000, "somebody set the database's clock"
    assert tags.touched == [MARKER, MARKER]


async def test_a_server_that_does_not_tell_is_before_everything() -> None:
    clock = DatabaseClock(cast("Any", Tags(0)), MARKER, clock=lambda: 0.0)
    assert await clock.now_ms() == 0


async def test_many_who_ask_at_once_cost_one_call() -> None:
    tags: Any = Tags(1_000, 2_000)
    clock = DatabaseClock(tags, MARKER, clock=lambda: 5.0)
    assert await asyncio.gather(*(clock.now_ms() for _ in range(50))) == [1_000] * 50
    assert tags.touched == [MARKER]
