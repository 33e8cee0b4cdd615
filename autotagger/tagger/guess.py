"""The manifest of a folder that has none: inferred where the files say all of it, asked for where they do not.

Size and layout stand in the ONNX file; channel order, range and activation nowhere, and a wrong guess gives
plausible tags that are wrong. So only two families are taken without being told: exactly the WD contract, and a
folder with its author's own `preprocess.json`.
"""

import json
import re
from pathlib import Path

from pydantic import ValidationError

from autotagger.errors import StartupFailed
from autotagger.tagger.activation import activation_of
from autotagger.tagger.labels import categories_in
from autotagger.tagger.manifest import FILE_NAME, InputSpec, LabelSpec, Manifest, OutputSpec, wd_manifest
from autotagger.tagger.onnxfile import UINT8, Port, Signature, blobs_of, read_signature

_PREPROCESS, _THRESHOLDS = "preprocess.json", "thresholds.csv"
_SERIES, _THRESHOLD = "ips", "best_threshold"
_SCORES = "prediction"  # what the exports that come with a preprocess.json call scores of 0..1

#: Thresholds of a draft: as WD's authors use them.
_USUAL = {"character": 0.85}
#: Label files by the names that their models' authors gave them, and the format of each.
_LABEL_FILES = {
    "selected_tags.csv": "wd-csv",
    "tags.txt": "lines",
    "top_tags.txt": "lines",
    "tag_mapping.json": "tag-mapping",
    "metadata.json": "camie",
}


def guess_manifest(folder: Path, model: str | None = None) -> Manifest:
    """The manifest of `folder`, or of the file `model` in it. Raises StartupFailed, showing the one to write, when
    it cannot be inferred."""
    model = model or _model_file(folder)
    manifest = _wd_of(folder, model)
    if (folder / manifest.model).is_file() and (folder / manifest.labels.file).is_file():
        signature = read_signature(folder / manifest.model)
        if len(signature.inputs) == 1 and signature.inputs[0].shape[1:] == manifest.input.shape:
            return manifest
        if (folder / _PREPROCESS).is_file() and _SCORES in [port.name for port in signature.outputs]:
            return _with_preprocess(manifest, folder)
    several = sorted(path.name for path in folder.glob("*.onnx"))
    if len(several) > 1 and model not in several:
        raise StartupFailed(
            f"{folder} holds several models ({', '.join(several)}): give the path of one of these files",
            kind="model-manifest",
        )
    asked = " ".join(line.partition("  #")[0] for line in draft_manifest(folder, model).splitlines() if line)
    raise StartupFailed(
        f"{folder} has no {FILE_NAME} and is no WD v3 model, so what its model wants is not known: write one "
        f"there, filled in ({asked}); `autotagger models check --write {folder}` writes it with its comments",
        kind="model-manifest",
    )


def _wd_of(folder: Path, model: str) -> Manifest:
    """The WD contract for `model` in `folder`. ComfyUI's nodes keep several models in one folder, the labels of
    `name.onnx` in `name.csv`."""
    stem = model.removesuffix(".onnx")
    labels = f"{stem}.csv" if (folder / f"{stem}.csv").is_file() else LabelSpec().file
    name = stem if labels != LabelSpec().file else _folder_name(folder)
    try:
        return Manifest.model_validate(
            {**wd_manifest(name).model_dump(include={"name"}), "model": model, "labels": {"file": labels}}
        )
    except ValidationError:
        raise StartupFailed(
            f"{folder / model}: rename it: letters, digits, dots, hyphens and underscores only",
            kind="model-manifest",
        ) from None


def _folder_name(folder: Path) -> str:
    """A snapshot of the hub's cache has the name of its commit; that of the repository says more."""
    if blobs := blobs_of(folder):
        return blobs.parent.name.rpartition("--")[2]
    return folder.resolve().name


def _with_preprocess(manifest: Manifest, folder: Path) -> Manifest:
    """As animetimm and deepghs publish their models: NCHW, the stages in a file, scores by name."""
    header = (folder / manifest.labels.file).read_bytes().partition(b"\n")[0].decode("utf-8-sig", "replace")
    columns = header.strip().split(",")
    return manifest.model_copy(
        update={
            "input": InputSpec(layout="NCHW"),
            "output": OutputSpec(name=_SCORES),
            "labels": LabelSpec(
                series=_SERIES if _SERIES in columns else None,
                threshold=_THRESHOLD if _THRESHOLD in columns else None,
            ),
            "preprocess": _PREPROCESS,
            "category_thresholds": _THRESHOLDS if (folder / _THRESHOLDS).is_file() else None,
        }
    )


