"""What every child process has in common: how it is started, lives, reports and ends."""

import ctypes
import faulthandler
import os
import signal
import time
from collections.abc import Callable

from autotagger.errors import AssetFailed, AssetGone, Fatal, Retryable, StartupFailed, Unreachable
from autotagger.log import forward_logs
from autotagger.pipeline.child.priority import lower_priority
from autotagger.pipeline.child.spec import ChildSpec
from autotagger.pipeline.ipc.channel import Channel, ChannelClosed
from autotagger.pipeline.ipc.messages import Ended, Log, Next, Trouble
from autotagger.resources import told

#: A child says that it lives every so many seconds; the supervisor's patience is `pipeline.hang_timeout_s`.
HEARTBEAT_S = 2.0
#: prctl(2): the signal that the kernel sends us when the thread that started us ends.
_PR_SET_PDEATHSIG = 1
#: prctl(2): the calling thread's name, of at most 15 bytes; the main thread's is the process's in ps and top.
_PR_SET_NAME = 15
#: The exit code of a child that is to be replaced: EX_SOFTWARE of sysexits.h.
CRASHED = 70
#: Characters of one log line; a message can quote what Immich sent, and must fit into a channel's message.
MAX_LOGGED = 10_000


def wall_ms() -> int:
    """Our clock, epoch milliseconds."""
    return time.time_ns() // 1_000_000


def enter_child(channel: Channel, spec: ChildSpec, role: str) -> None:
    """First thing in a child: signals are the supervisor's business, logs go to it, crashes leave a trace."""
    name_thread(f"autotag-{role}")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    faulthandler.enable()
    lower_priority(spec.settings.pipeline)

    def forward(level: str, text: str) -> None:
        try:
            channel.send(Log(level, text[:MAX_LOGGED]))
        except ChannelClosed:  # the supervisor is gone, wherever in the code a line was logged
            os._exit(0)

    forward_logs(forward, spec.settings.log_level)
    die_with_the_parent()  # a writer that hangs would keep the next run from the ledger


def name_thread(name: str) -> None:
    """Name the calling thread for those who look with ps or top, and for `autotagger bench`; threads that it
    starts have the same name until they say otherwise."""
    ctypes.CDLL(None).prctl(_PR_SET_NAME, name.encode()[:15], 0, 0, 0)


def die_with_the_parent() -> None:
    """End when the process that started this one ends, also where we hang and cannot see it go."""
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
    if isinstance(error, OSError):
        error = StartupFailed(told(error), kind="system")
    if not isinstance(error, Fatal):
        raise error
    send(Ended(error.message, error.kind, error.exit_code))
