"""What a run takes from the machine and must give back: processes, memory, file descriptors, files."""

import gc
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil

SHARED_MEMORY = Path("/dev/shm")
#: What may be in a state folder after a run, whatever happened to it.
LEFT = {"ledger.sqlite3", "ledger.sqlite3-wal", "ledger.sqlite3-shm", "ledger.lock", "spill"}


def entries(folder: Path) -> set[Path]:
    return set(folder.iterdir()) if folder.exists() else set()


def processes_of(state_dir: Path) -> list[psutil.Process]:
    """Processes that were started with this state folder, whoever their parent is by now."""
    mark = f"AUTOTAGGER_STATE_DIR={state_dir}\0".encode()
    found = []
    for process in psutil.process_iter():
        try:
            ours = mark in Path(f"/proc/{process.pid}/environ").read_bytes()
        except OSError:  # it has ended, or is somebody else's
            continue
        if ours and holds_something(process):
            found.append(process)
    return found


def holds_something(process: psutil.Process) -> bool:
    """Whether it still is one: of a zombie only the entry is left, until whoever inherited it looks."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@dataclass(frozen=True, slots=True)
class Belongings:
    """What this process holds (later runs are its children) and what has a name in shared memory."""

    descriptors: dict[int, str]
    slots: int
    named: frozenset[Path]

    @classmethod
    def now(cls) -> Self:
        gc.collect()
        descriptors = {}
        for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - the folder itself is one of them while it is read
            try:
                descriptors[int(name)] = os.readlink(f"/proc/self/fd/{name}")  # noqa: PTH115
            except FileNotFoundError:
                continue
        slots = Path("/proc/self/maps").read_text().count("memfd:autotagger-slots")
        return cls(descriptors, slots, frozenset(entries(SHARED_MEMORY)))

    def assert_given_back(self) -> None:
        """No descriptor more, no slot still mapped, nothing new in shared memory but what others put there."""
        after = type(self).now()
        more = {number: to for number, to in after.descriptors.items() if self.descriptors.get(number) != to}
        assert len(after.descriptors) <= len(self.descriptors), more
        assert after.slots == self.slots == 0
        assert not [path for path in after.named - self.named if "autotagger" in path.name]
