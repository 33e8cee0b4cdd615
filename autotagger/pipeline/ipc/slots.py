"""Slots: fixed-size places in shared memory through which pictures go from the fetcher to the inferencers.

The memory is anonymous (memfd): it has no name to leak, it is gone with the last process that maps it, however
that ends, and a container's small /dev/shm does not limit it. Who holds which slot is known to the
dispatcher (`SlotTable`), not to the memory: what a killed process half wrote is simply never read.
"""

import contextlib
import mmap
import os
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import Any, Self

from autotagger.errors import StartupFailed
from autotagger.statedir import private_file, private_folder


class SlotMemory:
    """`count` slots of `size` bytes, mapped in every process. A body larger than a slot goes through a file."""

    def __init__(self, fd: int, count: int, size: int, spill_dir: Path) -> None:
        self._fd = fd
        self.count = count
        self.size = size
        self._spill_dir = spill_dir
        self._map = mmap.mmap(fd, count * size)

    @classmethod
    def create(cls, count: int, size: int, spill_dir: Path) -> Self:
        """New memory, zero pages until used; whatever a killed run left in `spill_dir` is removed."""
        private_folder(spill_dir)
        _clear(spill_dir)
        fd = os.memfd_create("autotagger-slots", os.MFD_CLOEXEC)
        os.ftruncate(fd, count * size)
        return cls(fd, count, size, spill_dir)

    def __getstate__(self) -> tuple[Any, ...]:
        return DupFd(self._fd), self.count, self.size, self._spill_dir

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        fd, count, size, spill_dir = state
        self.__init__(fd.detach(), count, size, spill_dir)  # type: ignore[misc]

    def write(self, slot: int, body: bytes) -> bool:
        """Put `body` in the slot; returns whether it had to be spilled. Raises StartupFailed when the disk
        takes no more: that is no fault of the picture, and the next one would fare no better."""
        if len(body) <= self.size:
            start = slot * self.size
            self._map[start : start + len(body)] = body
            return False
        try:
            with private_file(self._spill(slot)) as file:
                file.write(body)
        except OSError as error:
            raise StartupFailed(
                f"cannot put a picture of {len(body)} bytes in {self._spill_dir}: {error.strerror}; "
                "free some space and start again, nothing recorded is lost",
                kind="spill",
            ) from None
        return True

    def read(self, slot: int, length: int, *, spilled: bool) -> memoryview:
        """What `write` put there: a view of the slot, valid until the slot is released. A spilled body is taken
        off the disk."""
        if spilled:
            body = self._spill(slot).read_bytes()
            self._spill(slot).unlink()
            return memoryview(body)
        start = slot * self.size
        return memoryview(self._map)[start : start + length]

    def close(self) -> None:
        """Unmap (unless somebody still reads), close, and remove what nobody came to read."""
        with contextlib.suppress(BufferError):  # a view is still out; the mapping goes with the process
            self._map.close()
        os.close(self._fd)
        with contextlib.suppress(OSError):  # the next run removes it
            _clear(self._spill_dir)

    def _spill(self, slot: int) -> Path:
        return self._spill_dir / f"slot-{slot}"


def _clear(spill_dir: Path) -> None:
    for left in spill_dir.glob("slot-*"):
        left.unlink(missing_ok=True)


class SlotTable:
    """Which slots are free. Kept by the dispatcher alone."""

    def __init__(self, count: int) -> None:
        self._free = list(range(count))
        self.count = count

    @property
    def free(self) -> int:
        return len(self._free)

    def take(self) -> int:
        """A free slot. Raises IndexError when there is none: look at `free` first."""
        return self._free.pop()

    def give_back(self, slot: int) -> None:
        assert slot not in self._free, f"slot {slot} was given back twice"
        self._free.append(slot)
