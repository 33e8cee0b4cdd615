"""What every child does when the supervisor is gone."""

import multiprocessing
import os
from pathlib import Path
from typing import Any

from loguru import logger

from autotagger.pipeline.child.base import enter_child
from autotagger.pipeline.child.spec import ChildSpec
from autotagger.pipeline.ipc.channel import Channel, ChannelClosed
from autotagger.settings import Settings

NOTICED, WENT_ON = 0, 7


def log_into_nothing(channel: Channel, spec: ChildSpec) -> None:
    """A child that hears of the end through a line it logs."""
    enter_child(channel, spec, "writer")
    try:
        channel.receive()
    except ChannelClosed:
        logger.warning("nobody reads this")
    os._exit(WENT_ON)


def test_a_line_logged_after_the_supervisor_s_end_ends_the_child(tmp_path: Path) -> None:
    ours, theirs = Channel.pair()
    nothing: Any = None
    spec = ChildSpec(Settings(state_dir=tmp_path), (), nothing)
    child = multiprocessing.get_context("spawn").Process(target=log_into_nothing, args=(theirs, spec))
    child.start()
    theirs.close()
    ours.close()
    child.join()
    assert child.exitcode == NOTICED
    child.close()
