"""kill -9 at random moments: whatever dies, the end is the same as without it."""

import asyncio
import contextlib
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from autotagger.demo import Fate, StandIn, tiny_library
from autotagger.demo.faults import Call
from autotagger.errors import StartupFailed
from autotagger.ledger.reader import LedgerReader
from autotagger.ledger.states import State
from autotagger.pipeline.control import pause as pausing
from autotagger.pipeline.supervisor.dispatcher import Dispatcher
from tests.pipeline.support import MARKER, held_links, ledger_links, run_once, settings_for

ASSETS = 120
ROLES = ("writer_main", "fetcher_main", "inferencer_main")


LIBRARY = tiny_library(ASSETS)


@pytest.fixture(scope="module")
def meant(tmp_path_factory: pytest.TempPathFactory) -> dict[str, frozenset[str]]:
    """What the server holds after a run that nothing disturbed."""

    async def undisturbed() -> dict[str, frozenset[str]]:
        async with StandIn(LIBRARY) as server:
            await run_once(settings_for(server, tmp_path_factory.mktemp("undisturbed")))
            await server.settle()
            return held_links(server)

    return asyncio.run(undisturbed())


def command(server: StandIn, state_dir: Path) -> tuple[list[str], dict[str, str]]:
    environ = {
        **os.environ,
        "AUTOTAGGER_CONFIG": "/dev/null",
        "AUTOTAGGER_STATE_DIR": str(state_dir),
        "AUTOTAGGER_MODEL": "palette",
        "AUTOTAGGER_MODEL_DEVICE": "CPU",
        "IMMICH_BASE_URL": server.url,
        "IMMICH_API_KEY": server.api_key,
    }
    return [sys.executable, "-m", "autotagger", "run", "--once", "--json"], environ


async def start(server: StandIn, state_dir: Path) -> asyncio.subprocess.Process:
    arguments, environ = command(server, state_dir)
    return await asyncio.create_subprocess_exec(
        *arguments, env=environ, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )


def spawned(parent: int) -> list[psutil.Process]:
    """The pipeline's processes below a run: not the resource tracker that Python adds."""
    running = [p for p in psutil.Process(parent).children() if p.status() != psutil.STATUS_ZOMBIE]
    return [p for p in running if "--multiprocessing-fork" in p.cmdline()]


async def until(reached: Callable[[], bool], process: asyncio.subprocess.Process) -> None:
    """Wait for something that only looking can tell, or for the end of the run."""
    while not reached() and process.returncode is None:  # noqa: ASYNC110 - the server has no event for it
        await asyncio.sleep(0.002)


async def progress(server: StandIn, calls: int, process: asyncio.subprocess.Process) -> None:
    """Wait until the server has seen so many previews and tag calls, or the run is over."""
    await until(lambda: server.calls["preview"] + server.calls["tag_assets"] >= calls, process)


def assert_same_end(server: StandIn, state_dir: Path, meant: dict[str, frozenset[str]]) -> None:
    settings = settings_for(server, state_dir)
    assert held_links(server) == meant
    assert ledger_links(settings) == meant
    with LedgerReader(settings.ledger_path) as ledger:
        assert ledger.counts()[State.VERIFIED] == len(meant)
    assert list((state_dir / "spill").iterdir()) == []


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
async def test_any_process_may_die_at_any_moment(
    seed: int, tmp_path: Path, meant: dict[str, frozenset[str]]
) -> None:
    moments = random.Random(seed)
    async with StandIn(LIBRARY) as server:
        run = await start(server, tmp_path / "state")
        for kill in range(4):
            await progress(server, 5 + kill * 35 + moments.randrange(30), run)
            if run.returncode is None and (children := spawned(run.pid)):
                with_a_bit_of_luck = moments.choice(children)
                with_a_bit_of_luck.kill()
        assert run.stdout is not None
        await run.stdout.read()
        assert await run.wait() == 0
        await server.settle()
        assert_same_end(server, tmp_path / "state", meant)


async def test_where_processes_die_again_and_again_the_run_ends_as_one_that_may_go_better_later(
    tmp_path: Path,
) -> None:
    """systemd starts the service again after exit code 70, and not after the 3 of what never worked."""
    async with StandIn(LIBRARY) as server:
        run = await start(server, tmp_path / "state")
        await until(lambda: server.calls["tag_assets"] > 0, run)
        while run.returncode is None:
            with contextlib.suppress(psutil.NoSuchProcess):  # it ended a moment ago
                for child in spawned(run.pid):
                    child.kill()
            await asyncio.sleep(0.01)
        assert run.stdout is not None
        await run.stdout.read()  # until the last child is gone, too
        assert run.returncode == 70


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
async def test_everything_at_once_may_die_at_any_moment_and_the_next_run_ends_the_same(
    seed: int, tmp_path: Path, meant: dict[str, frozenset[str]]
) -> None:
    moments = random.Random(seed)
    async with StandIn(LIBRARY) as server:
        for crash in range(3):
            run = await start(server, tmp_path / "state")
            already = server.calls["preview"] + server.calls["tag_assets"]
            await progress(server, already + 1 + moments.randrange(50), run)
            if run.returncode is None:
                victims = [psutil.Process(run.pid), *psutil.Process(run.pid).children(recursive=True)]
                moments.shuffle(victims)
                for victim in victims:
                    victim.kill()
            await run.wait()
            assert crash or server.calls["preview"] > 0
        run = await start(server, tmp_path / "state")
        assert run.stdout is not None
        await run.stdout.read()
        assert await run.wait() == 0
        await server.settle()
        assert_same_end(server, tmp_path / "state", meant)


