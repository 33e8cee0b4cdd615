"""Retag and undo, killed at random moments and begun again until they are done, end as if undisturbed."""

import asyncio
import json
import os
import random
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

from autotagger.demo import StandIn, tiny_library
from tests.faults.story import SHORT
from tests.pipeline.support import held_links, ledger_links, run_once, settings_for
from tests.pipeline.test_operations import HIGH, LOW, assert_as_meant, people

#: A command that is killed more often than this is left alone.
MAX_KILLS = 6


async def start(
    server: StandIn, state_dir: Path, command: str, log: Path, more: Mapping[str, str]
) -> asyncio.subprocess.Process:
    settings = {
        "AUTOTAGGER_CONFIG": "/dev/null",
        "AUTOTAGGER_STATE_DIR": str(state_dir),
        "AUTOTAGGER_MODEL": "palette",
        "AUTOTAGGER_MODEL_DEVICE": "CPU",
        "IMMICH_BASE_URL": server.url,
        "IMMICH_API_KEY": server.api_key,
        "AUTOTAGGER_POLICY_THRESHOLD": json.dumps(HIGH["threshold"]),
        "AUTOTAGGER_POLICY_RENAME": json.dumps(HIGH["rename"]),
    }

    with log.open("ab") as file:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "autotagger", *command.split()),
            env={**os.environ, **settings, **SHORT, **more},
            stdout=file,
            stderr=file,
        )


async def killed_until_done(
    server: StandIn, state_dir: Path, command: str, log: Path, chance: random.Random, more: Mapping[str, str] = {}
) -> None:
    """Run `command`, killing it (the supervisor, or one of its children) after a random number of changing calls,
    again and again until it ends by itself and all is proven. `more`: settings in its environment."""
    for attempt in range(2 * MAX_KILLS):
        run = await start(server, state_dir, command, log, more)
        until = changing_calls(server) + chance.randint(0, 12)
        while run.returncode is None:
            if attempt < MAX_KILLS and changing_calls(server) >= until and (victims := processes(run.pid)):
                chance.choice(victims).send_signal(signal.SIGKILL)
                until += chance.randint(5, 15)
            try:
                await asyncio.wait_for(run.wait(), 0.02)
            except TimeoutError:
                continue
        if run.returncode == 0:
            return
        if run.returncode != -signal.SIGKILL:  # it has done all, and waited for Immich for as long as it may
            last = said(log).splitlines()[-1]
            assert run.returncode == 1, said(log)
            assert "not verified: Immich has not finished" in last, said(log)
    raise AssertionError(f"{command} does not come to an end: {said(log)}")


def said(log: Path) -> str:
    return log.read_text()


def processes(pid: int) -> list[psutil.Process]:
    try:
        supervisor = psutil.Process(pid)
        return [
            supervisor,
            *(child for child in supervisor.children() if "spawn_main" in " ".join(child.cmdline())),
        ]
    except psutil.Error:
        return []


def changing_calls(server: StandIn) -> int:
    return server.calls["tag_assets"] + server.calls["untag_assets"] + server.calls["asset"] // 8


#: As a real server loses links (law 13), and worse: two removals at once tear every asset.
LOSSES: dict[str, Any] = {"removals_come_back": 0.2, "parallel_removals_lose": 1.0}


async def disturbed(count: int, seed: int, folder: Path, losses: Mapping[str, Any] = {}) -> None:
    chance, log, state_dir = random.Random(seed), folder / "log", folder / "state"
    async with StandIn(tiny_library(count), **losses) as server:
        given = people(server)
        await server.settle()
        await run_once(settings_for(server, state_dir, policy=LOW))
        await server.settle()
        previews = server.calls["preview"]
        high = settings_for(server, state_dir, policy=HIGH)

        await killed_until_done(server, state_dir, "retag", log, chance)
        await server.settle()
        assert_as_meant(server, high, given)
        assert server.calls["preview"] == previews
        assert all("simple background" not in tags for tags in ledger_links(high).values())

        await killed_until_done(server, state_dir, "undo --all --yes", log, chance)
        await server.settle()
        assert held_links(server) == given
        assert ledger_links(high) == {}


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
async def test_retag_and_undo_survive_kill_9(seed: int, tmp_path: Path) -> None:
    await disturbed(24, seed, tmp_path, LOSSES)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(2, 8))
async def test_retag_and_undo_survive_kill_9_in_a_larger_library(seed: int, tmp_path: Path) -> None:
    await disturbed(200, seed, tmp_path, LOSSES if seed % 2 else {})
