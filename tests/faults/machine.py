"""What the machine does to a run: no memory, a slow disk, a clock that jumps; and a person who starts it twice."""

import asyncio
import sqlite3
from contextlib import closing, suppress

import psutil

from tests.faults.story import Story, start

#: A disk that answers after 60 ms, for about two and a half seconds. Far below the patience with a hung process.
SLOW_TURNS, SLOW_S, WORKS_S = 35, 0.06, 0.01


async def kill_the_largest(story: Story) -> None:
    """The kernel's choice when memory runs out."""
    if children := story.below():
        with suppress(psutil.Error):
            max(children, key=lambda child: child.memory_info().rss).kill()


async def refuse_memory(story: Story) -> None:
    """Nothing more for a process that has what it started with: the other way in which memory runs out."""
    story.tracebacks = True  # of whatever could not be had
    if children := story.below():
        with suppress(psutil.Error):
            victim = story.draw.choice(children)
            victim.rlimit(psutil.RLIMIT_AS, (1 << 20, 1 << 20))


async def slow_the_disk(story: Story) -> None:
    """Whoever has the ledger open for writing waits for it again and again, all of its threads."""
    for child in story.below():
        with suppress(psutil.Error):
            if any(file.path.endswith("ledger.sqlite3") for file in child.open_files()):
                await _slowed(child)


async def _slowed(process: psutil.Process) -> None:
    for _ in range(SLOW_TURNS):
        process.suspend()
        try:
            await asyncio.sleep(SLOW_S)
        finally:
            process.resume()
        await asyncio.sleep(WORKS_S)


async def hold_the_ledger(story: Story) -> None:
    """Somebody looks at it with another program, which locks it for a while."""
    path = story.state_dir / "ledger.sqlite3"
    with suppress(sqlite3.OperationalError):  # not there yet
        connection = sqlite3.connect(f"file:{path}?mode=rw", uri=True, isolation_level=None)
        with closing(connection):
            connection.execute("begin immediate")
            await asyncio.sleep(story.draw.uniform(0.2, 2.0))
            connection.execute("rollback")


async def set_our_clock(story: Story) -> None:
    """Ours, not Immich's: mostly back, as when a machine that was set wrong gets its time from the network."""
    story.set_our_clock(story.draw.choice((-86_400.0, -7200.0, -30.0, 30.0, 86_400.0)))


async def start_it_twice(story: Story) -> None:
    """A second run on the same ledger, by cron while the service runs: refused, unless the first just ended."""
    log = story.state_dir.parent / "log of the second"
    second = await start(story.server, story.state_dir, log, **story.environ)
    story.seconds.append((second, log))
    await second.wait()
