"""Download a model from the Hugging Face hub: the pinned revision, checked by hash, all or nothing.

`huggingface_hub` does the transfer: HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE, proxies, its own cache as a
source, and resuming after a broken connection are its business. What is ours: room on the disk, hashes, and
that a model's folder appears only when it is whole. A file whose hash the manifest does not know is trusted the
first time; its hash is then kept beside it, in the form of `sha256sum`, and holds from there on.
"""

import hashlib
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

from autotagger.errors import StartupFailed
from autotagger.tagger.manifest import Source, SourceFile

#: In a model's folder: hashes of the files whose hash the manifest does not know. `sha256sum -c` reads it.
SUMS = "SHA256SUMS"

_SPARE_BYTES = 64 << 20  # left free beside the download, for ledger and logs


def pull(name: str, source: Source, folder: Path) -> None:
    """Download the files of `source` into `folder`, replacing what is there only when all are whole.

    Raises StartupFailed with one line: no room, not reachable, not there, or not what the hashes say.
    """
    staging: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _check_room(name, source, folder.parent)
        staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        if (folder / SUMS).is_file():
            shutil.copyfile(folder / SUMS, staging / SUMS)  # what came first still holds
        for file, wanted in source.files.items():
            _fetch_whole(source, file, wanted, staging)
        verify(source, staging)
        shutil.rmtree(staging / ".cache", ignore_errors=True)  # the hub's notes about the transfer
        staging.chmod(0o755)  # mkdtemp makes it private; root may pull what a service reads
        _swap(staging, folder)
    except StartupFailed:
        raise
    except Exception as error:  # the hub's own, its HTTP library's, and the disk's
        raise StartupFailed(_explain(name, source, folder, error), kind="model-download") from None
    finally:
        if staging is not None:
            shutil.rmtree(staging, ignore_errors=True)


def verify(source: Source, folder: Path) -> None:
    """Check every file of `source` in `folder` against its hash, the manifest's or the one that was kept.

    Keeps the hash of a file that has neither. Raises StartupFailed naming file and fix.
    """
    kept = _read_sums(folder)
    new = {}
    for name, wanted in source.files.items():
        path = folder / name
        if not path.is_file():
            raise StartupFailed(
                f"the model file {path} is missing: autotagger models pull, or copy it there", kind="model-missing"
            )
        found = sha256_of(path)
        if not _is_wanted(path, found, wanted, kept.get(name)):
            raise StartupFailed(
                f"the model file {path} is not {_whose(source, wanted)} (its SHA-256 differs): delete it and "
                "fetch it again",
                kind="model-damaged",
            )
        if wanted.sha256 is None and name not in kept:
            new[name] = found
    if new:
        _write_sums(folder, kept | new)


def _is_wanted(path: Path, found: str, wanted: SourceFile, kept: str | None) -> bool:
    expected = wanted.sha256 or kept or found
    return found == expected and wanted.bytes in (None, path.stat().st_size)


def _whose(source: Source, wanted: SourceFile) -> str:
    if wanted.sha256 is None:
        return f"the one that was first fetched (see {SUMS} beside it)"
    return f"the one of {source.repo} at {source.revision[:12]}"


def _read_sums(folder: Path) -> dict[str, str]:
    try:
        lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return {}
    return {name: digest for digest, _, name in (line.partition("  ") for line in lines) if name}


def _write_sums(folder: Path, sums: dict[str, str]) -> None:
    """Best effort: a folder that we may not write is one where others answer for what is in it."""
    try:
        draft = folder / f".{SUMS}-{os.getpid()}"
        draft.write_text("".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items())), encoding="utf-8")
        draft.replace(folder / SUMS)
    except OSError:
        return


def sha256_of(path: Path) -> str:
    """SHA-256 of a file in hex. Raises StartupFailed when it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise StartupFailed(f"cannot read the model file {path}: {error.strerror}", kind="model-broken") from None


def _check_room(name: str, source: Source, disk: Path) -> None:
    needed = sum(file.bytes or 0 for file in source.files.values()) + _SPARE_BYTES
    free = shutil.disk_usage(disk).free
    if free < needed:
        raise StartupFailed(
            f"no room for the model {name}: {needed >> 20} MB are needed in {disk}, {free >> 20} MB are free",
            kind="disk-full",
        )


def _fetch_whole(source: Source, name: str, wanted: SourceFile, staging: Path) -> None:
    """Fetch a file, and once more from the beginning when it is not what it should be: `verify` decides then."""
    path = staging / name
    kept = _read_sums(staging).get(name)
    for again in (False, True):
        _fetch(source, name, wanted, staging, again=again)
        if _is_wanted(path, sha256_of(path), wanted, kept):
            return


def _fetch(source: Source, name: str, wanted: SourceFile, staging: Path, *, again: bool) -> None:
    import huggingface_hub  # half a second to import, for the one command that downloads
    from huggingface_hub.utils.tqdm import disable_progress_bars

    if not sys.stderr.isatty():
        disable_progress_bars()
    came = huggingface_hub.hf_hub_download(
        source.repo, wanted.path or name, revision=source.revision, local_dir=staging, force_download=again
    )
    Path(came).replace(staging / name)


def _swap(staging: Path, folder: Path) -> None:
    """Put `staging` in the place of `folder`; a folder cannot replace another in one step, the old steps aside."""
    if not folder.exists():
        staging.rename(folder)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-old-", dir=folder.parent))
    folder.rename(aside / folder.name)
    staging.rename(folder)
    shutil.rmtree(aside, ignore_errors=True)


def _explain(name: str, source: Source, folder: Path, error: Exception) -> str:
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    what = f"cannot download the model {name} ({source.repo} at {source.revision[:12]})"
    by_hand = f"or put its files into {folder} by hand"
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        return f"{what}: HF_HUB_OFFLINE forbids it; unset it, {by_hand}"
    for reason in (error, error.__cause__):  # the hub's answer may be wrapped in "nor is it in the cache"
        if isinstance(reason, HfHubHTTPError) and reason.response.status_code in (401, 403):
            return (
                f"{what}: the hub answered {reason.response.status_code}; accept the author's terms on the "
                f"model's page where it has any, and set HF_TOKEN, {by_hand}"
            )
        if isinstance(reason, HfHubHTTPError):
            return f"{what}: the hub answered {reason.response.status_code}; try later, {by_hand}"
    if isinstance(error, LocalEntryNotFoundError):
        return f"{what}: the hub cannot be reached; check network and HF_ENDPOINT, {by_hand}"
    return f"{what}: {_one_line(error)}; try again, {by_hand}"


def _one_line(error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return re.sub(r"\s+", " ", text)[:200]
