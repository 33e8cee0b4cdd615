"""How commands end: the exit code and the one line that says why, each as a person meets it."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web

from autotagger.cli import endings
from autotagger.cli.endings import ending_of
from autotagger.demo import StandIn, tiny_library
from autotagger.demo.faults import Call
from autotagger.ledger.reader import LedgerReader
from autotagger.ledger.states import State
from autotagger.pipeline.control import pause as pausing
from autotagger.pipeline.supervisor.summary import Ending, Summary
from tests.pipeline.support import MARKER, held_links, run_once, settings_for
from tests.service.support import summary

LONG_S = 60
PATIENT = {"AUTOTAGGER_VERIFY_SETTLE_TIMEOUT_S": "60"}
Ended = tuple[int, str, str]


async def begin(server: StandIn, state_dir: Path, *words: str, **environ: str) -> asyncio.subprocess.Process:
    settings = {
        "AUTOTAGGER_CONFIG": "/dev/null",
        "AUTOTAGGER_STATE_DIR": str(state_dir),
        "AUTOTAGGER_MODEL": "palette",
        "AUTOTAGGER_MODEL_DEVICE": "CPU",
        "AUTOTAGGER_VERIFY_SETTLE_TIMEOUT_S": "1",
        "IMMICH_BASE_URL": server.url,
        "IMMICH_API_KEY": server.api_key,
    }
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "autotagger", *words),
        env={**os.environ, **settings, **environ},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def ended(process: asyncio.subprocess.Process) -> Ended:
    """Exit code, what it printed, and its last line on stderr."""
    async with asyncio.timeout(LONG_S):
        out, err = await process.communicate()
    assert process.returncode is not None
    assert b"Traceback" not in err, err.decode()
    return process.returncode, out.decode(), (err.decode().splitlines() or [""])[-1]


async def run(server: StandIn, state_dir: Path, *words: str, **environ: str) -> Ended:
    return await ended(await begin(server, state_dir, *words, **environ))


def not_in_the_file(state_dir: Path) -> list[Path]:
    """What a copy of the ledger's file alone would lack."""
    return [path for path in state_dir.glob("*-wal") if path.stat().st_size]


async def until(reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(LONG_S):
        while not reached():  # noqa: ASYNC110 - it comes from another process
            await asyncio.sleep(0.01)


def ending(**changes: object) -> Summary:
    made = summary()
    return Summary(**{name: getattr(made, name) for name in Summary.__slots__} | {"ending": Ending(), **changes})


@pytest.mark.parametrize(
    ("end", "code", "says"),
    [
        (ending(), 0, ""),
        (ending(ending=Ending(undone={State.SCORED: 199})), 1, "199 scored, waiting for Immich"),
        (ending(ending=Ending(undone={State.APPLIED: 3})), 1, "3 sent and not verified"),
        (ending(ending=Ending(failed={"lost": 2, "x": 1})), 1, "3 failed in this run (lost 2, x 1)"),
        (ending(ending=Ending(unreadable=4)), 1, "4 items of the library could not be read"),
        (ending(ending=Ending(paused=True)), 1, "autotagger resume"),
        (ending(refused={"ben": "no"}), 4, "key refused: ben"),
        (ending(refused={"ben": "no"}, ending=Ending(unreadable=4)), 4, "key refused: ben; 4 items"),
        (ending(refused={"ben": "no"}, ending=Ending(interrupted=True)), 130, "interrupted"),
    ],
)
def test_every_ending_has_its_code_and_says_why(end: Summary, code: int, says: str) -> None:
    found, why = ending_of(end)
    assert found == code
    assert says in why
    assert bool(why) == bool(code)


def test_every_state_that_can_be_left_has_words() -> None:
    from autotagger.pipeline.supervisor.supervisor import UNDONE

    assert set(endings._LEFT) == {str(state) for state in UNDONE}


async def test_an_old_broken_picture_alarms_once_and_a_new_one_again(tmp_path: Path) -> None:
    library = tiny_library(6)
    broken = {library.assets[2].id}

    async def spoil(call: Call) -> web.StreamResponse | None:
        hit = call.name == "preview" and any(asset_id in call.request.path for asset_id in broken)
        return web.Response(body=b"\xff\xd8no picture", content_type="image/jpeg") if hit else None

    async with StandIn(library, faults=spoil) as server:
        code, _, line = await run(server, tmp_path, "run", "--once")
        assert code == 1
        assert "1 failed in this run (" in line
        with LedgerReader(settings_for(server, tmp_path).ledger_path) as ledger:
            (problem,) = ledger.problems(10)
            assert problem.due_ms is None, "it is not tried again"
        code, out, line = await run(server, tmp_path, "run", "--once", "--json")
        assert (code, '"failed": 1' in out) == (0, True), line

        broken.add(server.upload())
        code, _, line = await run(server, tmp_path, "run", "--once")
        assert (code, "1 failed in this run (" in line) == (1, True), line


async def test_what_waits_for_a_slow_queue_is_told_and_no_success(tmp_path: Path) -> None:
    async with StandIn(tiny_library(12)) as server:
        await run_once(settings_for(server, tmp_path), limit=2)
        await server.settle()
        server.jobs.pause()
        for name in ("one", "two", "three"):
            server.tag(next(iter(held_links(server))), name)
        code, _, line = await run(server, tmp_path, "run", "--once", AUTOTAGGER_IMMICH_MAX_QUEUED="1")
        assert code == 1
        assert "10 scored, waiting for Immich" in line
        server.jobs.resume()
        await server.settle()
        code, _, line = await run(server, tmp_path, "run", "--once", **PATIENT)
        assert code == 0, line


async def test_one_run_that_finds_a_pause_says_so_and_ends(tmp_path: Path) -> None:
    async with StandIn(tiny_library(3)) as server:
        pausing.pause(tmp_path)
        code, out, line = await run(server, tmp_path, "run", "--once")
        assert (code, out) == (1, "")
        assert line == "autotagger: paused: nothing was done; `autotagger resume` ends the pause"
        assert not server.calls


async def test_one_run_that_is_paused_meanwhile_finishes_what_it_has_begun_and_ends(tmp_path: Path) -> None:
    async with StandIn(tiny_library(400)) as server:
        process = await begin(server, tmp_path, "run", "--once")
        await until(lambda: server.calls["preview"] > 20)
        pausing.pause(tmp_path)
        code, _, line = await ended(process)
        assert code == 1
        assert "paused before all was done" in line
        assert server.calls["preview"] < 400


async def remove_all(server: StandIn, state_dir: Path) -> asyncio.subprocess.Process:
    return await begin(server, state_dir, "undo", "--all", "--yes", **PATIENT)


async def retag(server: StandIn, state_dir: Path) -> asyncio.subprocess.Process:
    return await begin(server, state_dir, "retag", AUTOTAGGER_POLICY_CASE="upper", **PATIENT)


async def verify(server: StandIn, state_dir: Path) -> asyncio.subprocess.Process:
    return await begin(server, state_dir, "verify", **PATIENT)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("operation", "call"), [(remove_all, "untag_assets"), (retag, "tag_assets"), (verify, "asset")]
)
async def test_an_interrupted_operation_ends_with_130_and_the_next_one_ends_it(
    operation: Callable[[StandIn, Path], Awaitable[asyncio.subprocess.Process]],
    call: str,
    number: signal.Signals,
    tmp_path: Path,
) -> None:
    async with StandIn(tiny_library(12)) as server:
        await run_once(settings_for(server, tmp_path))
        await server.settle()
        reached = asyncio.Event()

        async def slow(each: Call) -> web.StreamResponse | None:
            if each.name == call:
                reached.set()
                await asyncio.sleep(0.3)  # so that the signal comes in the middle
            return None

        server.jobs.pause()
        server.faults = slow
        process = await operation(server, tmp_path)
        async with asyncio.timeout(LONG_S):
            await reached.wait()
        process.send_signal(number)
        code, _, line = await ended(process)
        assert code == 130
        assert line == "autotagger: interrupted: what is done is kept; the same command continues"
        assert not_in_the_file(tmp_path) == []
        server.faults = None
        server.jobs.resume()
        await server.settle()
        code, _, line = await ended(await operation(server, tmp_path))
        assert code == 0, line
        await server.settle()
        assert (MARKER in set().union(*held_links(server).values())) == (operation is not remove_all)


