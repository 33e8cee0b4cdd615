"""From a model to its INT8 twin: tensors for NNCF, the job in its own environment, a folder like any model's."""

import json
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from autotagger.errors import AssetFailed, StartupFailed
from autotagger.tagger.cores import allowed_memory
from autotagger.tagger.manifest import FILE_NAME, Manifest
from autotagger.tagger.model import Model
from autotagger.tagger.onnxfile import read_signature
from autotagger.tagger.preprocess import prepare

_JOB = Path(__file__).with_name("nncf_job.py")
#: Where scripts/setup-quantize makes it.
ENVIRONMENT = Path(__file__).parents[2] / ".venv-quantize"
#: What NNCF needs, an estimate: several copies of the weights and of all activations.
JOB_BYTES, JOB_COPIES = 2_000_000_000, 7
#: Fields of a manifest that speak of a download or of files that are already in the other fields.
_LEFT_OUT = {"source", "preprocess", "category_thresholds", "label_count", "published_threshold"}


def check_requirements(model: Model, environment: Path, memory_bytes: int | None = None) -> Path:
    """The interpreter of NNCF's environment. Raises StartupFailed where that or the memory is missing."""
    python = environment / "bin" / "python"
    if not python.exists():
        raise StartupFailed(
            f"NNCF is not installed in {environment}: run scripts/setup-quantize (its own environment, 700 MB)",
            kind="no-nncf",
        )
    needed = JOB_BYTES + JOB_COPIES * model.path.stat().st_size
    there = allowed_memory() if memory_bytes is None else memory_bytes
    if there < needed:
        raise StartupFailed(
            f"quantising {model.name} needs about {needed / 1e9:.1f} GB of memory, {there / 1e9:.1f} GB are free: "
            "stop something else, or do it on another machine and copy the folder that comes out",
            kind="no-memory",
        )
    return python


def save_tensors(model: Model, bodies: Sequence[bytes], path: Path) -> int:
    """Write the pictures as the model takes them, float32, one .npy file; returns how many could be decoded."""
    spec = model.manifest.input
    tensors = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(len(bodies), *spec.shape))
    count = 0
    for body in bodies:
        try:
            tensors[count] = prepare(body, spec)
        except AssetFailed:
            continue
        count += 1
    if count < len(bodies):
        whole = np.array(tensors[:count])
        np.save(path, whole)
    return count


def convert(
    model: Model, python: Path, tensors: Path, folder: Path, *, plain: bool, say: Callable[[str], None]
) -> None:
    """Quantise `model` into `folder`: the ONNX file, labels and manifest. Raises StartupFailed."""
    folder.mkdir(parents=True, exist_ok=True)
    source = read_signature(model.path).inputs[0].name
    command = [str(python), str(_JOB), str(model.path), str(tensors), source, str(folder / "model.onnx")]
    with (
        (folder / "nncf.log").open("w") as log,
        subprocess.Popen(
            command + ["--plain"] * plain, stdout=subprocess.PIPE, stderr=log, stdin=subprocess.DEVNULL, text=True
        ) as job,
    ):
        assert job.stdout is not None
        for line in job.stdout:
            said = json.loads(line)
            if "done" in said:
                say(f"NNCF: pass {said['pass']}, {said['done']} of {said['of']} pictures")
            else:
                say(f"NNCF: done, {said['bytes'] / 1e6:.0f} MB; it took {said['peak_mb'] / 1000:.1f} GB of memory")
    if job.returncode:
        reason = (folder / "nncf.log").read_text(errors="replace").strip().splitlines()[-1:] or ["no reason given"]
        killed = ", killed: too little memory?" if job.returncode < 0 else ""
        raise StartupFailed(f"NNCF failed{killed} ({reason[0][:300]})", kind="nncf")
    shutil.copy(model.folder / model.manifest.labels.file, folder)
    twin = model.manifest.model_copy(update={"name": f"{model.manifest.name}-int8", "model": "model.onnx"})
    (folder / FILE_NAME).write_text(manifest_toml(twin), encoding="utf-8")


def manifest_toml(manifest: Manifest) -> str:
    """A manifest as the text of its file, without its source: what `parse_manifest` reads as the same."""
    fields = manifest.model_dump(mode="json", exclude=_LEFT_OUT, exclude_defaults=True, exclude_none=True)
    fields = {"name": manifest.name, **fields, "thresholds": manifest.thresholds}
    return "".join(f"{key} = {_toml(value)}\n" for key, value in fields.items())


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False)