async def test_children_do_not_outlive_a_killed_supervisor(tmp_path: Path) -> None:
    async with StandIn(tiny_library(ASSETS)) as server:
        run = await start(server, tmp_path / "state")
        await progress(server, 10, run)
        children = spawned(run.pid)
        assert len(children) == len(ROLES)
        run.kill()
        await run.wait()
        loop = asyncio.get_running_loop()
        gone, alive = await loop.run_in_executor(None, psutil.wait_procs, children, 20)
        assert alive == []
        assert len(gone) == len(ROLES)


async def test_sigterm_finishes_what_is_under_way_and_loses_nothing(tmp_path: Path) -> None:
    library = tiny_library(400)
    async with StandIn(library) as server:
        run = await start(server, tmp_path / "state")
        await progress(server, 60, run)
        run.send_signal(signal.SIGTERM)
        assert run.stdout is not None
        await run.stdout.read()
        assert await run.wait() == 130
        with LedgerReader(tmp_path / "state" / "ledger.sqlite3") as ledger:
            counts = ledger.counts()
            last = ledger.last_run()
        assert counts[State.PENDING] > 0, "it must have been stopped in the middle"
        assert last is not None
        assert last[1] is not None, "the run has an end and a summary"
        downloaded = server.calls["preview"]
        assert (
            sum(counts[state] for state in (State.SCORED, State.PLANNED, State.APPLIED, State.VERIFIED))
            == downloaded
        )
        await run_once(settings_for(server, tmp_path / "state"))
        assert server.calls["preview"] == len(library.assets), "nothing is downloaded twice"
        await server.settle()
        marked = {asset_id for asset_id, tags in held_links(server).items() if MARKER in tags}
        assert marked == library.expected[Fate.GOOD]


async def test_an_asset_is_in_one_tag_call_however_often_the_writer_dies(tmp_path: Path) -> None:
    """The call of a writer that died before the answer is repeated as it was, and Immich adds no link for it."""
    library = tiny_library(60)
    inserted: Counter[str] = Counter()
    async with StandIn(library) as server:
        run = await start(server, tmp_path / "state")
        for _ in range(3):
            seen = server.calls["tag_assets"]
            await until(lambda: server.calls["tag_assets"] > seen, run)  # noqa: B023 - awaited at once
            if run.returncode is None:
                for child in spawned(run.pid):
                    if any("ledger.sqlite3" in file.path for file in child.open_files()):
                        child.kill()
        assert run.stdout is not None
        await run.stdout.read()
        assert await run.wait() == 0
        await server.settle()
        for asset_id, tags in held_links(server).items():
            inserted[asset_id] += len(tags)
        assert held_links(server) == ledger_links(settings_for(server, tmp_path / "state"))
        assert set(inserted) == library.expected[Fate.GOOD]


async def test_a_process_that_hangs_is_replaced(tmp_path: Path) -> None:
    library = tiny_library(60)
    async with StandIn(library) as server:
        arguments, environ = command(server, tmp_path / "state")
        environ["AUTOTAGGER_PIPELINE_HANG_TIMEOUT_S"] = "15"
        run = await asyncio.create_subprocess_exec(
            *arguments, env=environ, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        await progress(server, 10, run)
        for child in spawned(run.pid):
            child.suspend()
        _, errors = await run.communicate()
        assert run.returncode == 0
        assert errors.count(b"hangs; it is replaced") == len(ROLES)
        await server.settle()
        marked = {asset_id for asset_id, tags in held_links(server).items() if MARKER in tags}
        assert marked == library.expected[Fate.GOOD]


async def test_a_mistake_in_a_step_of_the_supervisor_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the job table lost by it, nobody would ever bring."""

    def mistaken(*_: object) -> None:
        raise AssertionError("a mistake of ours")

    monkeypatch.setattr(Dispatcher, "fetched", mistaken)
    async with StandIn(tiny_library(5)) as server, asyncio.timeout(100):
        with pytest.raises(AssertionError, match="a mistake of ours"):
            await run_once(settings_for(server, tmp_path))


async def test_a_pause_that_cannot_be_written_down_is_told_and_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Path] = []

    def refused(state_dir: Path) -> bool:
        asked.append(state_dir)
        raise StartupFailed("cannot pause: No space left on device")

    async def ask(call: Call) -> None:
        if call.name == "preview" and call.number == 1:
            os.kill(os.getpid(), signal.SIGUSR1)

    monkeypatch.setattr(pausing, "pause", refused)
    async with StandIn(tiny_library(5), faults=ask) as server:
        assert (await run_once(settings_for(server, tmp_path))).states[State.VERIFIED] == 5
    assert asked == [tmp_path]
