"""CPU time and memory of a process and all below it, from Linux's /proc."""

import os
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Usage:
    """One process at one moment. `role`: its main thread's name; `cpu_s`: by thread name, user and system.

    `peak_mb`: the most memory that it ever had resident, shared pages included (VmHWM); `held_mb`: what it has
    now, of a page that several processes share its part (Pss). MB are 1e6 bytes.
    """

    pid: int
    role: str
    cpu_s: dict[str, float]
    peak_mb: float
    held_mb: float


def usages(pid: int) -> list[Usage]:
    """The process and its descendants, as far as they are still there."""
    found = []
    for member in _family(pid):
        try:
            found.append(_usage(member))
        except (OSError, ValueError, KeyError):  # it ended meanwhile
            continue
    return found


def _family(pid: int) -> list[int]:
    family = [pid]
    for member in family:  # grows while it is walked
        try:
            for task in (_PROC / str(member) / "task").iterdir():
                family += map(int, (task / "children").read_text().split())
        except OSError:
            continue
    return family


def _usage(pid: int) -> Usage:
    folder = _PROC / str(pid)
    cpu_s: dict[str, float] = {}
    for task in (folder / "task").iterdir():
        name, fields = _stat(task / "stat")
        key = "main" if task.name == str(pid) else name
        cpu_s[key] = cpu_s.get(key, 0.0) + (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
    status = _lines(folder / "status")
    held = _lines(folder / "smaps_rollup")["Pss"]
    return Usage(pid, status["Name"].strip(), cpu_s, _mb(status["VmHWM"]), _mb(held))


def _lines(path: Path) -> dict[str, str]:
    """What a file of lines `name: value` says."""
    return dict(line.split(":", 1) for line in path.read_text().splitlines() if ":" in line)


def _mb(text: str) -> float:
    """Of `1234 kB`, the kB being 1024 bytes."""
    return int(text.split()[0]) * 1024 / 1e6


def _stat(path: Path) -> tuple[str, list[str]]:
    """The name in brackets, and the fields from the third on (proc(5))."""
    text = path.read_text()
    return text[text.index("(") + 1 : text.rindex(")")], text[text.rindex(")") + 2 :].split()
