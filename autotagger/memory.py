"""Memory of this process."""

import ctypes
import os
from pathlib import Path

#: madvise(2): we shall not need these pages soon. A page of a file that we have not written to is read again.
_MADV_DONTNEED = 4


def resident_bytes() -> int:
    """What is really there of it."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def give_back(file: Path) -> None:
    """Let go of the pages of a file that are mapped read-only: whoever looks at one again finds it in the system's
    cache, or on the disk. Also what was freed goes back to the system, where the C library can do that."""
    libc = ctypes.CDLL(None)
    wanted = str(file.resolve())
    for line in Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines():
        fields = line.split(maxsplit=5)
        if fields[1] == "r--p" and fields[-1] == wanted:
            start, end = (int(address, 16) for address in fields[0].split("-"))
            libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), _MADV_DONTNEED)
    if hasattr(libc, "malloc_trim"):  # glibc's
        libc.malloc_trim(0)