@pytest.mark.parametrize(
    ("words", "code"),
    [(("run", "--once"), 130), (("verify",), 130), (("undo", "--all", "--yes"), 130), (("run",), 0)],
)
async def test_a_signal_before_a_run_has_begun(words: tuple[str, ...], code: int, tmp_path: Path) -> None:
    async with StandIn(tiny_library(2)) as server:
        await run_once(settings_for(server, tmp_path))
        asked = asyncio.Event()

        async def silent(call: Call) -> web.StreamResponse | None:
            asked.set()
            await asyncio.sleep(3600)
            return None

        server.faults = silent
        process = await begin(server, tmp_path, *words, AUTOTAGGER_SERVICE_LISTEN_PORT="0")
        async with asyncio.timeout(LONG_S):
            await asked.wait()
        process.send_signal(signal.SIGTERM)
        found, _, line = await ended(process)
        assert found == code, line


@pytest.mark.parametrize("listing", ["sweep", "poll"])
async def test_a_service_says_that_a_listing_has_no_end_and_stays(listing: str, tmp_path: Path) -> None:
    async with StandIn(tiny_library(3)) as server:
        everything = {asset.id for asset in server.library.assets}

        async def endless(call: Call) -> web.StreamResponse | None:
            if call.name != "search":
                return None
            return web.json_response({"assets": {"items": [], "nextPage": "2"}})

        server.faults = endless if listing == "sweep" else None
        quick = {"AUTOTAGGER_SERVICE_LISTEN_PORT": "0", "AUTOTAGGER_WATCH_POLL_INTERVAL_S": "0.5"}
        process = await begin(server, tmp_path, "run", **quick)
        if listing == "poll":
            await until(lambda: held_links(server).keys() == everything)
            await server.settle()
            server.faults = endless
        assert process.stderr is not None
        async with asyncio.timeout(LONG_S):
            while b"goes round in circles" not in (line := await process.stderr.readline()):
                assert line, "it has ended"
        assert b"trying again" in line
        process.send_signal(signal.SIGTERM)
        code, _, last = await ended(process)
        assert code == 0
        assert "circles" not in last


async def test_a_date_header_beyond_sense_changes_nothing(tmp_path: Path) -> None:
    async with StandIn(tiny_library(6), proxy_skew_s=250_000_000_000.0) as server:
        code, _, line = await run(server, tmp_path, "run", "--once", **PATIENT)
        assert code == 0, line
        await server.settle()
        assert held_links(server).keys() == {asset.id for asset in server.library.assets}
