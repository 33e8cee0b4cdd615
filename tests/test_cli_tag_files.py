"""`autotagger tag` on folders, and the files that it writes beside pictures."""

import json
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from autotagger.demo.files import encoded_video
from tests.test_cli import Run, environment, run  # noqa: F401  (a fixture)

EXIFTOOL = '''#!{python}
"""As much of exiftool as is asked of it: argument files on stdin, lists of an XMP file (JSON here)."""
import json, pathlib, sys
assert sys.argv[1:] == ["-@", "-"], sys.argv
words = sys.stdin.buffer.read().decode("utf-8").splitlines()
path = pathlib.Path(words[-1])
if "fail" in path.name:
    sys.exit("Error: no room on the disk")
lists = json.loads(path.read_text()) if path.exists() else {{}}
for word in words:
    for sign in ("-=", "+="):
        if word.startswith("-XMP-") and sign in word:
            where, _, tag = word[1:].partition(sign)
            entries = [entry for entry in lists.get(where, []) if sign == "+=" or entry != tag]
            lists[where] = entries + [tag] * (sign == "+=")
path.write_text(json.dumps(lists, ensure_ascii=False))
'''


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two pictures, one further down, one hidden, and a file that is no picture."""
    for name in ("b.png", "A.JPG", "deep/er/c.webp", ".hidden.png"):
        path = tmp_path / "pictures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (60, 40), "white").save(path)
    (tmp_path / "pictures/notes.md").write_text("no picture")
    return tmp_path / "pictures"


@pytest.fixture
def exiftool(tmp_path: Path) -> dict[str, str]:
    path = tmp_path / "bin/exiftool"
    path.parent.mkdir()
    path.write_text(EXIFTOOL.format(python=sys.executable))
    path.chmod(0o755)
    return {"PATH": f"{path.parent}{os.pathsep}{os.environ['PATH']}"}


def tagged(run: Run, *arguments: str | Path, **extra: str) -> list[str]:  # noqa: F811
    outcome = run("tag", *arguments, "--model", "palette", "--format", "json", **extra)
    assert outcome.code == 0, outcome.err
    return [Path(picture["file"]).name for picture in json.loads(outcome.out)]


def test_a_folder_is_its_pictures(folder: Path, run: Run) -> None:  # noqa: F811
    assert tagged(run, folder) == ["A.JPG", "b.png"]
    assert tagged(run, folder, "--recursive") == ["A.JPG", "b.png", "c.webp"]
    assert tagged(run, folder / "deep", folder / "b.png", "-r") == ["c.webp", "b.png"]


def test_links_in_a_circle_end(folder: Path, run: Run) -> None:  # noqa: F811
    (folder / "deep/circle").symlink_to(folder)
    assert tagged(run, folder, "-r") == ["A.JPG", "b.png", "c.webp"]


def test_a_folder_without_pictures_says_so(folder: Path, run: Run) -> None:  # noqa: F811
    outcome = run("tag", folder / "deep", "--model", "palette")
    assert outcome.code == 2
    assert f"there are no pictures in {folder / 'deep'}; --recursive includes subfolders" in outcome.err


def test_txt_beside_each_picture(folder: Path, run: Run) -> None:  # noqa: F811
    tagged(run, folder, "--txt")
    assert sorted(path.name for path in folder.glob("*.txt")) == ["A.txt", "b.txt"]
    tags = (folder / "b.txt").read_text().strip().split(", ")
    assert {"white background", "simple background"} <= set(tags)
    assert sorted(path.name for path in folder.iterdir() if path.name.startswith(".")) == [".hidden.png"]


def test_txt_of_somebody_else_stays_unless_told(folder: Path, run: Run) -> None:  # noqa: F811
    (folder / "b.txt").write_text("mine")
    outcome = run("tag", folder, "--txt", "--model", "palette", "--format", "json")
    assert outcome.code == 1
    assert "b.txt already exists: --overwrite replaces it" in outcome.err
    assert (folder / "b.txt").read_text() == "mine"
    assert (folder / "A.txt").exists()
    tagged(run, folder, "--txt", "--overwrite")
    assert "white background" in (folder / "b.txt").read_text()


def test_two_pictures_do_not_take_turns_in_one_txt(folder: Path, run: Run) -> None:  # noqa: F811
    Image.new("RGB", (60, 40), "black").save(folder / "b.webp")
    outcome = run("tag", folder, "--txt", "--overwrite", "--model", "palette", "--format", "json")
    assert outcome.code == 1
    assert "b.txt already belongs to b.png" in outcome.err
    assert "white background" in (folder / "b.txt").read_text()


def test_xmp_is_added_to_once(folder: Path, run: Run, exiftool: dict[str, str]) -> None:  # noqa: F811
    path = folder / "b.png.xmp"
    path.write_text(json.dumps({"XMP-dc:Subject": ["holiday"]}))
    for _ in range(2):
        tagged(run, folder / "b.png", "--xmp", **exiftool)
    lists = json.loads(path.read_text())
    assert set(lists) == {"XMP-dc:Subject", "XMP-digiKam:TagsList"}
    assert lists["XMP-dc:Subject"][0] == "holiday"
    assert lists["XMP-dc:Subject"][1:] == lists["XMP-digiKam:TagsList"]
    assert lists["XMP-digiKam:TagsList"].count("white background") == 1


def test_xmp_that_fails_is_told_of_its_picture(folder: Path, run: Run, exiftool: dict[str, str]) -> None:  # noqa: F811
    (folder / "b.png").rename(folder / "fail.png")
    outcome = run("tag", folder, "--xmp", "--model", "palette", **exiftool)
    assert outcome.code == 1
    assert "fail.png: exiftool did not write fail.png.xmp: Error: no room on the disk" in outcome.err


def test_xmp_without_exiftool_says_what_to_install(folder: Path, run: Run, tmp_path: Path) -> None:  # noqa: F811
    outcome = run("tag", folder, "--xmp", "--model", "palette", PATH=str(tmp_path))
    assert outcome.code == 2
    assert outcome.err.startswith("autotagger: --xmp needs exiftool, which is not installed: apt install")


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not here")
def test_xmp_by_the_real_exiftool(folder: Path, run: Run) -> None:  # noqa: F811
    for _ in range(2):
        tagged(run, folder / "b.png", "--xmp", PATH=os.environ["PATH"])
    shown = subprocess.run(
        ["exiftool", "-j", "-XMP-digiKam:TagsList", str(folder / "b.png.xmp")],
        capture_output=True,
        check=True,
    )
    tags = json.loads(shown.stdout)[0]["TagsList"]
    assert tags.count("white background") == 1


def test_a_terminal_gets_a_bar(folder: Path, tmp_path: Path) -> None:
    screen, terminal = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-m", "autotagger", "tag", str(folder), "--model", "palette", "--format", "json"],
        env=environment(tmp_path, {"TERM": "xterm"}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=terminal,
        check=True,
    )
    os.close(terminal)
    shown = os.read(screen, 100_000).decode()
    os.close(screen)
    assert "tagging" in shown
    assert len(json.loads(done.stdout)) == 2


def test_a_video_is_tagged_by_its_frames(tmp_path: Path, run: Run) -> None:  # noqa: F811
    scenes = [Image.new("RGB", (64, 64), color) for color in ("white", "black")]
    (tmp_path / "clip.mp4").write_bytes(encoded_video(scenes, 4))
    (tmp_path / "broken.mkv").write_bytes(b"no video")
    done = run("tag", tmp_path, "--model", "palette", "--format", "json")
    assert done.code == 1
    assert "broken.mkv: not a picture: 7 bytes of no known format; as a video: it cannot be decoded" in done.err
    [tagged] = json.loads(done.out)
    assert {"white background", "black background"} <= set(tagged["tags"])
