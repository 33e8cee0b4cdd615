"""The benchmarks themselves, small: they run, and say what they should."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


def benchmark(name: str, state_dir: Path, *arguments: str) -> Any:
    environ = {**os.environ, "AUTOTAGGER_STATE_DIR": str(state_dir), "AUTOTAGGER_CONFIG": "/dev/null"}
    command = [sys.executable, "-m", f"tests.benchmarks.{name}", *arguments]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_each_stage_has_its_cost(tmp_path: Path) -> None:
    costs = benchmark("stages", tmp_path, "--tiny")["stage_ms"]
    assert costs.keys() == {"decode", "slots", "policy", "ledger", "client"}
    assert all(cost > 0 for cost in costs.values())


@pytest.mark.slow
def test_growth_tags_reads_verifies_and_retags_a_library_of_each_size(tmp_path: Path) -> None:
    rows = benchmark("growth", tmp_path, "5", "20", "--tiny")["growth"]
    assert [(row["assets"], row["verified"]) for row in rows] == [(5, 5), (20, 20)]
    assert all(row["own_ms"] > 0 and row["wall_ms"] > 0 for row in rows)


def test_waves_are_as_many_whatever_the_number_of_tags(tmp_path: Path) -> None:
    rows = benchmark("waves", tmp_path, "4", "12", "--assets", "6")["waves"]
    assert [(row["operation"], row["tags"]) for row in rows] == [
        *(("retag", 4), ("undo", 4), ("retag", 12), ("undo", 12))
    ]
    assert all(row["wrong_links"] == 0 for row in rows)
    assert all(1 <= row["waves"] <= 4 for row in rows)
