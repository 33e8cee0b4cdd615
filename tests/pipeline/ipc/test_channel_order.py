"""The order of messages: what waits in the outbox goes before what comes later, also when there is room again."""

import asyncio
from typing import Any

from autotagger.pipeline.ipc.channel import AsyncChannel, Channel, ChannelClosed
from autotagger.pipeline.ipc.messages import Heartbeat, Log, Scored

Ends = tuple[Channel, Channel]


def filled(channel: AsyncChannel) -> list[Any]:
    """Send until messages wait; what was sent."""
    sent: list[Any] = []
    while channel.backlog < 3:
        sent.append(Scored(len(sent), bytes(20_000)))
        channel.send(sent[-1])
    return sent


async def test_nothing_overtakes_what_waits_though_there_is_room_again(ends: Ends) -> None:
    ours, theirs = ends
    channel = AsyncChannel(ours, handle=lambda _: None, closed=lambda _: None)
    sent = filled(channel)
    received = [theirs.receive() for _ in range(5)]
    # Room now, and the loop has had no turn: what is sent has to go behind those that wait.
    last = Log("INFO", "last")
    channel.send(last)
    assert channel.backlog == 4
    while len(received) <= len(sent):
        while (message := theirs.try_receive()) is not None:
            received.append(message)
        await asyncio.sleep(0)
    assert received == [*sent, last]
    assert channel.backlog == 0
    channel.send(Heartbeat())
    assert theirs.try_receive() == Heartbeat(), "directly: nothing waits any more"
    channel.close()


async def test_who_has_closed_neither_sends_nor_hears(ends: Ends) -> None:
    ours, theirs = ends
    heard: list[Any] = []
    channel = AsyncChannel(ours, heard.append, closed=heard.append)
    theirs.send(Heartbeat())
    channel.close()
    channel.close()
    channel.drain()
    channel.send(Heartbeat())
    await asyncio.sleep(0)
    assert heard == []


async def test_a_death_while_messages_wait_is_told(ends: Ends) -> None:
    ours, theirs = ends
    deaths: list[ChannelClosed] = []
    channel = AsyncChannel(ours, handle=lambda _: None, closed=deaths.append)
    filled(channel)
    theirs.close()
    for _ in range(5):
        await asyncio.sleep(0)
    assert len(deaths) == 1


async def test_a_chatty_process_does_not_keep_the_loop(ends: Ends) -> None:
    ours, theirs = ends
    heard: list[Any] = []
    channel = AsyncChannel(ours, heard.append, closed=lambda _: None)
    for _ in range(130):
        theirs.send(Heartbeat())
    channel._readable()
    assert len(heard) == 64
    channel.drain()
    assert len(heard) == 130
    channel.close()


async def test_who_closes_while_it_hears_hears_no_more(ends: Ends) -> None:
    ours, theirs = ends
    heard: list[Any] = []

    def close(message: Any) -> None:
        heard.append(message)
        channel.close()

    channel = AsyncChannel(ours, close, closed=lambda _: None)
    theirs.send(Heartbeat())
    theirs.send(Heartbeat())
    channel._readable()
    assert heard == [Heartbeat()]
