"""`run` without --once: it stays, finds what is new, outlives an outage, and goes when asked."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from autotagger.demo import StandIn, tiny_library
from autotagger.ledger.reader import LedgerReader
from autotagger.ledger.states import State
from tests.pipeline.support import MARKER, held_links, ledger_links, run_once, settings_for
from tests.pipeline.test_operations import HIGH, LOW, assert_as_meant


def environment(server: StandIn, state_dir: Path, extra: Mapping[str, str]) -> dict[str, str]:
    return {
        **os.environ,
        "AUTOTAGGER_CONFIG": "/dev/null",
        "AUTOTAGGER_STATE_DIR": str(state_dir),
        "AUTOTAGGER_MODEL": "palette",
        "AUTOTAGGER_MODEL_DEVICE": "CPU",
        "AUTOTAGGER_PIPELINE_SWEEP_INTERVAL_S": "1",
        "AUTOTAGGER_VERIFY_INTERVAL_S": "0.5",
        "AUTOTAGGER_SERVICE_LISTEN_PORT": "0",
        "IMMICH_BASE_URL": server.url,
        "IMMICH_API_KEY": server.api_key,
        **extra,
    }


@asynccontextmanager
async def service(
    server: StandIn, state_dir: Path, *arguments: str, **environ: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """`autotagger run`, listing the library again every second."""
    async with serving(environment(server, state_dir, environ), *arguments) as process:
        yield process


@asynccontextmanager
async def serving(environ: Mapping[str, str], *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "autotagger", "run", *arguments), env=environ
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def until(reached: Callable[[], bool], process: asyncio.subprocess.Process) -> None:
    while not reached():
        assert process.returncode is None, "the service ended by itself"
        await asyncio.sleep(0.02)


def marked(server: StandIn) -> set[str]:
    return {asset_id for asset_id, tags in held_links(server).items() if MARKER in tags}


@pytest.mark.parametrize("dialect", ["3.0", "3.2", "4"])
async def test_new_pictures_are_tagged_and_an_outage_is_outlived(dialect: str, tmp_path: Path) -> None:
    async with StandIn(tiny_library(10), dialect) as server, service(server, tmp_path) as process:
        everything = {asset.id for asset in server.library.assets}
        await until(lambda: marked(server) == everything, process)
        everything.add(server.upload())
        await until(lambda: marked(server) == everything, process)

        await server.go_down()
        await server.come_up()
        everything.add(server.upload())
        await until(lambda: marked(server) == everything, process)
        await server.settle()

        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
        assert held_links(server) == ledger_links(settings_for(server, tmp_path))


async def test_replaced_deleted_and_restored_pictures_are_followed(tmp_path: Path) -> None:
    def gone() -> int:
        with LedgerReader(settings.ledger_path) as ledger:
            return ledger.counts()[State.GONE]

    async with StandIn(tiny_library(8)) as server, service(server, tmp_path) as process:
        settings = settings_for(server, tmp_path)
        first, *others = [asset.id for asset in server.library.assets]
        await until(lambda: len(marked(server)) == 8, process)
        await server.settle()
        server.tag(first, "holiday")
        await server.settle()
        other = max(others, key=lambda asset_id: len(server.links()[asset_id] ^ server.links()[first]))
        server.replace_file(first, server.store.rows[other].spec.media)
        await until(lambda: server.links()[first] == server.links()[other] | {"holiday"}, process)

        server.trash(other)
        await until(lambda: gone() == 1, process)
        server.restore(other)
        await until(lambda: gone() == 0, process)
        await server.settle()
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
        assert_as_meant(server, settings, {first: frozenset({"holiday"})})
        assert len(marked(server)) == 8


async def test_sigterm_ends_the_wait_for_immich_to_settle(tmp_path: Path) -> None:
    async with StandIn(tiny_library(5)) as server:
        server.jobs.pause()
        async with service(server, tmp_path, "--once") as process:
            await until(lambda: server.calls["asset"] > 0, process)  # the canary is looked at: it is waiting
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 130
        server.jobs.resume()
        await server.settle()
        await run_once(settings_for(server, tmp_path))
        await server.settle()
        assert marked(server) == {asset.id for asset in server.library.assets}


async def test_a_second_sigterm_ends_it_now_and_loses_nothing(tmp_path: Path) -> None:
    async with StandIn(tiny_library(200)) as server:
        async with service(server, tmp_path) as process:
            await until(lambda: server.calls["preview"] > 30, process)
            process.send_signal(signal.SIGTERM)
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0
        await run_once(settings_for(server, tmp_path))
        await server.settle()
        assert marked(server) == {asset.id for asset in server.library.assets}
        assert held_links(server) == ledger_links(settings_for(server, tmp_path))


@pytest.mark.parametrize(("picture", "call"), [("thumbnail", "thumbnail"), ("original", "original")])
async def test_the_setting_picture_decides_what_is_downloaded(picture: str, call: str, tmp_path: Path) -> None:
    async with StandIn(tiny_library(6)) as server:
        summary = await run_once(settings_for(server, tmp_path, immich={"picture": picture}))
        assert server.calls[call] == summary.counts[f"{call}_downloads"] == 6
        # An original brings its preview along, for where it cannot be decoded.
        assert server.calls["preview"] == (6 if picture == "original" else 0)
        await server.settle()
        assert marked(server) == {asset.id for asset in server.library.assets}


async def test_retag_is_done_by_the_service_that_is_at_work(tmp_path: Path) -> None:
    async with StandIn(tiny_library(16)) as server:
        low, high = (settings_for(server, tmp_path, policy=policy) for policy in (LOW, HIGH))
        await run_once(low)
        before = ledger_links(low)
        rules = {
            "AUTOTAGGER_POLICY_THRESHOLD": json.dumps(HIGH["threshold"]),
            "AUTOTAGGER_POLICY_RENAME": json.dumps(HIGH["rename"]),
        }
        async with service(server, tmp_path, **rules) as process:
            new = server.upload()
            await until(lambda: new in marked(server), process)
            refused = await command(server, tmp_path, "retag")
            assert refused == 3, "the service has other rules than this command"
            assert await command(server, tmp_path, "retag", **rules) == 0
            mailbox = tmp_path / "requests"
            await until(lambda: not list(mailbox.iterdir()), process)
            server.upload()
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0
        await run_once(high)
        await server.settle()
        after = ledger_links(high)
        assert held_links(server) == after
        assert all("simple background" not in tags for tags in after.values())
        assert any(after[asset_id] != before[asset_id] for asset_id in before)


async def command(server: StandIn, state_dir: Path, *arguments: str, **environ: str) -> int:
    """Run a command beside the service; its exit code."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "autotagger", *arguments), env=environment(server, state_dir, environ)
    )
    return await process.wait()
