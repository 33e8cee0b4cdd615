"""The channel between processes: whole messages or none, in order, and a death that is seen."""

import asyncio
import multiprocessing
import threading
from typing import Any

import pytest

from autotagger.pipeline.ipc.channel import MESSAGE_BYTES, AsyncChannel, Channel, ChannelClosed
from autotagger.pipeline.ipc.messages import Log, Scored

Ends = tuple[Channel, Channel]


def test_messages_arrive_whole_and_in_order(ends: Ends) -> None:
    ours, theirs = ends
    sent = [Scored(number, bytes(number * 50)) for number in range(1_000)]

    def send_all() -> None:
        for message in sent:
            ours.send(message)

    thread = threading.Thread(target=send_all)
    thread.start()
    assert [theirs.receive() for _ in sent] == sent
    thread.join()


def test_the_largest_scores_of_the_largest_model_fit_into_a_message(ends: Ends) -> None:
    ours, theirs = ends
    packed = bytes(3 * 70_527)
    ours.send(Scored(1, packed))
    assert theirs.receive() == Scored(1, packed)


def test_a_message_that_would_be_cut_is_refused(ends: Ends) -> None:
    with pytest.raises(ValueError, match="Scored of"):
        ends[0].send(Scored(1, bytes(MESSAGE_BYTES)))


def test_the_other_end_gone_is_seen_by_both_directions(ends: Ends) -> None:
    ours, theirs = ends
    theirs.send(Log("INFO", "last words"))
    theirs.close()
    assert ours.receive() == Log("INFO", "last words")
    with pytest.raises(ChannelClosed):
        ours.receive()
    with pytest.raises(ChannelClosed):
        ours.send(Log("INFO", "too late"))


def _echo(channel: Channel) -> None:
    while True:
        channel.send(channel.receive())


def test_a_killed_process_closes_its_end(ends: Ends) -> None:
    ours, theirs = ends
    process = multiprocessing.get_context("spawn").Process(target=_echo, args=(theirs,))
    process.start()
    theirs.close()
    ours.send("hello")
    assert ours.receive() == "hello"
    process.kill()
    with pytest.raises(ChannelClosed):
        ours.receive()
    process.join()
    process.close()


async def test_what_finds_no_room_waits_in_the_outbox_and_nothing_is_lost(ends: Ends) -> None:
    ours, theirs = ends
    sender = AsyncChannel(ours, handle=lambda _: None, closed=lambda _: None)
    sent = [Scored(number, bytes(20_000)) for number in range(200)]
    for message in sent:
        sender.send(message)
    assert sender.backlog > 0, "the test must fill the socket"
    received: list[Any] = []
    done = asyncio.Event()

    def collect(message: Any) -> None:
        received.append(message)
        if len(received) == len(sent):
            done.set()

    receiver = AsyncChannel(theirs, collect, closed=lambda _: None)
    await asyncio.wait_for(done.wait(), 30)
    assert received == sent
    sender.close()
    receiver.close()


async def test_the_death_of_the_other_end_is_told_once(ends: Ends) -> None:
    ours, theirs = ends
    deaths: list[ChannelClosed] = []
    dead = asyncio.Event()

    def closed(why: ChannelClosed) -> None:
        deaths.append(why)
        dead.set()

    channel = AsyncChannel(ours, handle=lambda _: None, closed=closed)
    theirs.close()
    await asyncio.wait_for(dead.wait(), 30)
    channel.send("to nobody")
    channel.drain()
    assert [type(why) for why in deaths] == [ChannelClosed]
