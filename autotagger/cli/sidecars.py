"""Tags of a local picture in a file beside it: plain text for training tools, XMP for photo managers."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from autotagger.errors import AssetFailed, BadConfig

#: Where photo managers look for tags in XMP. Immich reads the first it finds of digiKam's and Dublin Core's.
_XMP_LISTS = ("XMP-digiKam:TagsList", "XMP-dc:Subject")
_EXIFTOOL_S = 60.0  # it takes a tenth of a second; a network share may hang


def find_exiftool() -> str:
    """The path of exiftool. Raises BadConfig with the fix where it is not installed."""
    found = shutil.which("exiftool")
    if found is None:
        raise BadConfig(
            "--xmp needs exiftool, which is not installed: apt install libimage-exiftool-perl, or use --txt"
        )
    return found


def txt_path(picture: Path) -> Path:
    """Where the tags of a picture go: `a.txt` for `a.png`, as training tools look for it."""
    return picture.with_suffix(".txt")


def write_txt(picture: Path, tags: Sequence[str], *, overwrite: bool) -> Path:
    """Write `picture.txt`, the tags on one line with commas between. Raises AssetFailed.

    A file that is there is somebody's caption, and stays unless `overwrite`.
    """
    path = txt_path(picture)
    if path.exists() and not overwrite:
        raise AssetFailed(f"{path.name} already exists: --overwrite replaces it", kind="sidecar-exists")
    draft = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        draft.write_text(", ".join(tags) + "\n", encoding="utf-8")
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise AssetFailed(f"{path} cannot be written: {error.strerror}", kind="sidecar-failed") from None
    return path


def write_xmp(picture: Path, tags: Sequence[str], exiftool: str) -> Path:
    """Add the tags to `picture.jpg.xmp`, which keeps what else it says. Raises AssetFailed.

    Each is taken out before it is put in, so that it is there once however often this is done. Without tags
    nothing is written.
    """
    path = picture.with_name(picture.name + ".xmp")
    if not tags:  # exiftool takes nothing to do for a mistake
        return path
    if "\n" in str(path.absolute()):
        raise AssetFailed("exiftool cannot handle a path with a line break", kind="sidecar-failed")
    changes = [f"-{where}{sign}={tag}" for where in _XMP_LISTS for tag in tags for sign in ("-", "+")]
    # by stdin: a command line is too short for many tags, and shows them to everyone on the machine
    words = ["-q", "-overwrite_original", "-charset", "filename=utf8", *changes, str(path.absolute())]
    try:
        done = subprocess.run(
            [exiftool, "-@", "-"],
            input="\n".join(words) + "\n",
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            timeout=_EXIFTOOL_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise AssetFailed(f"exiftool did not write {path.name}: {error}", kind="sidecar-failed") from None
    if done.returncode != 0 or not path.exists():
        said = " ".join((done.stderr or done.stdout).split())[:200]
        raise AssetFailed(f"exiftool did not write {path.name}: {said}", kind="sidecar-failed")
    return path
