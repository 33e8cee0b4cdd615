"""One run as it goes on: how it is started, who takes part, and what may be known of it from outside."""

import asyncio
import os
import random
import sqlite3
import sys
import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from autotagger.demo import StandIn
from autotagger.ledger.states import State

#: Patience that suits a test: a hung process is noticed, an outage outlasts the retries, within seconds. A server
#: that is only slow, as ours is on a busy machine, is no outage: no act and no weather makes it silent.
SHORT = {
    "AUTOTAGGER_IMMICH_RETRY_BUDGET_S": "4",
    "AUTOTAGGER_IMMICH_READ_TIMEOUT_S": "30",
    "AUTOTAGGER_IMMICH_CONNECT_TIMEOUT_S": "30",
    "AUTOTAGGER_PIPELINE_HANG_TIMEOUT_S": "20",
    "AUTOTAGGER_PIPELINE_DRAIN_TIMEOUT_S": "3",
    "AUTOTAGGER_PIPELINE_MAX_ATTEMPTS": "50",
    "AUTOTAGGER_PIPELINE_SLOT_BYTES": "65536",
    "AUTOTAGGER_VERIFY_SETTLE_TIMEOUT_S": "1",
}


class Clock:
    """The server's clock, which an admin may set."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead_s


@dataclass
class Story:
    """One disturbed run as it goes on: who takes part, and what it allows the end to differ in."""

    server: StandIn
    clock: Clock
    state_dir: Path
    draw: random.Random
    run: asyncio.subprocess.Process
    #: Assets that are no longer ours to tag, whatever had become of them before.
    taken: set[str] = field(default_factory=set)
    #: A tag that somebody deleted, and the assets that must have it all the same.
    deleted_tag: str = ""
    must_have_it: frozenset[str] = frozenset()
    endings: set[int] = field(default_factory=lambda: {0})
    #: Whether a process may tell where it was when it ended.
    tracebacks: bool = False
    #: What every run of the story is started with.
    environ: dict[str, str] = field(default_factory=dict)
    #: Runs that were started beside the first one, and where they wrote.
    seconds: list[tuple[asyncio.subprocess.Process, Path]] = field(default_factory=list)
    seen: dict[int, psutil.Process] = field(default_factory=dict)

    async def reached(self, calls: int) -> None:
        """Wait until the server has had so many calls, or the run is over."""
        while self.server.calls.total() < calls and self.run.returncode is None:  # noqa: ASYNC110 - no event
            await asyncio.sleep(0.002)

    def set_our_clock(self, ahead_s: float) -> None:
        """Set the clock of the run's own processes."""
        set_clock(self.state_dir.parent, ahead_s)

    def below(self) -> list[psutil.Process]:
        """The pipeline's processes of the run, without the resource tracker that Python adds."""
        if self.run.returncode is not None:
            return []
        try:
            children = psutil.Process(self.run.pid).children()
            ours = [child for child in children if "--multiprocessing-fork" in child.cmdline()]
        except psutil.Error:
            return []
        self.seen |= {child.pid: child for child in ours}
        return ours


def set_clock(folder: Path, ahead_s: float) -> dict[str, str]:
    """Set a clock that is kept in `folder`; returns what brings it to a process that is started."""
    file = folder / "clock"
    file.touch()
    with file.open("r+") as opened:  # one write of one length: a reader sees the old time or the new one
        opened.write(f"{int(ahead_s * 1e9):+032d}")
    return {"FAULTS_CLOCK": str(file), "PYTHONPATH": str(Path(__file__).parent / "clock")}


Act = Callable[[Story], Awaitable[None]]


async def start(server: StandIn, state_dir: Path, log: Path, **environ: str) -> asyncio.subprocess.Process:
    """`autotagger run --once` with everything it writes in `log`."""
    settings = {
        "AUTOTAGGER_CONFIG": "/dev/null",
        "AUTOTAGGER_STATE_DIR": str(state_dir),
        "AUTOTAGGER_MODEL": "palette",
        "AUTOTAGGER_MODEL_DEVICE": "CPU",
        "IMMICH_BASE_URL": server.url,
        "IMMICH_API_KEY": server.api_key,
    }
    with log.open("ab") as file:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "autotagger", "run", "--once"),
            env={**os.environ, **settings, **SHORT, **environ},
            stdout=file,
            stderr=file,
        )


def states(state_dir: Path, wanted: tuple[State, ...] = tuple(State)) -> dict[str, State]:
    """The ledger's assets in these states, read without the ledger's own code; none where there is no ledger."""
    path = state_dir / "ledger.sqlite3"
    if not path.exists():
        return {}
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        try:
            rows = connection.execute("select asset_id, state from asset").fetchall()
        except sqlite3.OperationalError:  # no table yet: killed while it was made
            return {}
    found = {str(uuid.UUID(bytes=asset_id)): State(state) for asset_id, state in rows}
    return {asset_id: state for asset_id, state in found.items() if state in wanted}
