"""The API key appears in nothing that a run writes, and in nothing that another user of the machine can see."""

import asyncio
import random
import resource
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from autotagger.demo import StandIn, tiny_library
from tests.faults import weather
from tests.faults.acts import kill_everything, kill_one, revoke_the_key, take_assets_away
from tests.faults.story import Clock, Story, start


@pytest.fixture
async def server() -> AsyncIterator[StandIn]:
    async with StandIn(tiny_library(40)) as server:
        yield server


def visible(pids: list[int]) -> bytes:
    """What `ps` shows to everybody of these processes."""
    shown = b""
    for pid in pids:
        for name in ("cmdline", "comm"):
            try:
                shown += Path(f"/proc/{pid}/{name}").read_bytes()
            except OSError:  # it has ended meanwhile
                continue
    return shown


def written(state_dir: Path) -> bytes:
    """Every byte of every file below the state folder: ledger, write-ahead log, lock, spilled pictures."""
    found = b""
    for path in sorted(state_dir.rglob("*")):
        try:
            found += path.read_bytes() if path.is_file() else b""
        except FileNotFoundError:
            continue
    return found


STORM = weather.Weather("storm", kinds=weather.KINDS, share=0.3, most=20)
ACTS = {
    "quiet": None,
    "storm": None,
    "revoked": revoke_the_key,
    "one-killed": kill_one,
    "all-killed": kill_everything,
    "assets-gone": take_assets_away,
}


@pytest.mark.parametrize("trouble", ACTS)
async def test_the_key_is_in_nothing_that_a_run_writes(trouble: str, server: StandIn, tmp_path: Path) -> None:
    key, state_dir, log = server.api_key, tmp_path / "state", tmp_path / "log"
    key_file = tmp_path / "key"
    key_file.write_text(key)
    key_file.chmod(0o600)
    server.faults = STORM if trouble == "storm" else None
    run = await start(
        server,
        state_dir,
        log,
        IMMICH_API_KEY="",
        IMMICH_API_KEY_FILE=str(key_file),
        AUTOTAGGER_LOG_LEVEL="DEBUG",
        AUTOTAGGER_DEBUG="1",
    )
    story = Story(server, Clock(), state_dir, random.Random(trouble), run)
    everything = b""
    act = ACTS[trouble]
    async with asyncio.timeout(120):
        for moment in (5, 30, 60, 90):
            await story.reached(moment)
            everything += visible([child.pid for child in story.below()] + [run.pid]) + written(state_dir)
            if moment == 30 and act and run.returncode is None:
                await act(story)
        await run.wait()
    loop = asyncio.get_running_loop()
    _, alive = await loop.run_in_executor(None, psutil.wait_procs, list(story.seen.values()), 20)
    assert alive == []
    everything += written(state_dir) + log.read_bytes()
    assert b"--multiprocessing-fork" in everything, "the command lines were looked at"
    assert b"SQLite format 3" in everything, "the ledger was looked at"
    assert b"Immich 3.0.3" in everything, "the log was looked at"
    assert key.encode() not in everything


async def test_a_key_in_an_exception_s_way_is_hidden_with_tracebacks_on(server: StandIn, tmp_path: Path) -> None:
    log = tmp_path / "log"
    wrong = "a-key-that-nobody-may-ever-see"
    run = await start(
        server, tmp_path / "state", log, IMMICH_API_KEY=wrong, AUTOTAGGER_LOG_LEVEL="DEBUG", AUTOTAGGER_DEBUG="1"
    )
    assert await run.wait() == 4
    text = log.read_text()
    assert "Traceback" in text
    assert wrong not in text
    assert server.api_key not in text


async def test_no_process_leaves_a_core_file_or_listens_and_a_key_file_that_everybody_can_read_is_told(
    server: StandIn, tmp_path: Path
) -> None:
    log, key_file = tmp_path / "log", tmp_path / "key"
    key_file.write_text(server.api_key)
    key_file.chmod(0o644)
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    before = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
    try:
        run = await start(server, tmp_path / "state", log, IMMICH_API_KEY="", IMMICH_API_KEY_FILE=str(key_file))
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, before)
    story = Story(server, Clock(), tmp_path / "state", random.Random(0), run)
    await story.reached(30)
    processes = [psutil.Process(run.pid), *story.below()]
    assert len(processes) == 4
    assert {process.rlimit(psutil.RLIMIT_CORE)[0] for process in processes} == {0}
    connections = [each for process in processes for each in process.net_connections(kind="inet")]
    assert connections, "they were looked at while they worked"
    assert not [each for each in connections if each.status == psutil.CONN_LISTEN]
    assert {each.raddr.ip for each in connections} == {"127.0.0.1"}, "nobody but Immich is spoken to"

    assert await run.wait() == 0
    assert f"chmod 600 {key_file}" in log.read_text()
    assert "unencrypted" not in log.read_text(), "loopback is no network"
