"""The listing goes no faster than the ledger: each part waits until the one before it is noted."""

import asyncio
from pathlib import Path
from typing import Any

from autotagger.pipeline.child.spec import ChildSpec
from autotagger.pipeline.fetcher.fetcher import Fetcher
from autotagger.pipeline.ipc.channel import Channel
from autotagger.pipeline.ipc.messages import Listed, Noted
from tests.pipeline.unit import listed, settings_of


async def turn() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def test_a_part_of_the_listing_waits_for_the_ledger(ends: tuple[Channel, Channel], tmp_path: Path) -> None:
    ours, theirs = ends
    nothing: Any = None
    fetcher = Fetcher(ours, ChildSpec(settings_of(tmp_path), (), None), nothing, {}, nothing)
    for number in (1, 2):
        part = Listed((listed(number),), ())
        noting = asyncio.ensure_future(fetcher._note(part))
        await turn()
        assert theirs.try_receive() == part
        assert not noting.done(), "also when an earlier part was noted"
        theirs.send(Noted())
        await asyncio.wait_for(noting, 30)
    fetcher._child.channel.close()
