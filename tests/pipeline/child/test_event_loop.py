"""An event-loop child: what it reports and when."""

import asyncio
from collections import Counter

import pytest

from autotagger.errors import Fatal
from autotagger.pipeline.child import event_loop
from autotagger.pipeline.child.event_loop import AsyncChild, first
from autotagger.pipeline.ipc.channel import Channel
from autotagger.pipeline.ipc.messages import Counts, Heartbeat, Log

Ends = tuple[Channel, Channel]


async def test_counts_are_added_up_and_reported_once(ends: Ends) -> None:
    ours, theirs = ends
    child = AsyncChild(ours, handle=lambda _: None)
    child.flush()
    assert theirs.try_receive() is None, "nothing happened: nothing to say"
    child.count("tagged")
    child.count("tagged", 4)
    child.exchanged("search", "200", 0.03)
    child.flush()
    told = theirs.try_receive()
    assert told == Counts(
        Counter({"tagged": 5, "calls/search/200": 1, "ms/immich.search": 30, "le/immich.search/50": 1})
    )
    child.flush()
    assert theirs.try_receive() is None
    child.channel.close()


async def test_a_heartbeat_brings_the_counts_and_comes_again(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = ends
    monkeypatch.setattr(event_loop, "HEARTBEAT_S", 0.0)
    child = AsyncChild(ours, handle=lambda _: None)
    child.count("tagged")
    beating = asyncio.ensure_future(child.heartbeat())
    for _ in range(3):
        await asyncio.sleep(0)
    beating.cancel()
    assert [theirs.try_receive() for _ in range(3)] == [
        Counts(Counter({"tagged": 1})),
        Heartbeat(),
        Heartbeat(),
    ]
    child.channel.close()


async def test_what_a_child_hears_goes_to_its_handler_in_order(ends: Ends) -> None:
    ours, theirs = ends
    heard: list[object] = []
    child = AsyncChild(ours, heard.append)
    words = [Log("INFO", str(number)) for number in range(9)]
    for word in words:
        theirs.send(word)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert heard == words
    child.channel.close()


def test_the_first_error_of_a_group_of_groups() -> None:
    error = Fatal("why")
    assert first(ExceptionGroup("", [ExceptionGroup("", [error, ValueError()]), OSError()])) is error
    assert first(error) is error
