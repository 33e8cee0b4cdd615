"""`autotagger bench --tiny`, whole: real models, processes and sockets, small."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


def bench(state_dir: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "AUTOTAGGER_STATE_DIR": str(state_dir), "AUTOTAGGER_CONFIG": "/dev/null"}
    command = [sys.executable, "-m", "autotagger", "bench", *arguments]
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_a_tiny_bench_measures_everything(tmp_path: Path) -> None:
    done = bench(tmp_path, "--tiny", "--json")
    assert done.returncode == 0, done.stderr
    numbers = json.loads(done.stdout)
    for name in ("session_ips", "pipeline_ips", "ratio", "instant_ips", "decode_ips", "rss_mb"):
        assert numbers[name] > 0, name
    assert {"decode", "inference", "fetcher", "writer", "supervisor", "stand_in"} <= numbers["cpu_ms"].keys()
    assert {"fetcher", "inferencer", "supervisor", "writer"} <= numbers["rss_mb_by_process"].keys()


@pytest.mark.slow
def test_tuning_writes_what_it_chose(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    command = [sys.executable, "-m", "autotagger", "--config", str(config), "bench", "--tiny", "--tune", "--json"]
    config.write_text(f"state_dir = '{tmp_path}'\n")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    chosen = [row["topology"] for row in json.loads(done.stdout)["topologies"] if row["chosen"]]
    assert len(chosen) == 1
    assert "streams = " in config.read_text()
