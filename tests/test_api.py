"""Tagging files from Python."""

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import autotagger
from autotagger.errors import AssetFailed, BadConfig


@pytest.fixture
def picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AUTOTAGGER_CONFIG", "/dev/null")
    monkeypatch.setenv("AUTOTAGGER_STATE_DIR", str(tmp_path))
    Image.new("RGB", (60, 40), "white").save(tmp_path / "white.png")
    return tmp_path / "white.png"


def test_a_file_has_tags_and_scored_labels(picture: Path) -> None:
    found = autotagger.load("palette").tag(picture)
    assert {"white background", "rating:general"} <= set(found.tags)
    assert found == autotagger.load("palette").tag(str(picture))
    scores = [label.score for label in found.labels]
    assert scores == sorted(scores, reverse=True)
    assert next(label.category for label in found.labels if label.name == "white_background") == "general"


def test_the_policy_can_be_given(picture: Path) -> None:
    found = autotagger.load("palette", threshold={"general": 1.0}, rating=False).tag(picture)
    assert set(found.tags) < set(autotagger.load("palette").tag(picture).tags)
    with pytest.raises(BadConfig, match="unknown key"):
        autotagger.load("palette", treshold={"general": 1.0})


def test_what_is_no_picture_is_told(picture: Path) -> None:
    (picture.parent / "no.png").write_text("text")
    tagger = autotagger.load("palette")
    for name in ("no.png", "missing.png"):
        with pytest.raises(AssetFailed):
            tagger.tag(picture.parent / name)


def test_the_package_itself_imports_nothing_heavy() -> None:
    """Every child process imports it."""
    look = "import sys, autotagger; print([m for m in ('numpy', 'pydantic', 'PIL') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", look], capture_output=True, text=True).stdout == "[]\n"
