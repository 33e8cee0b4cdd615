"""Memory of this process."""

import os
from pathlib import Path


def resident_bytes() -> int:
    """What is really there of it."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
