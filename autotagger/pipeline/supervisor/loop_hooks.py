"""What a run hears from its event loop besides messages: signals, and errors that break off a callback."""

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from loguru import logger

from autotagger.errors import Fatal
from autotagger.pipeline.control import pause as pausing


@contextmanager
def heeding_signals(stop: Callable[[], None], state_dir: Path) -> Iterator[None]:
    """SIGTERM and SIGINT call `stop`; SIGUSR1 pauses whoever works on `state_dir`, SIGUSR2 has it work again."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    loop.add_signal_handler(signal.SIGUSR1, _pause_or_resume, pausing.pause, state_dir)
    loop.add_signal_handler(signal.SIGUSR2, _pause_or_resume, pausing.resume, state_dir)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
            loop.remove_signal_handler(number)


def _pause_or_resume(act: Callable[[Path], bool], state_dir: Path) -> None:
    try:
        act(state_dir)
    except Fatal as error:
        logger.error("{}", error.message)


@contextmanager
def heeding_faults(fail: Callable[[Exception], None]) -> Iterator[None]:
    """Whatever breaks off a callback - the ledger cannot be read, no memory, a mistake of ours - is given to
    `fail`: the books may be wrong from then on, and the run would wait for ever for what they do not hold."""
    loop = asyncio.get_running_loop()

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, Exception) and "handle" in context:  # asyncio's name for a callback
            fail(error)
        else:
            loop.default_exception_handler(context)

    loop.set_exception_handler(handle)
    try:
        yield
    finally:
        loop.set_exception_handler(None)
