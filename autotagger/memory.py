"""Memory of this process."""

import ctypes
import os
import resource
from collections.abc import Iterator
from pathlib import Path

#: madvise(2): we shall not need these pages soon. A page of a file that we have not written to is read again.
_MADV_DONTNEED = 4


#: The largest picture that is decoded at all, and what is made of it on the way (tagger/open_picture.py); the
#: frames of a video stay below it as well.
LARGEST_PICTURE_BYTES = 2 << 30
#: What any other picture takes: a preview a tenth of it, a photo of 50 megapixels all.
PICTURE_BYTES = 256 << 20


def limit_growth(further_bytes: int) -> int:
    """Let this process have no more than `further_bytes` beside what it has: more of it is a MemoryError.

    Returns the limit (RLIMIT_DATA), in bytes of memory that can be written to: neither files nor shared memory.
    A limit that is lower already stays.
    """
    held = _status_bytes("VmData")
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = min([held + further_bytes, *(each for each in (soft, hard) if each != resource.RLIM_INFINITY)])
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
    return limit


def resident_bytes() -> int:
    """What is really there of it."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def peak_bytes() -> int:
    """The most that was ever there of it, shared pages included (VmHWM)."""
    return _status_bytes("VmHWM")


def _status_bytes(field: str) -> int:
    """A value of /proc/self/status; 0 where the kernel does not say."""
    lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith(f"{field}:")), 0)


def give_back(file: Path) -> None:
    """Let go of the pages of a file that are mapped read-only: whoever looks at one again finds it in the system's
    cache, or on the disk. Also what was freed goes back to the system, where the C library can do that."""
    wanted = str(file.resolve())
    _let_go(place for access, place, name in _mapped() if access == "r--p" and name == wanted)
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):  # glibc's
        libc.malloc_trim(0)


def give_back_code(folder: Path) -> None:
    """Let go of the machine code of the libraries in a folder: what is still called comes back from the system's
    cache. For libraries that run much code once, as a compiler does, and little of it again."""
    below = f"{folder.resolve()}{os.sep}"
    _let_go(place for access, place, name in _mapped() if access == "r-xp" and name.startswith(below))


def _mapped() -> Iterator[tuple[str, tuple[int, int], str]]:
    """Every mapping of this process: access (`r-xp`), begin and end, the file or nothing."""
    for line in Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines():
        fields = line.split(maxsplit=5)
        start, end = (int(address, 16) for address in fields[0].split("-"))
        yield fields[1], (start, end), fields[5] if len(fields) > 5 else ""


def _let_go(places: Iterator[tuple[int, int]]) -> None:
    libc = ctypes.CDLL(None)
    for start, end in places:
        libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), _MADV_DONTNEED)
