"""Download a model from the Hugging Face hub: the pinned revision, checked by hash, all or nothing.

`huggingface_hub` does the transfer: HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE, proxies, its own cache as a
source, and resuming after a broken connection are its business. What is ours: room on the disk, hashes, and
that a model's folder appears only when it is whole.
"""

import hashlib
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

from autotagger.errors import StartupFailed
from autotagger.tagger.manifest import Source

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
        for file in source.files:
            _fetch(source, file, staging)
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
    """Check every file of `source` in `folder` against its hash. Raises StartupFailed naming file and fix."""
    for name, wanted in source.files.items():
        path = folder / name
        if not path.is_file():
            raise StartupFailed(
                f"the model file {path} is missing: autotagger models pull, or copy it there", kind="model-missing"
            )
        if path.stat().st_size != wanted.bytes or sha256_of(path) != wanted.sha256:
            raise StartupFailed(
                f"the model file {path} is not the one of {source.repo} at {source.revision[:12]} (its SHA-256 "
                "differs): delete it and fetch it again",
                kind="model-damaged",
            )


def sha256_of(path: Path) -> str:
    """SHA-256 of a file in hex. Raises StartupFailed when it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise StartupFailed(f"cannot read the model file {path}: {error.strerror}", kind="model-broken") from None


def _check_room(name: str, source: Source, disk: Path) -> None:
    needed = sum(file.bytes for file in source.files.values()) + _SPARE_BYTES
    free = shutil.disk_usage(disk).free
    if free < needed:
        raise StartupFailed(
            f"no room for the model {name}: {needed >> 20} MB are needed in {disk}, {free >> 20} MB are free",
            kind="disk-full",
        )


def _fetch(source: Source, file: str, staging: Path) -> None:
    import huggingface_hub  # half a second to import, for the one command that downloads
    from huggingface_hub.utils.tqdm import disable_progress_bars

    if not sys.stderr.isatty():
        disable_progress_bars()
    huggingface_hub.hf_hub_download(source.repo, file, revision=source.revision, local_dir=staging)


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
        if isinstance(reason, HfHubHTTPError):
            return f"{what}: the hub answered {reason.response.status_code}; try later, {by_hand}"
    if isinstance(error, LocalEntryNotFoundError):
        return f"{what}: the hub cannot be reached; check network and HF_ENDPOINT, {by_hand}"
    return f"{what}: {_one_line(error)}; try again, {by_hand}"


def _one_line(error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return re.sub(r"\s+", " ", text)[:200]
