import asyncio
from contextlib import AsyncExitStack

import pytest

from autotagger.immich.pacing import Limiter
from tests.immich.support import Clock


def limiter(max_width: int = 8) -> tuple[Limiter, Clock]:
    clock = Clock()
    return Limiter(max_width, clock=clock), clock


def test_an_error_halves_and_good_answers_add_one_a_round() -> None:
    pace, clock = limiter(8)
    pace.failed(begun=clock())
    assert pace.width == 4
    for _ in range(5):
        pace.welcome()
    assert pace.width == 5
    for _ in range(1000):
        pace.welcome()
    assert pace.width == 8


def test_never_below_one() -> None:
    pace, clock = limiter(8)
    for _ in range(10):
        clock.now += 1
        pace.failed(begun=clock())
    assert pace.width == 1


def test_calls_begun_before_a_cut_do_not_cut_again() -> None:
    pace, clock = limiter(8)
    clock.now = 10.0
    for _ in range(8):
        pace.failed(begun=5.0)
    assert pace.width == 4
    pace.failed(begun=10.5)
    assert pace.width == 2


def test_answers_far_slower_than_the_best_shrink_it() -> None:
    pace, clock = limiter(8)
    for _ in range(50):
        pace.answered("preview", clock(), 0.01)
    assert pace.width == 8
    for _ in range(20):
        clock.now += 1
        pace.answered("preview", clock(), 2.0)
    assert pace.width == 1


def test_steady_answers_do_not_shrink_it_however_slow() -> None:
    pace, clock = limiter(8)
    for _ in range(50):
        pace.answered("search", clock(), 3.0)
        pace.answered("preview", clock(), 0.01)
    assert pace.width == 8


async def test_no_more_than_width_at_once_and_first_come_first_served() -> None:
    pace, _ = limiter(2)
    order: list[int] = []
    busy, max_busy = 0, 0

    async def call(number: int) -> None:
        nonlocal busy, max_busy
        async with pace.place():
            busy += 1
            max_busy = max(max_busy, busy)
            order.append(number)
            await asyncio.sleep(0)
            busy -= 1

    await asyncio.gather(*(call(number) for number in range(20)))
    assert max_busy == 2
    assert order == list(range(20))


async def test_a_place_is_given_back_when_its_holder_fails_or_its_waiter_is_cancelled() -> None:
    pace, _ = limiter(1)
    with pytest.raises(KeyError):
        async with pace.place():
            raise KeyError
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(pace.place())
        waiters = [asyncio.create_task(_use(pace)) for _ in range(3)]
        await asyncio.sleep(0)
        waiters[0].cancel()
        await asyncio.sleep(0)
    waiters[1].cancel()  # its turn has come, but it has not run yet
    assert await asyncio.gather(*waiters, return_exceptions=True) == [_Cancelled(), _Cancelled(), None]
    await _use(pace)


class _Cancelled:
    def __eq__(self, other: object) -> bool:
        return isinstance(other, asyncio.CancelledError)

    __hash__ = None  # type: ignore[assignment]


async def _use(pace: Limiter) -> None:
    async with pace.place():
        pass


async def test_a_wider_limit_wakes_waiters() -> None:
    pace, clock = limiter(2)
    pace.failed(begun=clock())
    async with pace.place():
        waiter = asyncio.create_task(_use(pace))
        await asyncio.sleep(0)
        assert not waiter.done()
        pace.welcome()
        await waiter
