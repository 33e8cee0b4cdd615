"""What a person reads when a run cannot start: one clear line, the right exit code, nothing half-written."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import web

from autotagger.demo import StandIn, tiny_library
from autotagger.demo.faults import Call
from autotagger.ledger.database import LedgerLock
from autotagger.ledger.reader import LedgerReader
from autotagger.ledger.states import State
from tests.forked import command

SECRET = "a-key-that-nobody-may-ever-see"


@dataclass(frozen=True)
class Ending:
    code: int
    line: str


async def run(server: StandIn | None, state_dir: Path, **environ: str) -> Ending:
    """`autotagger run --once` as a person starts it."""
    settings = {
        "AUTOTAGGER_CONFIG": "/dev/null",
        "AUTOTAGGER_STATE_DIR": str(state_dir),
        "AUTOTAGGER_MODEL": "palette",
        "AUTOTAGGER_MODEL_DEVICE": "CPU",
        "AUTOTAGGER_LOG_LEVEL": "ERROR",
        "IMMICH_BASE_URL": server.url if server else "",
        "IMMICH_API_KEY": server.api_key if server else SECRET,
    } | environ
    done = await asyncio.to_thread(command, "run", "--once", environ={**os.environ, **settings})
    text = done.out + done.err
    own = [line for line in done.err.splitlines() if line.startswith("autotagger: ")]
    assert len(own) == 1, text
    assert "Traceback" not in text, text
    assert settings["IMMICH_API_KEY"] not in text
    return Ending(done.code, own[0])


async def run_command(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode()


@pytest.fixture
async def server() -> AsyncIterator[StandIn]:
    async with StandIn(tiny_library(30)) as server:
        yield server


async def test_no_address(tmp_path: Path) -> None:
    ending = await run(None, tmp_path)
    assert ending.code in (2, 4)
    assert "base_url" in ending.line or "IMMICH_BASE_URL" in ending.line


async def test_nobody_listens(tmp_path: Path) -> None:
    ending = await run(None, tmp_path, IMMICH_BASE_URL="http://127.0.0.1:9")
    assert ending.code == 4
    assert "127.0.0.1:9" in ending.line
    assert not any(tmp_path.iterdir())  # noqa: ASYNC240 - a folder of the test's own


async def test_a_wrong_key(server: StandIn, tmp_path: Path) -> None:
    ending = await run(server, tmp_path, IMMICH_API_KEY=SECRET)
    assert ending.code == 4
    assert "API key" in ending.line


async def test_a_missing_permission_is_named(server: StandIn, tmp_path: Path) -> None:
    key = server.add_key({"asset.read", "asset.view", "tag.read"})
    ending = await run(server, tmp_path, IMMICH_API_KEY=key)
    assert ending.code == 4
    assert "tag.create" in ending.line
    assert "tag.asset" in ending.line
    assert "asset.view" not in ending.line.replace("tag.asset", "")


async def test_no_key(server: StandIn, tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "autotagger", "run", "--once"),
        env={**os.environ, "AUTOTAGGER_CONFIG": "/dev/null", "IMMICH_BASE_URL": server.url},
        stderr=subprocess.PIPE,
    )
    _, err = await process.communicate()
    assert process.returncode == 2
    assert b"no API key" in err


async def test_a_web_page_instead_of_immich(tmp_path: Path) -> None:
    async def page(_: web.Request) -> web.Response:
        return web.Response(text="<html>a router's login</html>", content_type="text/html")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", page)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    ending = await run(None, tmp_path, IMMICH_BASE_URL=f"http://127.0.0.1:{runner.addresses[0][1]}/photos")
    await runner.cleanup()
    assert ending.code == 4
    assert "Immich" in ending.line


async def test_a_server_that_is_too_old(server: StandIn, tmp_path: Path) -> None:
    async def old(call: Call) -> web.StreamResponse | None:
        version = {"major": 1, "minor": 120, "patch": 0}
        return web.json_response(version) if call.name == "version" else None

    server.faults = old
    ending = await run(server, tmp_path)
    assert ending.code == 4
    assert "1.120.0" in ending.line


async def test_an_unknown_model(server: StandIn, tmp_path: Path) -> None:
    ending = await run(server, tmp_path, AUTOTAGGER_MODEL="palete")
    assert ending.code == 2
    assert "palette" in ending.line


async def test_a_broken_model(server: StandIn, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(b"not a protobuf")
    (folder / "selected_tags.csv").write_text("tag_id,name,category,count\n1,sky,0,1\n")
    ending = await run(server, tmp_path / "state", AUTOTAGGER_MODEL=str(folder))
    assert ending.code == 3
    assert "model" in ending.line
    assert server.calls["tag_assets"] == server.calls["preview"] == 0


@pytest.mark.parametrize(
    ("node", "operator", "reason"),
    [(0, "NoSuchOperator", "cannot load the model"), (-1, "Neg", "scores outside 0..1")],
)
async def test_a_model_that_only_the_runtime_finds_broken(
    server: StandIn, tmp_path: Path, node: int, operator: str, reason: str
) -> None:
    """The files fit the manifest, the graph does not run or says nonsense: the inferencer says it, the run ends
    without a crash loop, and no score is believed that came before the proof."""
    import shutil

    import onnx

    from autotagger.tagger.catalog import SHIPPED

    folder = tmp_path / "model"
    shutil.copytree(SHIPPED["palette"], folder)
    model = onnx.load(folder / "model.onnx")
    model.graph.node[node].op_type = operator
    onnx.save(model, folder / "model.onnx")
    ending = await run(server, tmp_path / "state", AUTOTAGGER_MODEL=str(folder))
    assert ending.code == 3
    assert reason in ending.line
    with LedgerReader(tmp_path / "state" / "ledger.sqlite3") as ledger:
        assert ledger.counts()[State.SCORED] == 0
    assert server.calls["tag_assets"] == 0


async def test_a_ledger_that_another_run_holds(server: StandIn, tmp_path: Path) -> None:
    lock = LedgerLock(tmp_path / "ledger.sqlite3")
    lock.acquire()
    ending = await run(server, tmp_path)
    lock.release()
    assert ending.code == 3
    assert f"process {os.getpid()}" in ending.line


async def test_a_damaged_ledger(server: StandIn, tmp_path: Path) -> None:
    (tmp_path / "ledger.sqlite3").write_bytes(os.urandom(8192))
    ending = await run(server, tmp_path)
    assert ending.code == 3
    assert "damaged" in ending.line
    assert server.calls["tag_assets"] == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KB: room for the ledger's tables, not for a library."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("only root can mount a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


async def test_a_full_disk_ends_the_run_and_the_ledger_stays_good(small_disk: Path) -> None:
    async with StandIn(tiny_library(3_000)) as server:
        ending = await run(server, small_disk)
        assert ending.code == 3
        assert "disk is full" in ending.line
        await run_command("mount", "-o", "remount,size=64m", str(small_disk))
        check = (
            "import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute('pragma integrity_check').fetchone())"
        )
        assert await run_command(sys.executable, "-c", check, str(small_disk / "ledger.sqlite3")) == "('ok',)\n"


async def test_a_key_that_is_revoked_in_the_middle_ends_the_run(server: StandIn, tmp_path: Path) -> None:
    key = server.add_key({"asset.read", "asset.view", "tag.read", "tag.create", "tag.asset"})

    async def revoke(call: Call) -> web.StreamResponse | None:
        if call.name == "preview" and call.number == 10:
            server.revoke_key(key)
        return None

    server.faults = revoke
    ending = await run(server, tmp_path, IMMICH_API_KEY=key)
    assert ending.code == 4
    assert "API key" in ending.line
