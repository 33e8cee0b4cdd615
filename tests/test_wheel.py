"""The wheel alone, away from the sources: everything that a run needs is in it."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

ROOT = Path(__file__).parent.parent
#: What is no part of what gets installed.
LEFT_BEHIND = (".git", ".venv", ".venv-mutate", ".mypy_cache", ".hypothesis", "mutants", "build", "__pycache__")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds what the wheel of these sources holds, and nothing else."""
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT, folder / "sources", ignore=shutil.ignore_patterns(*LEFT_BEHIND), symlinks=True)
    build = [sys.executable, "-m", "pip", "-q", "wheel", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*build, "-w", str(folder), str(folder / "sources")], check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "installed")
    return folder / "installed"


def answer(installed: Path, folder: Path, *words: str) -> Any:
    ours = ("AUTOTAGGER_", "IMMICH_")
    environ = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    environ |= {"PYTHONPATH": str(installed), "AUTOTAGGER_CONFIG": os.devnull, "AUTOTAGGER_MODEL_DEVICE": "CPU"}
    environ |= {"AUTOTAGGER_STATE_DIR": str(folder / "state"), "AUTOTAGGER_MODEL": "palette"}
    code = "import sys, autotagger.__main__ as it; print(it.__file__, file=sys.stderr); it.main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=folder, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert str(installed) in done.stderr.splitlines()[0], "it is the wheel's own code that ran"
    return json.loads(done.stdout)


def test_an_installed_wheel_tags_a_picture(installed: Path, tmp_path: Path) -> None:
    Image.new("RGB", (64, 64), "red").save(tmp_path / "picture.png")
    (found,) = answer(installed, tmp_path, "tag", "picture.png", "--format", "json")
    assert "red background" in found["tags"], found


def test_an_installed_wheel_does_the_main_job(installed: Path, tmp_path: Path) -> None:
    """The demo: a stand-in Immich, every process of a run, the ledger's migrations."""
    found = answer(installed, tmp_path, "demo", "--pictures", "3", "--json")
    assert found["complete"]
    assert found["links_present"] == found["links_expected"] > 0