def draft_manifest(folder: Path, model: str | None = None) -> str:
    """A manifest.toml for `folder`, or for the file `model` in it: what its files say is filled in, the rest is to
    be chosen. It can be read as it is."""
    model = model or _model_file(folder)
    signature = _signature(folder / model)
    size, layout = _geometry(signature)
    file, form = _labels(folder, model)
    categories = _categories(folder / file, form)
    takes_bytes = signature is not None and [port.kind for port in signature.inputs] == [UINT8]
    scale = (
        "1.0  # the model takes bytes"
        if takes_bytes
        else ("0.00392156862745098  # bytes become 0..1; 1.0 leaves them 0..255")
    )
    activation = _activation(folder / model, signature)
    limited = sorted({*categories.values()} - {"rating"})
    scores = f", one of the {len(signature.outputs)} outputs" if signature and len(signature.outputs) > 1 else ""
    return f"""\
name = "{_wd_of(folder, model).name}"
model = "{model}"

[input]
size = {size}
layout = "{layout}"
channels = "RGB"  # or "BGR"
scale = {scale}
mean = [0.0, 0.0, 0.0]  # subtracted after scale, in the order of channels
std = [1.0, 1.0, 1.0]  # divided by
resize = "bicubic"
pad = "center"  # "none" squashes; "edge" (with order = "resize-first") repeats the border
color = [255, 255, 255]  # of padding and under transparency

[output]
index = 0  # the scores{scores}
activation = {activation}

[labels]
file = "{file}"
format = "{form}"  # wd-csv, lines, tag-mapping or camie

[labels.categories]  # what the file calls them = what they are called here
{chr(10).join(f"{json.dumps(theirs)} = {json.dumps(ours)}" for theirs, ours in categories.items())}

[thresholds]
{chr(10).join(f"{json.dumps(name)} = {_USUAL.get(name, 0.35)}" for name in limited)}
"""


def _activation(path: Path, signature: Signature | None) -> str:
    found = activation_of(path, signature.outputs[0].name) if signature and signature.outputs else None
    if found:
        return f'"{found}"  # as the graph ends'
    return '"none"  # "sigmoid" where the model gives logits'


def _categories(labels: Path, form: str) -> dict[str, str]:
    """The categories that a label file holds, by their names there; danbooru's numbers by what they mean."""
    if form == "lines":
        return {"rating:": "rating", "": "general"}
    try:
        found = categories_in(labels, form)
    except StartupFailed:  # the reading of the manifest will say what is wrong with it
        found = ()
    numbered = {"0": "general", "1": "artist", "3": "copyright", "4": "character", "5": "meta", "9": "rating"}
    named = {theirs: numbered.get(theirs, re.sub(r"\W", "_", theirs).lower() or "general") for theirs in found}
    return named or {"0": "general", "4": "character", "9": "rating"}


def _model_file(folder: Path) -> str:
    found = sorted(path.name for path in folder.glob("*.onnx"))
    return found[0] if len(found) == 1 else Manifest(name="any").model


def _signature(path: Path) -> Signature | None:
    try:
        return read_signature(path)
    except StartupFailed:
        return None


def _geometry(signature: Signature | None) -> tuple[int, str]:
    """Size and layout by the sides of the input; where they are open, what most models have."""
    shape = signature.inputs[0].shape if signature and _takes_pictures(signature.inputs) else (1, 448, 448, 3)
    if shape[3] == 3:
        return (shape[1] if isinstance(shape[1], int) else 448), "NHWC"
    return (shape[2] if isinstance(shape[2], int) else 448), "NCHW"


def _takes_pictures(inputs: tuple[Port, ...]) -> bool:
    return len(inputs) == 1 and len(inputs[0].shape) == 4 and 3 in (inputs[0].shape[1], inputs[0].shape[3])


def _labels(folder: Path, model: str) -> tuple[str, str]:
    stem = model.removesuffix(".onnx")
    for ending, form in ((".csv", "wd-csv"), (".txt", "lines")):
        if (folder / f"{stem}{ending}").is_file():
            return f"{stem}{ending}", form
    for name, form in _LABEL_FILES.items():
        if (folder / name).is_file():
            return name, form
    metadata = sorted(path.name for path in folder.glob("*metadata.json"))
    return (metadata[0], "camie") if metadata else ("selected_tags.csv", "wd-csv")
