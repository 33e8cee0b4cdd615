"""A child process as the supervisor sees it: started, listened to, ended."""

import asyncio
import multiprocessing
import signal
from collections.abc import Callable
from typing import Any

from loguru import logger

from autotagger.pipeline.ipc.channel import AsyncChannel, Channel, ChannelClosed, Garbled

#: Spawned, not forked: a fork would copy threads' locks and OpenVINO's state.
_SPAWN = multiprocessing.get_context("spawn")


class Child:
    """One running process. `role` is what it does (fetcher, inferencer, writer); `heard_s` when it last spoke,
    `served_s` when it last ended its part of a flight.

    Making one raises OSError or MemoryError where the machine does not give another process.
    """

    def __init__(
        self,
        role: str,
        target: Callable[..., None],
        arguments: tuple[Any, ...],
        *,
        handle: Callable[["Child", Any], None],
        died: Callable[["Child"], None],
        clock: Callable[[], float],
    ) -> None:
        ours, theirs = Channel.pair()
        self.role = role
        self.ready = False
        self.capacity = 0
        self.flights: set[int] = set()
        self.heard_s = self.served_s = clock()
        self._clock = clock
        self._handle = handle
        self._died = died
        self._process = _SPAWN.Process(target=target, args=(theirs, *arguments), name=f"autotagger {role}")
        self._exit_code: int | None = None
        try:
            self._process.start()
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self._pid = self._process.pid or 0
        self._channel = AsyncChannel(ours, self._heard, closed=self._fell_silent)
        asyncio.get_running_loop().add_reader(self._process.sentinel, self._ended)

    @property
    def pid(self) -> int:
        return self._pid

    @property
    def has_room(self) -> bool:
        """Whether it has started and can take another flight."""
        return self.ready and len(self.flights) < self.capacity

    @property
    def exit_description(self) -> str:
        """`signal 9 (SIGKILL)` or `exit code 70`."""
        code = self._exit_code
        if code is None:
            return "still running"
        return f"signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"exit code {code}"

    def send(self, message: object) -> None:
        self._channel.send(message)

    def close(self) -> None:
        """Close the channel: the child takes it as the end."""
        self._channel.close()

    def kill(self) -> None:
        """End it now; `died` is called as for any other end."""
        if self._exit_code is None:
            self._process.kill()

    def forget(self) -> None:
        """Kill it and wait; `died` is not called."""
        if self._exit_code is not None:
            return
        asyncio.get_running_loop().remove_reader(self._process.sentinel)
        self._channel.close()
        self._process.kill()
        self._bury()

    def _bury(self) -> None:
        """Wait for its end, and give back the descriptors that it was watched by: a long run buries many."""
        self._process.join()
        self._exit_code = self._process.exitcode
        self._process.close()

    def _heard(self, message: Any) -> None:
        self.heard_s = self._clock()
        self._handle(self, message)

    def _fell_silent(self, why: ChannelClosed) -> None:
        """The end of the process is what counts, and its channel closes a moment before: unless it lives on and
        talks nonsense."""
        if isinstance(why, Garbled):
            logger.error("the {} (process {}) sent {}; it is replaced", self.role, self._pid, why)
            self.kill()

    def _ended(self) -> None:
        asyncio.get_running_loop().remove_reader(self._process.sentinel)
        self._bury()
        # Its last words, an `Ended` above all, may still be in the channel.
        self._channel.drain()
        self._channel.close()
        self._died(self)
