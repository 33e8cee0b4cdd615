"""50,000 assets, and 50,000 more, in one life of the service: nothing grows, and it does not get slower."""

import asyncio
import os
import signal
import sqlite3
import sys
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from autotagger.demo import StandIn, tiny_library
from tests.faults.belongings import SHARED_MEMORY, entries
from tests.pipeline.support import held_links, ledger_links, settings_for

ASSETS = 50_000
MIB = 1 << 20
SETTINGS = {
    "AUTOTAGGER_CONFIG": "/dev/null",
    "AUTOTAGGER_MODEL": "palette",
    "AUTOTAGGER_MODEL_DEVICE": "CPU",
    "AUTOTAGGER_PIPELINE_SWEEP_INTERVAL_S": "60",
    "AUTOTAGGER_VERIFY_INTERVAL_S": "10",
}
#: From the first quarter to the end, all processes together. SQLite's page cache (2 MiB in each of two processes),
#: and what the allocator keeps of the peaks.
MAX_GROWTH_MIB = 60
#: Sockets come and go with Immich's keep-alive: at most `immich.concurrency` in each of two processes.
MAX_FDS_MORE = 16
#: The threads that look up host names are made one by one, up to `min(32, cores + 4)` in each of two processes.
MAX_THREADS_MORE = 2 * min(32, (os.cpu_count() or 1) + 4)
#: The last tenth against the first. A listing of the library falls into some tenths and not into others.
MIN_SPEED = 0.6


@dataclass(frozen=True, slots=True)
class Sample:
    """The service's processes together, after so many previews. `shared`: what they share, MiB."""

    at_s: float
    previews: int
    rss: float
    shared: float
    fds: int
    threads: int
    pids: frozenset[int]


def sample(service: int, previews: int) -> Sample:
    processes = [psutil.Process(service), *psutil.Process(service).children()]
    memory = [process.memory_info() for process in processes]
    return Sample(
        at_s=time.monotonic(),
        previews=previews,
        rss=sum(each.rss for each in memory) / MIB,
        shared=sum(each.shared for each in memory) / MIB,
        fds=sum(process.num_fds() for process in processes),
        threads=sum(process.num_threads() for process in processes),
        pids=frozenset(process.pid for process in processes),
    )


@pytest.mark.slow
@pytest.mark.timeout(7_200)
async def test_nothing_grows_and_nothing_slows_down(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = tiny_library(ASSETS)
    shared_memory = entries(SHARED_MEMORY)
    async with StandIn(first, job_delay_s=0.01) as server:
        environ = {"AUTOTAGGER_STATE_DIR": str(tmp_path), "IMMICH_BASE_URL": server.url}
        service = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "autotagger", "run"),
            env={**os.environ, **SETTINGS, **environ, "IMMICH_API_KEY": server.api_key},
            stderr=asyncio.subprocess.DEVNULL,
        )
        samples: list[Sample] = []
        try:
            for assets in (ASSETS, 2 * ASSETS):
                if assets > ASSETS:
                    for spec in tiny_library(ASSETS, seed=2).assets:
                        server.store.add(spec)
                while verified(tmp_path) < assets:
                    assert service.returncode is None, "the service ended by itself"
                    samples.append(sample(service.pid, server.calls["preview"]))
                    await asyncio.sleep(1)
            service.send_signal(signal.SIGTERM)
            assert await service.wait() == 0
        finally:
            if service.returncode is None:
                service.kill()
                await service.wait()
        await server.settle()
        assert held_links(server) == ledger_links(settings_for(server, tmp_path))
        assert len(held_links(server)) == server.calls["preview"] == 2 * ASSETS
    assert entries(SHARED_MEMORY) <= shared_memory
    assert entries(tmp_path / "spill") == set()
    with capsys.disabled():
        judge(samples)


def verified(state_dir: Path) -> int:
    path = state_dir / "ledger.sqlite3"
    if not path.exists():
        return 0
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        try:
            return int(connection.execute("select count(*) from asset where state = 'verified'").fetchone()[0])
        except sqlite3.OperationalError:  # no table yet
            return 0


def judge(samples: list[Sample]) -> None:
    """Print what was measured, and hold it against the limits."""
    begin = next(each for each in samples if each.previews >= ASSETS / 2)
    later = samples[samples.index(begin) :]
    end = later[-1]
    print(
        f"\n{2 * ASSETS:,} assets in {end.at_s - samples[0].at_s:.0f} s; at a quarter, the most later, at the end:"
    )
    for what in ("rss", "shared", "fds", "threads"):
        values = [getattr(begin, what), max(getattr(each, what) for each in later), getattr(end, what)]
        print(f"  {what:8}" + "".join(f"{figure:10.0f}" for figure in values))
    first, last = (speed(samples, tenth) for tenth in (0, 9))
    tenths = " ".join(f"{speed(samples, tenth):.0f}" for tenth in range(10))
    print(f"  assets a second in each tenth: {tenths}")
    assert {each.pids for each in later} == {begin.pids}, "no process was replaced"
    assert max(each.rss for each in later) - begin.rss < MAX_GROWTH_MIB
    assert max(each.shared for each in later) - begin.shared < MAX_GROWTH_MIB
    assert max(each.fds for each in later) - begin.fds <= MAX_FDS_MORE
    assert max(each.threads for each in later) - begin.threads <= MAX_THREADS_MORE
    assert last > MIN_SPEED * first


def speed(samples: list[Sample], tenth: int) -> float:
    """Previews a second while this tenth of all was downloaded, without the wait for more assets."""
    low, high = (2 * ASSETS * share // 10 for share in (tenth, tenth + 1))
    inside = [each for each in samples if low <= each.previews <= high]
    busy = [each for each in inside if low < each.previews < high] or inside
    seconds = busy[-1].at_s - busy[0].at_s
    return (busy[-1].previews - busy[0].previews) / seconds if seconds else 0.0
