"""Which Pillow a processor gets."""

import os
import sys
from pathlib import Path

import pytest

from autotagger import cpu
from autotagger.errors import StartupFailed

OLD = "processor\t: 0\nmodel name\t: Intel(R) Celeron(R) J4125 CPU @ 2.00GHz\nflags\t\t: fpu sse4_2\n"
NEW = "processor\t: 0\nmodel name\t: Intel(R) N100\nflags\t\t: fpu sse4_2 avx2\n"


@pytest.fixture
def simd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installation whose PIL is Pillow-SIMD."""
    folder = tmp_path / "site" / "PIL"
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "_version.py").write_text('__version__ = "12.1.1.post0"\n')
    monkeypatch.setattr(sys, "path", [str(folder.parent), *sys.path])
    monkeypatch.delitem(sys.modules, "PIL", raising=False)
    monkeypatch.setenv("PYTHONPATH", "")  # put back to what it was
    return folder


def cpuinfo(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "cpuinfo"
    path.write_text(text)
    return path


def test_a_processor_with_avx2_takes_what_is_there(simd: Path, tmp_path: Path) -> None:
    before = list(sys.path)
    cpu.suit_imaging(cpuinfo(tmp_path, NEW), tmp_path / "none")
    assert sys.path == before


def test_a_processor_without_avx2_takes_plain_pillow_where_it_lies_beside(simd: Path, tmp_path: Path) -> None:
    spare = tmp_path / "pillow-plain"
    (spare / "PIL").mkdir(parents=True)
    (spare / "PIL/__init__.py").touch()
    (spare / "PIL/_version.py").write_text('__version__ = "12.3.0"\n')
    cpu.suit_imaging(cpuinfo(tmp_path, OLD), spare)
    assert sys.path[0] == str(spare)
    assert os.environ["PYTHONPATH"] == str(spare)  # child processes too
    before = list(sys.path)
    cpu.suit_imaging(cpuinfo(tmp_path, OLD), spare)  # it is plain now: nothing more to do
    assert sys.path == before


def test_a_processor_without_avx2_gets_one_clear_line_where_there_is_no_plain_pillow(
    simd: Path, tmp_path: Path
) -> None:
    with pytest.raises(StartupFailed) as refused:
        cpu.suit_imaging(cpuinfo(tmp_path, OLD), tmp_path / "none")
    assert "J4125" in refused.value.message
    assert "PILLOW=plain ./scripts/setup" in refused.value.message


def test_plain_pillow_runs_anywhere_and_an_unknown_processor_is_trusted(simd: Path, tmp_path: Path) -> None:
    cpu.suit_imaging(tmp_path / "missing", tmp_path / "none")
    (simd / "_version.py").write_text('__version__ = "12.3.0"\n')
    cpu.suit_imaging(cpuinfo(tmp_path, OLD), tmp_path / "none")
