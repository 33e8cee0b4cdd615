"""Cores: affinity, and the quotas of both generations of control groups."""

import os
from pathlib import Path

import pytest

from autotagger.tagger.cores import allowed_cores, allowed_memory


def group(root: Path, files: dict[str, str], membership: str) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    path = root / "membership"
    path.write_text(membership)
    return path


V1 = "7:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n"


@pytest.mark.parametrize(
    ("files", "membership", "cores"),
    [
        ({}, "", 8),
        ({"cpu.max": "max 100000\n"}, "0::/\n", 8),
        ({"cpu.max": "200000 100000\n"}, "0::/\n", 2),
        ({"cpu.max": "150000 100000\n"}, "0::/\n", 2),
        ({"cpu.max": "10000 100000\n"}, "0::/\n", 1),
        ({"cpu.max": "9900000 100000\n"}, "0::/\n", 8),
        ({"a/b/cpu.max": "400000 100000\n", "a/cpu.max": "300000 100000\n"}, "0::/a/b\n", 3),
        ({"a/b/cpu.max": "400000 100000\n", "a/cpu.max": "max 100000\n"}, "0::/a/b\n", 4),
        ({"other/cpu.max": "100000 100000\n"}, "0::/a/b\n", 8),
        (
            {"cpu,cpuacct/docker/abc/cpu.cfs_quota_us": "300000\n",
             "cpu,cpuacct/docker/abc/cpu.cfs_period_us": "100000\n"}, V1, 3,
        ),
        ({"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"}, V1, 2),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, V1, 8),
        ({"cpu.max": "nonsense"}, "garbage\n\n:::\n", 8),
    ],
)  # fmt: skip
def test_the_tightest_quota_counts(tmp_path: Path, files: dict[str, str], membership: str, cores: int) -> None:
    assert allowed_cores(group(tmp_path, files, membership), tmp_path, cores=8) == cores


def test_affinity_is_the_upper_limit(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    assert allowed_cores(nowhere, nowhere) == len(os.sched_getaffinity(0))
    assert 1 <= allowed_cores() <= len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("files", "membership", "megabytes"),
    [
        ({}, "", 4_000),
        ({"memory.max": "max\n"}, "0::/\n", 4_000),
        ({"memory.max": "1000000000\n"}, "0::/\n", 1_000),
        ({"a/b/memory.max": "max\n", "a/memory.max": "500000000\n"}, "0::/a/b\n", 500),
        ({"memory/docker/abc/memory.limit_in_bytes": "700000000\n"}, V1, 700),
        ({"memory/docker/abc/memory.limit_in_bytes": "9223372036854771712\n"}, V1, 4_000),
    ],
)
def test_memory_is_what_is_available_within_the_tightest_limit(
    tmp_path: Path, files: dict[str, str], membership: str, megabytes: int
) -> None:
    place = group(tmp_path, files | {"meminfo": "MemTotal: 9000000 kB\nMemAvailable: 3906250 kB\n"}, membership)
    assert allowed_memory(place, tmp_path, tmp_path / "meminfo") == megabytes * 1_000_000
