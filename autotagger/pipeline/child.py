"""What every child process has in common: how it is started, lives, reports and ends."""

import asyncio
import ctypes
import faulthandler
import os
import signal
import time
import traceback
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, NoReturn

import uvloop

from autotagger.errors import AssetFailed, AssetGone, Fatal, Retryable, StartupFailed, Unreachable
from autotagger.ledger.database import LedgerLock
from autotagger.log import forward_logs
from autotagger.memory import ensure_memory
from autotagger.pipeline.accounts import Account
from autotagger.pipeline.channel import AsyncChannel, Channel, ChannelClosed
from autotagger.pipeline.figures import exchanged
from autotagger.pipeline.gentleness import step_back
from autotagger.pipeline.messages import Beat, Counts, Ended, Errand, Log, Next, Trouble
from autotagger.settings import Settings
from autotagger.tagger.catalog import Model

#: A child says that it lives every so many seconds; the supervisor's patience is `pipeline.hang_timeout_s`.
BEAT_S = 2.0
#: prctl(2): the signal that the kernel sends us when the thread that started us ends.
_PR_SET_PDEATHSIG = 1
#: prctl(2): the calling thread's name, of at most 15 bytes; the main thread's is the process's in ps and top.
_PR_SET_NAME = 15
#: The exit code of a child that is to be replaced: EX_SOFTWARE of sysexits.h.
CRASHED = 70
#: Characters of one log line; a message can quote what Immich sent, and must fit into a channel's message.
MOST_LOGGED = 10_000


@dataclass(frozen=True)
class ChildSpec:
    """All that a child needs to know. Goes through the pipe that starts it, never through its command line."""

    settings: Settings
    accounts: tuple[Account, ...]
    model: Model | None  # None: nothing is inferred and nothing decided from scores
    run: int | None = None
    errand: Errand | None = None  # what the writer does instead of tagging what is new
    dry: bool = False  # nothing is changed in Immich
    lock: LedgerLock | None = None  # for the writer: it holds the ledger as long as it lives


def wall_ms() -> int:
    """Our clock, epoch milliseconds."""
    return time.time_ns() // 1_000_000


def enter_child(channel: Channel, spec: ChildSpec, role: str) -> None:
    """First thing in a child: signals are the supervisor's business, logs go to it, crashes leave a trace."""
    name_thread(f"autotag-{role}")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    faulthandler.enable()
    step_back(spec.settings.pipeline)

    def forward(level: str, text: str) -> None:
        try:
            channel.send(Log(level, text[:MOST_LOGGED]))
        except ChannelClosed:  # the supervisor is gone, wherever in the code a line was logged
            os._exit(0)

    forward_logs(forward, spec.settings.log_level)
    _die_with_the_supervisor()


def name_thread(name: str) -> None:
    """Name the calling thread for those who look with ps or top, and for `autotagger bench`; threads that it
    starts have the same name until they say otherwise."""
    ctypes.CDLL(None).prctl(_PR_SET_NAME, name.encode()[:15], 0, 0, 0)


def _die_with_the_supervisor() -> None:
    """Also when we hang and cannot see it go: a writer that hangs would keep the next run from the ledger."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def trouble_of(error: Retryable | AssetFailed) -> Trouble:
    """What an error means for the asset it happened to."""
    if isinstance(error, AssetGone):
        following = Next.GONE
    elif isinstance(error, AssetFailed):
        following = Next.NEVER
    elif isinstance(error, Unreachable):
        following = Next.UNBLAMED
    else:
        following = Next.WAIT if error.kind == "preview-missing" else Next.RETRY
    return Trouble(following, error.kind, error.message)


def report_end(send: Callable[[object], None], error: Exception) -> None:
    """Tell the supervisor why the run cannot go on. Raises `error` when that is no reason, and MemoryError when it
    only looks like one."""
    ensure_memory()
    if isinstance(error, Fatal):
        send(Ended(error.message, error.kind, error.exit_code))
    elif isinstance(error, OSError):
        send(Ended(f"{error.strerror or error} ({error.filename})", "system", StartupFailed.exit_code))
    else:
        raise error


class AsyncChild:
    """An event-loop child: reads its channel, beats, reports counts, and ends with the supervisor."""

    def __init__(self, channel: Channel, handle: Callable[[Any], None]) -> None:
        # The supervisor is gone: what is under way is undone or done again by the next run.
        self.channel = AsyncChannel(channel, handle, closed=lambda _: os._exit(0))
        self._counts: Counter[str] = Counter()

    def send(self, message: object) -> None:
        self.channel.send(message)

    def count(self, what: str, by: int = 1) -> None:
        """Add to the counts that the next beat reports."""
        self._counts[what] += by

    def exchanged(self, call: str, outcome: str, seconds: float) -> None:
        """Add an exchange with Immich to the counts."""
        self._counts.update(exchanged(call, outcome, seconds))

    def flush(self) -> None:
        """Report the counts now."""
        if self._counts:
            self.send(Counts(self._counts))
            self._counts = Counter()

    async def beat(self) -> None:
        """Say that the loop turns, for ever."""
        while True:
            self.flush()
            self.send(Beat())
            await asyncio.sleep(BEAT_S)


def run_async_child(
    channel: Channel, spec: ChildSpec, role: str, main: Callable[[Channel, ChildSpec], Coroutine[Any, Any, None]]
) -> None:
    """Run a child's coroutine on uvloop until it returns, the supervisor is gone, or the run cannot go on."""
    enter_child(channel, spec, role)

    async def guarded() -> None:
        asyncio.get_running_loop().set_exception_handler(_handle_fault)
        try:
            await main(channel, spec)
        except* MemoryError as group:
            _end_for_want_of_memory(first(group))
        except* (Fatal, OSError) as group:
            report_end(channel.send, first(group))

    try:
        uvloop.run(guarded())
    except ChannelClosed:
        os._exit(0)
    except MemoryError as error:
        _end_for_want_of_memory(error)


def _handle_fault(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    error = context.get("exception")
    if isinstance(error, MemoryError):
        _end_for_want_of_memory(error)
    loop.default_exception_handler(context)


def _end_for_want_of_memory(error: BaseException) -> NoReturn:
    """At once, without a last word to anybody: nothing works any more as its author thought. Who takes our place
    starts with memory."""
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
