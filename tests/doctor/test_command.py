"""`autotagger doctor` as a person starts it; its exit code is the one that `autotagger run` would end with."""

import asyncio
import csv
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest

from autotagger.demo import StandIn, tiny_library
from autotagger.doctor.check_result import Finding, fail, good, warn
from autotagger.doctor.examine import Report
from autotagger.doctor.registry import CHECKS
from tests.forked import command


async def doctor(server: StandIn | None, state_dir: Path, *arguments: str, **environ: str) -> tuple[int, str]:

    settings = {
        "AUTOTAGGER_CONFIG": "/dev/null",
        "AUTOTAGGER_STATE_DIR": str(state_dir),
        "AUTOTAGGER_MODEL": "palette",
        "IMMICH_BASE_URL": server.url if server else "127.0.0.1:9",
        "IMMICH_API_KEY": server.api_key if server else "a-key-that-nobody-may-see",
        "COLUMNS": "120",
    } | environ
    done = await asyncio.to_thread(command, "doctor", *arguments, environ={**os.environ, **settings})
    assert settings["IMMICH_API_KEY"] not in done.out + done.err
    assert done.err == ""
    return done.code, done.out


async def test_a_good_installation_measures_and_would_start(tmp_path: Path) -> None:
    async with StandIn(tiny_library(30)) as server:
        code, out = await doctor(server, tmp_path / "state", "--json")
    report: dict[str, Any] = json.loads(out)
    assert (code, report["would_start"], report["exit_code"]) == (0, True, 0)
    assert [check["check"] for check in report["checks"]] == list(CHECKS)
    found = {check["check"]: check["found"] for check in report["checks"]}
    assert "20 of your pictures measured" in found["library.hours"] or "downloading" in found["library.hours"]
    assert "30 assets" in found["library.hours"]
    assert found["model.device"].startswith("the whole model runs on CPU")
    assert all((check["fix"] is None) == (check["result"] in ("pass", "skip")) for check in report["checks"])
    assert not (tmp_path / "state").exists()


async def test_a_key_of_an_earlier_version_is_a_warning_with_its_new_name(tmp_path: Path) -> None:
    async with StandIn(tiny_library(3)) as server:
        code, out = await doctor(server, tmp_path, "--quick", "--json", AUTOTAGGER_IMMICH_MOST_QUEUED="9")
    [check] = [check for check in json.loads(out)["checks"] if check["check"] == "settings.keys"]
    assert (code, check["result"]) == (0, "warn")
    assert "is now called [immich] max_queued" in check["found"]


async def test_a_missing_permission_is_exit_code_4_and_one_row_of_the_table(tmp_path: Path) -> None:
    async with StandIn(tiny_library(3)) as server:
        key = server.add_key(["asset.read", "asset.view", "tag.read", "tag.create"])
        code, out = await doctor(server, tmp_path, "--quick", IMMICH_API_KEY=key)
    assert code == 4
    assert out.count("FAIL") == 1
    assert "-> edit the key in Immich: Account Settings > API Keys and tick tag.asset" in out
    assert out.rstrip().endswith("`autotagger run` would not start.")


async def test_csv_and_a_damaged_ledger(tmp_path: Path) -> None:
    (tmp_path / "ledger.sqlite3").write_bytes(os.urandom(8192))
    async with StandIn(tiny_library(3)) as server:
        code, out = await doctor(server, tmp_path, "--quick", "--format", "csv")
    rows = {row["check"]: row for row in csv.DictReader(io.StringIO(out))}
    assert code == 3
    assert rows["ledger.health"]["result"] == "fail"
    assert "damaged" in rows["ledger.health"]["found"]


@pytest.mark.parametrize(
    ("results", "code"),
    [
        ([good("a"), warn("b", "c")], 0),
        ([warn("b", "c"), fail("d", "e", 4), fail("f", "g", 3)], 4),
    ],
)
def test_the_first_failure_decides_the_exit_code(results: list[Any], code: int) -> None:
    assert Report(tuple(Finding("x", result) for result in results)).exit_code == code
