"""How the writer spares Immich: the exact limits, by a clock that the test moves."""

from typing import Any

import pytest
from loguru import logger

from autotagger.errors import ServerRefused
from autotagger.immich.types import Dialect
from autotagger.pipeline.writer.throttle import LOOK_EVERY_S, TELL_EVERY_S, Pace, Queues
from tests.pipeline.unit import Clock, FakeImmich, server


def queues_of(immich: FakeImmich, clock: Clock, *, limit: int = 10, rights: str = "queue.read") -> Queues:
    client: Any = immich
    return Queues(client, server(rights), limit=limit, clock=clock)


@pytest.mark.parametrize(("queued", "room"), [(9, True), (10, True), (11, False)])
async def test_there_is_room_up_to_the_limit_itself(queued: int, room: bool) -> None:
    immich = FakeImmich()
    immich.queued = queued
    assert await queues_of(immich, Clock()).have_room() is room


async def test_what_was_seen_holds_for_some_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    immich, clock = FakeImmich(), Clock()
    queues = queues_of(immich, clock)
    immich.queued = 99
    assert not await queues.have_room()
    immich.queued = 0
    clock.now_s += LOOK_EVERY_S - 0.1
    assert not await queues.have_room()
    assert immich.count("queued_jobs") == 1
    clock.now_s += 0.1
    assert await queues.have_room()
    immich.queued = 99
    assert await queues.have_room()
    assert immich.count("queued_jobs") == 2


async def test_without_a_limit_or_the_right_nobody_is_asked() -> None:
    immich = FakeImmich()
    immich.queued = 99
    assert await queues_of(immich, Clock(), limit=0).have_room()
    assert await queues_of(immich, Clock(), rights="job.read").have_room()
    assert immich.count("queued_jobs") == 0


@pytest.mark.parametrize(
    ("dialect", "right", "by_name"),
    [(Dialect.V2_7, "job.read", True), (Dialect.V3_0, "queue.read", False), (Dialect.V3_2, "queue.read", False)],
)
async def test_each_server_is_asked_in_its_own_way(dialect: Dialect, right: str, by_name: bool) -> None:
    immich: Any = FakeImmich()
    await Queues(immich, server(right, dialect=dialect), limit=1, clock=Clock()).have_room()
    assert immich.calls == [("queued_jobs", by_name)]


async def test_who_is_refused_asks_once_and_never_waits() -> None:
    immich, clock = FakeImmich(), Clock()
    queues = queues_of(immich, clock)
    immich.queued = 99
    assert not await queues.have_room()
    clock.now_s += LOOK_EVERY_S
    immich.fail = {"queued_jobs": [ServerRefused("no administrator")]}
    assert await queues.have_room()
    clock.now_s += LOOK_EVERY_S
    assert await queues.have_room()
    assert immich.count("queued_jobs") == 2


async def test_the_pace_waits_for_what_was_taken_before_and_saves_nothing_up() -> None:
    clock, slept = Clock(), list[float]()

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        clock.now_s += seconds

    pace = Pace(10.0, clock=clock, sleep=sleep)
    await pace.take(20)
    assert slept == []
    await pace.take(5)
    assert slept == [2.0]
    clock.now_s += 60
    await pace.take(10)
    await pace.take(10)
    assert slept == [2.0, 1.0], "an idle minute is no credit"


async def test_the_pace_is_kept_on_average_and_0_is_none() -> None:
    now, slept = 0.0, []

    async def sleep(seconds: float) -> None:
        nonlocal now
        slept.append(seconds)
        now += seconds

    pace = Pace(10.0, clock=lambda: now, sleep=sleep)
    for _ in range(8):
        await pace.take(25)
    assert now == pytest.approx(7 * 2.5)
    slept.clear()
    free = Pace(0.0, clock=lambda: now, sleep=sleep)
    await free.take(1_000)
    assert slept == []


async def test_what_is_waited_for_is_told_at_once_and_then_now_and_again() -> None:
    immich, clock, lines = FakeImmich(), Clock(), list[str]()
    sink = logger.add(lines.append, format="{message}")
    queues = queues_of(immich, clock)
    try:
        immich.queued = 99
        for at_s in (0.0, LOOK_EVERY_S, TELL_EVERY_S - LOOK_EVERY_S, TELL_EVERY_S):
            clock.now_s = 1_000.0 + at_s
            assert not await queues.have_room()
        immich.queued = 0
        clock.now_s += LOOK_EVERY_S
        assert await queues.have_room()
    finally:
        logger.remove(sink)
    waits = "Immich has 99 jobs waiting: tag calls wait until there are at most 10\n"
    assert lines == [waits, waits, "Immich has caught up: tagging continues\n"]
