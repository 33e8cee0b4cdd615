"""Slots: bytes written in one process are read in another, nothing has a name, large bodies take the side door."""

import hashlib
import multiprocessing
from pathlib import Path

import pytest

from autotagger.errors import StartupFailed
from autotagger.pipeline.ipc.channel import Channel
from autotagger.pipeline.ipc.slots import SlotMemory, SlotTable


def _read(memory: SlotMemory, slot: int, length: int, spilled: bool, channel: Channel) -> None:
    with memory.read(slot, length, spilled=spilled) as body:
        channel.send(hashlib.sha256(body).hexdigest())


@pytest.mark.parametrize("length", [1, 4_096, 65_536, 65_537, 300_000])
def test_another_process_reads_what_was_written(
    tmp_path: Path, ends: tuple[Channel, Channel], length: int
) -> None:
    memory = SlotMemory.create(count=4, size=65_536, spill_dir=tmp_path / "spill")
    body = bytes(number % 251 for number in range(length))
    memory.write(2, b"\xff" * 65_536)
    spilled = memory.write(3, body)
    assert spilled is (length > 65_536)
    ours, theirs = ends
    arguments = (memory, 3, length, spilled, theirs)
    process = multiprocessing.get_context("spawn").Process(target=_read, args=arguments)
    process.start()
    assert ours.receive() == hashlib.sha256(body).hexdigest()
    process.join()
    process.close()
    with memory.read(2, 65_536, spilled=False) as neighbour:
        assert bytes(neighbour) == b"\xff" * 65_536
    assert list((tmp_path / "spill").iterdir()) == []
    memory.close()


def test_the_memory_has_no_name_in_dev_shm(tmp_path: Path) -> None:
    before = set(Path("/dev/shm").iterdir())
    memory = SlotMemory.create(count=2, size=65_536, spill_dir=tmp_path)
    assert set(Path("/dev/shm").iterdir()) == before
    memory.close()


def test_a_new_run_removes_what_a_killed_one_spilled(tmp_path: Path) -> None:
    (tmp_path / "slot-1").write_bytes(b"left over")
    SlotMemory.create(count=2, size=65_536, spill_dir=tmp_path).close()
    assert list(tmp_path.iterdir()) == []


def test_what_nobody_came_to_read_is_removed_at_the_end(tmp_path: Path) -> None:
    memory = SlotMemory.create(count=2, size=65_536, spill_dir=tmp_path)
    assert memory.write(1, bytes(100_000))
    memory.close()
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_full_is_no_fault_of_the_picture(tmp_path: Path) -> None:
    memory = SlotMemory.create(count=2, size=65_536, spill_dir=tmp_path)
    (tmp_path / "slot-1").symlink_to("/dev/full")
    with pytest.raises(StartupFailed, match="No space left on device; free some space"):
        memory.write(1, bytes(100_000))
    memory.close()
    assert list(tmp_path.iterdir()) == []


def test_a_slot_is_taken_once_until_it_is_given_back() -> None:
    table = SlotTable(3)
    taken = {table.take() for _ in range(3)}
    assert taken == {0, 1, 2}
    assert table.free == 0
    with pytest.raises(IndexError):
        table.take()
    table.give_back(1)
    assert table.take() == 1
    table.give_back(0)
    with pytest.raises(AssertionError, match="twice"):
        table.give_back(0)
