"""What comes out of a channel is a message, or the end of whoever sent it: cut, too long, or never meant well."""

import asyncio
import os
import pickle
import resource
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import is_dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotagger.pipeline.control.mailbox import Request
from autotagger.pipeline.ipc import messages
from autotagger.pipeline.ipc.channel import (
    BUFFER_BYTES,
    MESSAGE_BYTES,
    AsyncChannel,
    Channel,
    ChannelClosed,
    Garbled,
    decoded,
    encoded,
)
from autotagger.pipeline.ipc.messages import Failed, Heartbeat, Log, Next, Ready, Trouble
from autotagger.pipeline.supervisor.processes import ChildProcess

QUICK = settings(max_examples=200)
#: What bytes that are no message may make of the memory that they name.
ROOM_BYTES = 1 << 30

#: What is left open in a message's type is what JSON can say.
RESULTS = st.dictionaries(st.text(max_size=5), st.none() | st.integers() | st.text(max_size=5), max_size=3)
st.register_type_strategy(messages.OperationDone, st.builds(messages.OperationDone, RESULTS))
st.register_type_strategy(messages.Finish, st.builds(messages.Finish, RESULTS))
st.register_type_strategy(Request, st.builds(Request, st.text(max_size=5), st.text(max_size=5), RESULTS))
MESSAGES = [kind for kind in vars(messages).values() if is_dataclass(kind) and isinstance(kind, type)]
ANY_MESSAGE: st.SearchStrategy[Any] = st.one_of([st.from_type(kind) for kind in MESSAGES])


@contextmanager
def little_memory() -> Iterator[None]:
    """A pickle can ask for any amount; here it is not given."""
    limits = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + ROOM_BYTES, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


def message_or_garbled(packet: bytes) -> None:
    with little_memory(), suppress(Garbled):
        decoded(packet)


def test_a_message_arrives_where_python_pickles_an_enum_by_an_order_to_look_it_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As 3.11.2 does, which is Debian 12's."""
    monkeypatch.setattr(Next, "__reduce_ex__", lambda member, _: (getattr, (Next, member.name)))
    message = Failed(1, Trouble(Next.RETRY, "kind", "message"))
    with pytest.raises(Garbled, match="UnpicklingError"):
        decoded(pickle.dumps(message))
    assert decoded(encoded(message)) == message


@QUICK
@given(ANY_MESSAGE)
def test_every_message_there_is_arrives_as_it_was_sent(message: object) -> None:
    arrived = decoded(encoded(message))
    assert type(arrived) is type(message)
    assert arrived == message


@QUICK
@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_garbled(packet: bytes) -> None:
    message_or_garbled(packet)


@QUICK
@given(
    message=ANY_MESSAGE,
    length=st.integers(0, 400),
    places=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=4),
)
def test_any_damage_to_a_message_makes_another_or_garbles_it(
    message: object, length: int, places: list[tuple[int, int]]
) -> None:
    packet = bytearray(encoded(message))
    for place, value in places:
        packet[place % len(packet)] = value
    message_or_garbled(bytes(packet[:length]))


class Calls:
    """A pickle that calls something when it is read."""

    def __init__(self, what: Any, *arguments: Any) -> None:
        self._reduced = (what, arguments)

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self._reduced


def named(module: str, name: str) -> bytes:
    """A pickle that looks up a name, which may have dots, and calls what it finds with nothing."""
    names = [b"\x8c" + bytes([len(each)]) + each.encode() for each in (module, name)]
    return b"\x80\x05" + b"".join(names) + b"\x93)R."


@pytest.mark.parametrize(
    "packet",
    [
        pickle.dumps(Calls(eval, "1 + 1")),
        pickle.dumps(Calls(os.getpid)),
        pickle.dumps(Calls(partial, print)),
        pickle.dumps(Path("/etc/passwd")),
        named("autotagger.pipeline.ipc.messages", "Counter"),
        named("autotagger.pipeline.ipc.messages", "Heartbeat.__repr__.__class__"),
        named("autotagger.pipeline.control.mailbox", "os.getpid"),
        named("autotagger.pipeline.control.mailbox", "Path"),
        named("autotagger.pipeline.supervisor.status", "unobserved"),
    ],
)
def test_nothing_but_messages_is_made_whatever_a_packet_asks_for(packet: bytes) -> None:
    with pytest.raises(Garbled):
        decoded(packet)


TOO_LONG = pickle.dumps(Log("INFO", "x" * MESSAGE_BYTES))


@pytest.mark.parametrize(
    "packet", [b"\x00", encoded(Heartbeat())[:-1], TOO_LONG, encoded(Heartbeat()) + bytes(MESSAGE_BYTES)]
)
async def test_the_end_that_talks_nonsense_is_told_of_once_and_not_heard_again(packet: bytes) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
    heard: list[Any] = []
    ends: list[ChannelClosed] = []
    ended = asyncio.Event()

    def closed(why: ChannelClosed) -> None:
        ends.append(why)
        ended.set()

    channel = AsyncChannel(Channel(ours), heard.append, closed)
    for each in (encoded(Log("INFO", "before")), packet, encoded(Log("INFO", "after")), packet):
        theirs.send(each)
    await asyncio.wait_for(ended.wait(), 30)
    channel.drain()
    assert heard == [Log("INFO", "before")]
    assert [type(why) for why in ends] == [Garbled]
    with theirs, pytest.raises(ConnectionError):
        theirs.send(packet)


def _babble(channel: Channel) -> None:
    """A process that has lost its mind and lives on."""
    channel.send(Ready())
    socket.socket(fileno=channel.fileno()).send(b"Ready(capacity=2)")
    threading.Event().wait()


async def test_a_process_that_talks_nonsense_is_ended_at_once() -> None:
    heard: list[Any] = []
    died = asyncio.Event()
    child = ChildProcess(
        "fetcher",
        _babble,
        (),
        handle=lambda _, message: heard.append(message),
        died=lambda _: died.set(),
        clock=lambda: 0.0,
    )
    try:
        await asyncio.wait_for(died.wait(), 60)
    finally:
        child.forget()
    assert heard == [Ready()]
    assert child.exit_description == "signal 9 (SIGKILL)"
