"""`autotagger retry` and `ledger dismiss` as a user meets them: with nobody at work, and beside a service."""

import asyncio
import json
from pathlib import Path

from autotagger.demo import StandIn, tiny_library
from autotagger.ledger.reader import LedgerReader
from autotagger.ledger.states import State
from autotagger.ledger.writer import LedgerWriter
from autotagger.pipeline.control.mailbox import FOLDER
from tests.forked import command
from tests.pipeline.support import run_once, settings_for
from tests.pipeline.test_service import marked, service, until


async def retry(state_dir: Path, *arguments: str) -> tuple[int, str, str]:
    return await ask(state_dir, "retry", *arguments)


async def dismiss(state_dir: Path, *arguments: str) -> tuple[int, str, str]:
    return await ask(state_dir, "ledger", "dismiss", *arguments)


async def ask(state_dir: Path, *arguments: str) -> tuple[int, str, str]:
    environ = {"AUTOTAGGER_CONFIG": "/dev/null", "AUTOTAGGER_STATE_DIR": str(state_dir)}
    done = await asyncio.to_thread(command, *arguments, environ=environ)
    return done.code, done.out, done.err


def set_aside(server: StandIn, state_dir: Path) -> list[str]:
    """Three of the library's assets fail for good, as after a fault that is mended by now."""
    settings = settings_for(server, state_dir)
    chosen = sorted({asset.id for asset in server.library.assets} - marked(server))[:3]
    with LedgerWriter(settings.ledger_path) as ledger:
        for asset_id in chosen:
            ledger.record_problem(asset_id, State.FAILED, kind="timeout", message="", due_ms=None)
    return chosen


async def test_without_a_run_the_next_one_tries_them(tmp_path: Path) -> None:
    async with StandIn(tiny_library(5)) as server:
        settings = settings_for(server, tmp_path)
        assert (await retry(tmp_path))[0] == 3, "there is no ledger yet"
        await run_once(settings, limit=1)
        set_aside(server, tmp_path)
        code, out, _ = await retry(tmp_path, "--error", "timeout", "--json")
        assert (code, json.loads(out)) == (0, {"assets": 3, "by": "next run"})
        await run_once(settings)
        assert len(marked(server)) == 5
        code, _, err = await retry(tmp_path)
        assert code == 1
        assert "nothing to retry matches" in err
        assert (await retry(tmp_path, "--asset", "no-id"))[0] == 2


async def test_beside_a_service_the_service_tries_them(tmp_path: Path) -> None:
    async with StandIn(tiny_library(5)) as server:
        settings = settings_for(server, tmp_path)
        await run_once(settings, limit=1)
        chosen = set_aside(server, tmp_path)
        async with service(server, tmp_path) as process:
            await until(lambda: len(marked(server)) == 2, process)
            assert not marked(server) & set(chosen)
            code, out, err = await retry(tmp_path, "--json")
            assert (code, json.loads(out)) == (0, {"assets": 3, "by": "running service"}), err
            await until(lambda: len(marked(server)) == 5, process)
        assert list((tmp_path / FOLDER).iterdir()) == []


async def test_what_is_dismissed_alarms_no_more_and_retry_takes_it_back(tmp_path: Path) -> None:
    async with StandIn(tiny_library(5)) as server:
        settings = settings_for(server, tmp_path)
        await run_once(settings, limit=1)
        chosen = set_aside(server, tmp_path)
        assert (await dismiss(tmp_path))[0] == 2, "nothing was named"
        assert (await dismiss(tmp_path, chosen[0], "--error", "timeout"))[0] == 2, "both were"
        code, out, _ = await dismiss(tmp_path, chosen[0], "--json")
        assert (code, json.loads(out)) == (0, {"assets": 1, "by": "next run"})
        code, out, _ = await dismiss(tmp_path, "--error", "timeout")
        assert (code, out.startswith("2 assets are set aside for good")) == (0, True)
        code, _, err = await dismiss(tmp_path, chosen[0])
        assert (code, "is skipped: nothing to dismiss" in err) == (1, True)
        code, _, err = await dismiss(tmp_path, "--error", "timeout")
        assert (code, "classes in the ledger: dismissed" in err) == (1, True)
        summary = await run_once(settings)
        assert (summary.states[State.SKIPPED], summary.states[State.FAILED]) == (3, 0)
        assert len(marked(server)) == 2
        assert (await retry(tmp_path))[0] == 1, "only when it is asked for by name"
        assert (await retry(tmp_path, "--error", "dismissed"))[0] == 0
        await run_once(settings)
        assert len(marked(server)) == 5


async def test_beside_a_service_the_service_dismisses_them(tmp_path: Path) -> None:
    async with StandIn(tiny_library(5)) as server:
        settings = settings_for(server, tmp_path)
        await run_once(settings, limit=1)
        set_aside(server, tmp_path)
        async with service(server, tmp_path) as process:
            await until(lambda: len(marked(server)) == 2, process)
            code, out, err = await dismiss(tmp_path, "--error", "timeout", "--json")
            assert (code, json.loads(out)) == (0, {"assets": 3, "by": "running service"}), err
        with LedgerReader(settings.ledger_path) as ledger:
            assert ledger.counts()[State.SKIPPED] == 3
