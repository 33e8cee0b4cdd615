"""The manifest of a folder that has none: inferred where the files say all of it, asked for where they do not.

Size and layout stand in the ONNX file; channel order, range and activation nowhere, and a wrong guess gives
plausible tags that are wrong. So only two families are taken without being told: exactly the WD contract, and a
folder with its author's own `preprocess.json`.
"""

from pathlib import Path

from autotagger.errors import StartupFailed
from autotagger.tagger.manifest import FILE_NAME, InputSpec, LabelSpec, Manifest, OutputSpec, wd_manifest
from autotagger.tagger.onnxfile import Port, Signature, read_signature

_PREPROCESS, _THRESHOLDS = "preprocess.json", "thresholds.csv"
_SERIES, _THRESHOLD = "ips", "best_threshold"
_SCORES = "prediction"  # what the exports that come with a preprocess.json call scores of 0..1

#: Label files by the names that their models' authors gave them, and the format of each.
_LABEL_FILES = {
    "selected_tags.csv": "wd-csv",
    "tags.txt": "lines",
    "top_tags.txt": "lines",
    "tag_mapping.json": "tag-mapping",
    "metadata.json": "camie",
}


def guess_manifest(folder: Path) -> Manifest:
    """The manifest of `folder`. Raises StartupFailed, showing the one to write, when it cannot be inferred."""
    manifest = wd_manifest(folder.resolve().name)
    if (folder / manifest.model).is_file() and (folder / manifest.labels.file).is_file():
        signature = read_signature(folder / manifest.model)
        if len(signature.inputs) == 1 and signature.inputs[0].shape[1:] == manifest.input.shape:
            return manifest
        if (folder / _PREPROCESS).is_file() and _SCORES in [port.name for port in signature.outputs]:
            return _with_preprocess(manifest, folder)
    asked = " ".join(line.partition("  #")[0] for line in draft_manifest(folder).splitlines() if line)
    raise StartupFailed(
        f"{folder} has no {FILE_NAME} and is no WD v3 model, so what its model wants is not known: write one "
        f"there, filled in ({asked}); `autotagger models check {folder}` prints it with its comments",
        kind="model-manifest",
    )


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


def draft_manifest(folder: Path) -> str:
    """A manifest.toml for `folder`: what its files say is filled in, the rest is to be chosen."""
    model = _model_file(folder)
    signature = _signature(folder / model)
    size, layout = _geometry(signature)
    file, form = _labels(folder)
    scores = f", one of the {len(signature.outputs)} outputs" if signature and len(signature.outputs) > 1 else ""
    return f"""\
name = "{wd_manifest(folder.resolve().name).name}"
model = "{model}"

[input]
size = {size}
layout = "{layout}"
channels = "RGB"  # or "BGR"
scale = 0.00392156862745098  # bytes become 0..1; 1.0 leaves them 0..255
mean = [0.0, 0.0, 0.0]  # subtracted after scale, in the order of channels
std = [1.0, 1.0, 1.0]  # divided by
resize = "bicubic"
pad = "center"  # "none" squashes; "edge" (with order = "resize-first") repeats the border
color = [255, 255, 255]  # of padding and under transparency

[output]
index = 0  # the scores{scores}
activation = "none"  # "sigmoid" where the model gives logits

[labels]
file = "{file}"
format = "{form}"  # wd-csv, lines, tag-mapping or camie

[thresholds]
general = 0.35
"""


def _model_file(folder: Path) -> str:
    found = sorted(path.name for path in folder.glob("*.onnx"))
    return found[0] if len(found) == 1 else "model.onnx"


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


def _labels(folder: Path) -> tuple[str, str]:
    for name, form in _LABEL_FILES.items():
        if (folder / name).is_file():
            return name, form
    metadata = sorted(path.name for path in folder.glob("*metadata.json"))
    return (metadata[0], "camie") if metadata else ("selected_tags.csv", "wd-csv")
