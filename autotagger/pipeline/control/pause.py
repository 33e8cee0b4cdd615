"""Paused or not: a file in the state folder, so that it outlives a restart and needs no running service."""

from pathlib import Path

from autotagger.errors import StartupFailed
from autotagger.resources import told
from autotagger.statedir import FILE_MODE, private_folder

#: What to tell about it.
PAUSED = "paused: nothing new is begun until `autotagger resume`"


def is_paused(state_dir: Path) -> bool:
    """Whether the file is there."""
    return _file(state_dir).exists()


def pause(state_dir: Path) -> bool:
    """Have whoever works on `state_dir`, now or later, start nothing new; returns False where it was so already.

    Raises StartupFailed.
    """
    if is_paused(state_dir):
        return False
    try:
        private_folder(state_dir)
        _file(state_dir).touch(mode=FILE_MODE)
    except OSError as error:
        raise StartupFailed(f"cannot pause: {told(error)}", kind="pause") from None
    return True


def resume(state_dir: Path) -> bool:
    """Undo `pause`; returns False where nothing was paused. Raises StartupFailed."""
    try:
        _file(state_dir).unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise StartupFailed(f"cannot resume: {told(error)}", kind="pause") from None
    return True


def _file(state_dir: Path) -> Path:
    return state_dir / "paused"
