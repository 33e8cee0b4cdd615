"""The channel between the supervisor and a child: whole messages over a socket pair.

Every child has one channel to the supervisor and none to its siblings: what a killed process held is known to
the supervisor from its own job table, and no lock can die with its owner.
"""

import asyncio
import io
import pickle
import socket
import sys
from collections import Counter
from collections.abc import Callable
from enum import Enum
from multiprocessing.reduction import DupFd
from typing import Any, Self

from autotagger.resources import raise_if_exhausted

#: The largest message (a `Listed` of 100 assets is near 30 KB), and the room we ask the kernel for.
MESSAGE_BYTES = 1 << 18
BUFFER_BYTES = 1 << 20
#: Where the classes of messages, and of what is in them, come from. Whatever else arrives is not looked up.
SPOKEN = frozenset(
    {
        "autotagger.ledger.rows",
        "autotagger.ledger.states",
        "autotagger.pipeline.ipc.messages",
        "autotagger.pipeline.control.mailbox",
    }
)


class ChannelClosed(Exception):
    """The process at the other end is gone."""


class Garbled(ChannelClosed):
    """What the other end sent is no message: nothing more of it is believed."""


def encoded(message: object) -> bytes:
    """A message as it goes through a channel. Raises ValueError when it is too large to arrive whole."""
    written = io.BytesIO()
    _Writer(written, pickle.HIGHEST_PROTOCOL).dump(message)
    packet = written.getvalue()
    if len(packet) > MESSAGE_BYTES:
        raise ValueError(f"a {type(message).__name__} of {len(packet)} bytes is too large for a channel")
    return packet


def decoded(packet: bytes) -> Any:
    """The message in a packet. Raises Garbled for anything that `encoded` would not have made."""
    if len(packet) > MESSAGE_BYTES:
        raise Garbled(f"more than {MESSAGE_BYTES} bytes")
    try:
        return _Reader(io.BytesIO(packet)).load()
    except Exception as error:  # bytes that are no message can fail in every way, and ask for any amount of memory
        raise_if_exhausted()
        raise Garbled(f"{len(packet)} bytes that are no message: {type(error).__name__}") from None


class _Writer(pickle.Pickler):
    """Writes what a reader takes, on every Python."""

    def reducer_override(self, item: object) -> Any:
        """Members of an enum as their class and value. Python 3.11 before its fourth release (Debian 12 has the
        second) writes an order to look up an attribute, which nobody carries out here."""
        return (type(item), (item.value,)) if isinstance(item, Enum) else NotImplemented


class _Reader(pickle.Unpickler):
    """Makes messages and nothing else, whatever the bytes ask for."""

    def find_class(self, module: str, name: str) -> Any:
        """A message's class. Raises UnpicklingError for anything else."""
        if (module, name) == ("collections", "Counter"):
            return Counter
        if module not in SPOKEN:
            raise pickle.UnpicklingError
        found = vars(sys.modules[module])[name]
        if not isinstance(found, type) or found.__module__ != module:
            raise pickle.UnpicklingError
        return found


class Channel:
    """One end of a socket pair that carries whole messages: each is sent completely or not at all.

    The other end's death is seen as ChannelClosed; a message can be lost with the process, never torn. Several
    threads may send at once.
    """

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._closed = False

    @classmethod
    def pair(cls) -> tuple[Self, Self]:
        ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in ends:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
        return cls(ends[0]), cls(ends[1])

    def __getstate__(self) -> Any:
        return DupFd(self._socket.fileno())

    def __setstate__(self, state: Any) -> None:
        self._socket = socket.socket(fileno=state.detach())
        self._closed = False

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._closed = True
        self._socket.close()

    def send(self, message: object) -> None:
        """Send, waiting for room. Raises ChannelClosed."""
        try:
            self._socket.send(encoded(message))
        except OSError:
            raise ChannelClosed from None

    def receive(self) -> Any:
        """The next message, waiting for it. Raises ChannelClosed, of which Garbled is one."""
        return self._receive()

    def try_send(self, message: bytes) -> bool:
        """Send an encoded message if there is room now. Raises ChannelClosed."""
        try:
            self._socket.send(message, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            raise ChannelClosed from None
        return True

    def try_receive(self) -> Any | None:
        """The next message if one is there. Raises ChannelClosed."""
        try:
            return self._receive(socket.MSG_DONTWAIT)
        except (BlockingIOError, InterruptedError):
            return None

    def _receive(self, flags: int = 0) -> Any:
        try:
            packet = self._socket.recv(MESSAGE_BYTES + 1, flags)  # one more: a longer one would come cut
        except BlockingIOError:
            raise
        except OSError:
            raise ChannelClosed from None
        if not packet:
            raise ChannelClosed
        return decoded(packet)


class AsyncChannel:
    """A channel inside an event loop: `handle` is called for every message, `closed` when the other end is gone
    or no longer makes sense (Garbled).

    Messages that find no room wait in an outbox; `backlog` says how many, for those who can slow down.
    """

    def __init__(
        self, channel: Channel, handle: Callable[[Any], None], closed: Callable[[ChannelClosed], None]
    ) -> None:
        self._channel = channel
        self._handle = handle
        self._on_closed = closed
        self._outbox: list[bytes] = []
        self._loop = asyncio.get_running_loop()
        self._open = True
        self._loop.add_reader(channel.fileno(), self._readable)

    @property
    def backlog(self) -> int:
        return len(self._outbox)

    def send(self, message: object) -> None:
        """Send now or as soon as there is room. To a closed channel: nothing, `closed` was or will be called."""
        if not self._open:
            return
        packet = encoded(message)
        try:
            if not self._outbox and self._channel.try_send(packet):
                return
        except ChannelClosed as error:
            self._lost(error)
            return
        if not self._outbox:
            self._loop.add_writer(self._channel.fileno(), self._writable)
        self._outbox.append(packet)

    def drain(self) -> None:
        """Handle everything that a process which has ended left in the channel."""
        try:
            while self._open and (message := self._channel.try_receive()) is not None:
                self._handle(message)
        except ChannelClosed as error:
            self._lost(error)

    def close(self) -> None:
        """Close this end; `closed` is not called for it."""
        if self._open:
            self._open = False
            self._loop.remove_reader(self._channel.fileno())
            self._loop.remove_writer(self._channel.fileno())
            self._channel.close()

    def _readable(self) -> None:
        try:
            # Bounded, so that a chatty child cannot keep the loop from everything else.
            for _ in range(64):
                message = self._channel.try_receive()
                if message is None:
                    return
                self._handle(message)
                if not self._open:
                    return
        except ChannelClosed as error:
            self._lost(error)

    def _writable(self) -> None:
        try:
            while self._outbox and self._channel.try_send(self._outbox[0]):
                self._outbox.pop(0)
        except ChannelClosed as error:
            self._lost(error)
            return
        if not self._outbox:
            self._loop.remove_writer(self._channel.fileno())

    def _lost(self, error: ChannelClosed) -> None:
        if self._open:
            self.close()
            self._on_closed(error)
