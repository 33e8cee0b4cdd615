"""The service as systemd starts it: NOTIFY_SOCKET, a watchdog, the key as a credential, SIGTERM to end it."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
import psutil
import pytest

from autotagger.demo import StandIn, tiny_library
from autotagger.service.ask import ask
from autotagger.settings import ServiceSettings
from tests.pipeline.support import held_links, ledger_links, settings_for
from tests.service.support import HOST, NotifySocket, free_port, get


@asynccontextmanager
async def started(
    server: StandIn, folder: Path, systemd: NotifySocket, **environ: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """`autotagger run` with the key in $CREDENTIALS_DIRECTORY and its log as JSON in `folder`/log."""
    credentials = folder / "credentials"
    credentials.mkdir()
    (credentials / "api-key").write_text(server.api_key)
    settings = {
        "AUTOTAGGER_CONFIG": "/dev/null",
        "AUTOTAGGER_STATE_DIR": str(folder / "state"),
        "AUTOTAGGER_MODEL": "palette",
        "AUTOTAGGER_MODEL_DEVICE": "CPU",
        "AUTOTAGGER_LOG_FORMAT": "json",
        "IMMICH_BASE_URL": server.url,
        "CREDENTIALS_DIRECTORY": str(credentials),
        "NOTIFY_SOCKET": systemd.address,
    }
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "autotagger", "run"),
            env={**os.environ, **settings, **environ},
            stdout=asyncio.subprocess.DEVNULL,
            stderr=log,
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_ready_then_watchdog_then_stopping_and_a_drained_exit(tmp_path: Path) -> None:
    port = free_port()
    async with StandIn(tiny_library(12)) as server:
        with NotifySocket(tmp_path / "notify") as systemd:
            environ = {"WATCHDOG_USEC": "1000000", "AUTOTAGGER_SERVICE_LISTEN_PORT": str(port)}
            async with started(server, tmp_path, systemd, **environ) as process:
                await systemd.hears("READY=1")
                assert server.calls["ping"]
                settings = ServiceSettings(listen_host=HOST, listen_port=port)
                assert (await asyncio.to_thread(ask, settings))["ready"]
                await systemd.hears("WATCHDOG=1", times=3)
                assert "STOPPING=1" not in systemd.read()
                process.send_signal(signal.SIGTERM)
                await systemd.hears("STOPPING=1")
                assert await process.wait() == 0
            assert systemd.read()[-1].startswith("STATUS=ended: ")
            assert systemd.without_status()[0] == "READY=1"
        await server.settle()
        assert held_links(server) == ledger_links(settings_for(server, tmp_path / "state"))
    lines = [orjson.loads(line) for line in (tmp_path / "log").read_bytes().splitlines()]
    assert all({"time", "level", "process", "event", "message"} <= line.keys() for line in lines)
    assert lines[-1]["event"] == "ended"
    assert lines[-1]["figures"]["tagged"] == len(ledger_links(settings_for(server, tmp_path / "state")))


@pytest.mark.slow
@pytest.mark.parametrize("role", ["fetcher", "writer", "inferencer"])
async def test_the_watchdog_stops_when_a_process_hangs_and_goes_on_with_it(role: str, tmp_path: Path) -> None:
    port = free_port()
    settings = ServiceSettings(listen_host=HOST, listen_port=port)
    async with StandIn(tiny_library(12)) as server:
        with NotifySocket(tmp_path / "notify") as systemd:
            environ = {"WATCHDOG_USEC": "1000000", "AUTOTAGGER_SERVICE_LISTEN_PORT": str(port)}
            async with started(server, tmp_path, systemd, **environ) as process:
                await systemd.hears("READY=1")
                _, status = await get(port, "/status")
                pid = next(one["pid"] for one in status["processes"] if one["name"].startswith(role))
                psutil.Process(pid).suspend()
                while (await asyncio.to_thread(ask, settings))["live"]:  # noqa: ASYNC110 - another process
                    await asyncio.sleep(0.1)
                fed = systemd.read().count("WATCHDOG=1")
                assert process.returncode is None
                found = await asyncio.to_thread(ask, settings)
                assert f"{role}" in found["reasons"][0]
                assert systemd.read().count("WATCHDOG=1") == fed
                psutil.Process(pid).resume()
                await systemd.hears("WATCHDOG=1", times=fed + 2)
