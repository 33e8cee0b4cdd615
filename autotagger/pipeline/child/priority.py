"""How far a process of ours steps back for others on the same machine."""

import ctypes
import os

from autotagger.settings import PipelineSettings

#: ioprio_set(2) on x86-64, and what it is about: one process or thread.
_SYS_IOPRIO_SET, _WHO_PROCESS = 251, 1
#: Class and level as ioprio_set takes them: best effort, the last of its eight levels; and idle.
_IO = {"low": (2 << 13) | 7, "idle": 3 << 13}


def lower_priority(settings: PipelineSettings) -> None:
    """Take the CPU and disk priority that the settings ask for, for this thread and all that it starts.

    Never a higher priority than the process has, which only root may take.
    """
    if settings.nice > os.getpriority(os.PRIO_PROCESS, 0):
        os.setpriority(os.PRIO_PROCESS, 0, settings.nice)
    if settings.ionice in _IO:
        ctypes.CDLL(None).syscall(_SYS_IOPRIO_SET, _WHO_PROCESS, 0, _IO[settings.ionice])
