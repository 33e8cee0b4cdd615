"""A child process that is an event loop: it reads its channel, reports, and ends with the supervisor."""

import asyncio
import os
import traceback
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn

import uvloop

from autotagger.errors import Fatal
from autotagger.pipeline.child.base import CRASHED, HEARTBEAT_S, enter_child, report_end
from autotagger.pipeline.child.spec import ChildSpec
from autotagger.pipeline.ipc.channel import AsyncChannel, Channel, ChannelClosed
from autotagger.pipeline.ipc.messages import Counts, Heartbeat
from autotagger.pipeline.ipc.stats import exchanged


class AsyncChild:
    """An event-loop child: reads its channel, sends heartbeats, reports counts, and ends with the supervisor."""

    def __init__(self, channel: Channel, handle: Callable[[Any], None]) -> None:
        # The supervisor is gone: the next run repeats what was unfinished.
        self.channel = AsyncChannel(channel, handle, closed=lambda _: os._exit(0))
        self._counts: Counter[str] = Counter()

    def send(self, message: object) -> None:
        self.channel.send(message)

    def count(self, what: str, by: int = 1) -> None:
        """Add to the counts that the next heartbeat reports."""
        self._counts[what] += by

    def exchanged(self, call: str, outcome: str, seconds: float) -> None:
        """Add an exchange with Immich to the counts."""
        self._counts.update(exchanged(call, outcome, seconds))

    def flush(self) -> None:
        """Report the counts now."""
        if self._counts:
            self.send(Counts(self._counts))
            self._counts = Counter()

    async def heartbeat(self) -> None:
        """Say that the loop turns, for ever."""
        while True:
            self.flush()
            self.send(Heartbeat())
            await asyncio.sleep(HEARTBEAT_S)


def run_async_child(
    channel: Channel, spec: ChildSpec, role: str, main: Callable[[Channel, ChildSpec], Coroutine[Any, Any, None]]
) -> None:
    """Run a child's coroutine on uvloop until it returns, the supervisor is gone, or the run cannot go on."""
    enter_child(channel, spec, role)

    async def guarded() -> None:
        asyncio.get_running_loop().set_exception_handler(_handle_fault)
        try:
            try:
                await main(channel, spec)
            except* (Fatal, OSError) as group:
                report_end(channel.send, first(group))
        except* MemoryError as group:
            _end_for_want(first(group))

    try:
        uvloop.run(guarded())
    except ChannelClosed:
        os._exit(0)
    except MemoryError as error:
        _end_for_want(error)


def _handle_fault(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    error = context.get("exception")
    if isinstance(error, MemoryError):
        _end_for_want(error)
    loop.default_exception_handler(context)


def _end_for_want(error: BaseException) -> NoReturn:
    """Of memory or descriptors: at once, without a last word to anybody, as nothing works any more as its author
    thought. Who takes our place starts with both."""
    try:
        traceback.print_exception(error)
    finally:
        os._exit(CRASHED)


def first(group: BaseException) -> Exception:
    """The first of the errors in a group."""
    while isinstance(group, BaseExceptionGroup):
        group = group.exceptions[0]
    assert isinstance(group, Exception)
    return group
