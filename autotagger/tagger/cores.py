"""How many cores and how much memory this process may really use. OpenVINO honours CPU affinity but no quota."""

import math
import os
from collections.abc import Iterator
from pathlib import Path


def allowed_cores(
    membership: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup"), cores: int | None = None
) -> int:
    """Cores by affinity, capped by the tightest cgroup quota (v1 or v2) above us, rounded up; at least 1.

    `membership` says which groups we are in, `root` is where they are mounted; `cores` replaces the affinity.
    """
    cores = cores or len(os.sched_getaffinity(0))
    quotas = [quota for folder in _folders(membership, root) if (quota := _quota(folder)) is not None]
    return max(1, min(cores, math.ceil(min(quotas, default=cores))))


def allowed_memory(
    membership: Path = Path("/proc/self/cgroup"),
    root: Path = Path("/sys/fs/cgroup"),
    meminfo: Path = Path("/proc/meminfo"),
) -> int:
    """Bytes that are available on the machine (`MemAvailable` of `meminfo`), capped by the tightest cgroup limit
    (v1 or v2) above us. What others in the same group use is not taken off."""
    lines = (line.split() for line in _read(meminfo).splitlines())
    available = next((int(fields[1]) * 1024 for fields in lines if fields and fields[0] == "MemAvailable:"), 0)
    limits = [
        int(text)
        for folder in _folders(membership, root, "memory")
        for name in ("memory.max", "memory.limit_in_bytes")
        if (text := _read(folder / name).strip()).isdecimal()
    ]
    return min([*limits, available] if available else limits, default=0)


def _folders(membership: Path, root: Path, controller: str = "cpu") -> Iterator[Path]:
    """Our groups of a controller and all above them. Inside a container the path named is the host's and not to be
    seen: then the root of the mount is our own group, so it always counts."""
    for line in _read(membership).splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and controller not in controllers.split(","):
            continue
        mount = root / controllers if controllers else root
        group = mount / path.lstrip("/")
        while group != mount:
            yield group
            group = group.parent
        yield mount
        yield root / controller  # v1 links each controller of a joint mount by its own name


def _quota(folder: Path) -> float | None:
    """Cores' worth of time that the group `folder` may use, None without a limit."""
    if v2 := _read(folder / "cpu.max").split():
        limit, period = v2[0], v2[-1] if len(v2) > 1 else "100000"
    else:
        limit, period = _read(folder / "cpu.cfs_quota_us").strip(), _read(folder / "cpu.cfs_period_us").strip()
    if not (limit.isdecimal() and period.isdecimal() and int(period)):  # "max", "-1", or no such file
        return None
    return int(limit) / int(period)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
