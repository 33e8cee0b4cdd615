"""The state folder: private, and on a file system that can do what a ledger needs."""

import errno
import fcntl
import mmap
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from autotagger import statedir
from autotagger.doctor.ledger import look_at_ledger
from autotagger.doctor.registry import CHECKS
from autotagger.errors import StartupFailed
from autotagger.ledger.database import LedgerLock
from autotagger.ledger.writer import LedgerWriter
from autotagger.pipeline.control.mailbox import Mailbox
from autotagger.pipeline.control.pause import pause
from autotagger.pipeline.ipc.slots import SlotMemory
from tests.doctor.support import facts_with, settings_of


@pytest.fixture
def open_umask() -> Iterator[None]:
    """A user who lets everybody read and write what is made."""
    before = os.umask(0)
    yield
    os.umask(before)


def rights(path: Path) -> str:
    return f"{stat.S_IMODE(path.stat().st_mode):o}"


@pytest.mark.usefixtures("open_umask")
@pytest.mark.parametrize("made_before", [False, True])
def test_everything_in_the_state_folder_is_its_owners_alone(made_before: bool, tmp_path: Path) -> None:
    state = tmp_path / "state"
    if made_before:  # by an earlier version
        (state / "requests").mkdir(parents=True)
        (state / "spill").mkdir()
        (state / "ledger.sqlite3").touch()
        (state / "ledger.lock").touch()
    lock = LedgerLock(state / "ledger.sqlite3")
    slots = SlotMemory.create(1, 16, state / "spill")
    with LedgerWriter(state / "ledger.sqlite3") as ledger:
        ledger.start_run("0", 1)
        Mailbox(state).post("retry")
        pause(state)
        slots.write(0, bytes(17))
        found = {path.relative_to(state).parts[0]: path for path in state.rglob("*") if path.is_file()}
        assert {path.name for path in found.values()} >= {
            "ledger.sqlite3",
            "ledger.sqlite3-wal",
            "ledger.sqlite3-shm",
            "ledger.lock",
            "paused",
        }
        assert {"requests", "spill"} <= found.keys()
        assert {rights(path) for path in found.values()} == {"600"}
        assert {rights(path) for path in (state, *state.rglob("*")) if path.is_dir()} == {"700"}
    slots.close()
    lock.release()


@pytest.mark.usefixtures("open_umask")
def test_a_folder_that_is_meant_for_everybody_is_left_as_it_is(tmp_path: Path) -> None:
    shared = tmp_path / "tmp"
    shared.mkdir()
    shared.chmod(0o1777)
    statedir.private_folder(shared)
    assert rights(shared) == "1777"


def test_a_usual_disk_lacks_nothing_and_keeps_nothing_of_the_look(tmp_path: Path) -> None:
    assert statedir.lacking(tmp_path) == ()
    assert list(tmp_path.iterdir()) == []
    assert statedir.lacking(tmp_path / "not there") == ()


_MMAP = mmap.mmap


def refusing(code: int) -> Any:
    def refuse(*arguments: Any, **options: Any) -> Any:
        if arguments[0] == -1:  # not of a file: whether there is memory left at all
            return _MMAP(*arguments, **options)
        raise OSError(code, os.strerror(code))

    return refuse


@pytest.mark.parametrize(
    ("module", "function", "code", "words"),
    [
        (mmap, "mmap", errno.ENODEV, "shared memory maps (mmap)"),
        (fcntl, "lockf", errno.ENOLCK, "record locks (fcntl)"),
        (fcntl, "flock", errno.EOPNOTSUPP, "file locks (flock)"),
    ],
)
def test_a_share_that_lacks_something_is_told_at_the_start_and_by_doctor(
    module: Any, function: str, code: int, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = LedgerLock(tmp_path / "ledger.sqlite3")
    monkeypatch.setattr(module, function, refusing(code))
    assert statedir.lacking(tmp_path) == (words,)
    found = look_at_ledger(settings_of(state_dir=tmp_path))
    with pytest.raises(StartupFailed) as raised:
        lock.acquire()
    monkeypatch.undo()
    lock.release()
    assert (raised.value.exit_code, raised.value.kind) == (3, "state-dir")
    assert f"state_dir {tmp_path} is on a file system without {words}: put state_dir on a local disk" in str(
        raised.value
    )
    result = CHECKS["ledger.health"](facts_with(ledger=found))
    assert (result.exit_code, result.fix) == (3, "put state_dir on a local disk")
    assert words in result.found


def test_what_the_machine_has_no_more_of_says_nothing_of_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mmap, "mmap", refusing(errno.ENOMEM))
    assert statedir.lacking(tmp_path) == ()
