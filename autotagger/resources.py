"""What this process can still have of the machine: memory, and file descriptors."""

import errno
import mmap
import os

#: Far less than any piece of work takes.
_LITTLE_BYTES = 1 << 20
#: No more descriptors, processes, memory, or room on the disk.
_NO_MORE = frozenset((errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM, errno.ENOSPC, errno.EDQUOT))
#: How Python says that no thread can be had.
_NO_THREAD = "can't start new thread"


class NoDescriptors(MemoryError):
    """This process can have no more file descriptors. Whatever fails for that is as little to blame as whatever
    fails for want of memory, and it is cured in the same way: by a new process."""

    def __init__(self) -> None:
        super().__init__("no more file descriptors: raise the limit (ulimit -n, LimitNOFILE= in a systemd unit)")


def raise_if_exhausted() -> None:
    """Raises MemoryError where this process can have no more memory, NoDescriptors where it can have no more file
    descriptors: whatever has just failed then failed for that.

    For those who are about to say whose fault an error is, which is two: errors.py (the asset's, Immich's, the
    ledger's) and pipeline/ipc/channel.py (another process's). Libraries make of such a want what they know best:
    SQLite a file that cannot be read, Pillow a broken picture, aiohttp an answer that broke off or a server that
    cannot be reached, orjson no JSON.
    """
    try:
        mmap.mmap(-1, _LITTLE_BYTES, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
    except OSError:
        raise MemoryError from None
    try:
        os.close(os.open("/", os.O_PATH | os.O_CLOEXEC))
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise NoDescriptors from None


def is_exhaustion(error: BaseException) -> bool:
    """Whether an error says that the machine, or a limit that it sets, gives no more of something."""
    if isinstance(error, OSError):
        return error.errno in _NO_MORE
    return isinstance(error, MemoryError) or (type(error) is RuntimeError and str(error) == _NO_THREAD)


def told(error: BaseException) -> str:
    """In a few words, what the machine did not give."""
    if not isinstance(error, OSError):
        return str(error) or "no more memory"
    words = error.strerror or str(error)
    return f"{words} ({error.filename})" if error.filename else words
