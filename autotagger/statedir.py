"""The state folder: for its owner alone, and on a file system that can do what a ledger needs."""

import fcntl
import mmap
import os
import stat
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO

from autotagger.errors import StartupFailed
from autotagger.resources import is_exhaustion

#: Nobody else may read names of pictures, tags, or requests.
FOLDER_MODE, FILE_MODE = 0o700, 0o600
#: What to do where a file system lacks something.
LOCAL_DISK = "put state_dir on a local disk"
#: Reserved for the look at shared memory: one page.
_PAGE_BYTES = mmap.PAGESIZE


def spill_folder(state_dir: Path) -> Path:
    """Where pictures go that are larger than a slot of the shared memory."""
    return state_dir / "spill"


def private_folder(folder: Path) -> None:
    """Make `folder` where it is missing; where it is ours, nobody else may enter it. Raises OSError."""
    folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    keep_private(folder, FOLDER_MODE)


def keep_private(path: Path, mode: int = FILE_MODE) -> None:
    """Take from everybody else what they may do with `path`, where it is ours and there. A folder that is meant
    for everybody (/tmp) is left as it is. Raises OSError."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return
    others = stat.S_IMODE(found.st_mode) & (stat.S_IRWXG | stat.S_IRWXO)
    if others and found.st_uid == os.geteuid() and not found.st_mode & stat.S_ISVTX:
        path.chmod(mode)


def private_file(path: Path) -> BinaryIO:
    """A file to be written from its beginning, which is its owner's alone. Raises OSError."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, FILE_MODE), "wb")


def ensure_suitable(folder: Path) -> None:
    """Raises StartupFailed where the file system of `folder` lacks something that a ledger needs."""
    if missing := lacking(folder):
        raise StartupFailed(
            f"state_dir {folder} is on a file system without {' and '.join(missing)}: {LOCAL_DISK}",
            kind="state-dir",
        )


def lacking(folder: Path) -> tuple[str, ...]:
    """What of `POWERS` the file system of `folder` does not have, as network and other shares do not; nothing
    where it cannot be found out, since no file can be made there."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            os.pwrite(file.fileno(), bytes(_PAGE_BYTES), 0)  # touched as a map, a full disk would be a signal
            return tuple(name for name, use in POWERS.items() if not _works(use, file.fileno()))
    except OSError:
        return ()


def _works(use: Callable[[int], None], fd: int) -> bool:
    try:
        use(fd)
    except OSError as error:
        return is_exhaustion(error)  # that says nothing of the file system
    return True


def _map(fd: int) -> None:
    with mmap.mmap(fd, _PAGE_BYTES, flags=mmap.MAP_SHARED) as memory:
        memory[0] = 1


def _lock_record(fd: int) -> None:
    fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.lockf(fd, fcntl.LOCK_UN)


def _lock_file(fd: int) -> None:
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


#: By name: SQLite shares its index of the journal by a map and locks by fcntl; one run per ledger is an flock.
POWERS: Mapping[str, Callable[[int], None]] = {
    "shared memory maps (mmap)": _map,
    "record locks (fcntl)": _lock_record,
    "file locks (flock)": _lock_file,
}
