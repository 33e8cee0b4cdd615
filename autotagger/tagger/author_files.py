"""What a model's author wrote beside it: `preprocess.json` and the thresholds per category, read as they are.

`preprocess.json` lists the stages of the author's own evaluation (`{"test": [...]}`, or `{"stages": [...]}`):
`pad_to_size`, `resize`, `center_crop`, then `to_tensor` (a byte becomes 0..1) and `normalize`. They always mean
RGB. A stage that we do not know is refused: left out it would change every score in silence.
"""

import csv
import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from autotagger.errors import StartupFailed
from autotagger.tagger.manifest import InputSpec, Manifest, problems_of

_GEOMETRY = {"pad_to_size", "resize", "center_crop"}
_TO_TENSOR = {"to_tensor", "maybe_to_tensor"}
_NOTHING = {"convert_rgb", "to_rgb", "maybe_convert_rgb"}  # a picture is RGB by then
_BYTE = 1.0 / 255.0


def with_author_files(manifest: Manifest, folder: Path) -> Manifest:
    """`manifest` with what its author's files in `folder` say in place. Raises StartupFailed."""
    found: dict[str, Any] = {}
    if manifest.preprocess:
        found["input"] = read_preprocess(folder / manifest.preprocess, manifest.input)
    if manifest.category_thresholds:
        known = set(manifest.labels.categories.values())
        found["thresholds"] = read_thresholds(folder / manifest.category_thresholds, known)
    return manifest.model_copy(update=found)


def read_preprocess(path: Path, base: InputSpec) -> InputSpec:
    """`base` (of which layout and the colour under transparency remain) with the stages of a preprocess.json.

    Raises StartupFailed, naming file and stage, for what is not known or does not end in a normal tensor.
    """
    document = _json(path)
    listed = document.get("test", document.get("stages")) if isinstance(document, dict) else document
    if not isinstance(listed, list) or not all(isinstance(stage, dict) for stage in listed):
        raise _bad(f'{path} must list its stages under "test" or "stages"')
    said: dict[str, Any] = {"channels": "RGB", "stages": []}
    for number, stage in enumerate(listed):
        kind = stage.get("type")
        if kind in _GEOMETRY:
            said["stages"].append(_geometry(path, number, stage))
        elif kind in _TO_TENSOR:
            said["scale"] = _BYTE
        elif kind == "normalize":
            said |= {"mean": stage.get("mean"), "std": stage.get("std")}
        elif kind not in _NOTHING:
            raise _bad(
                f"{path} stage {number}: {kind!r} is not known: write what it does into [input] of a manifest"
            )
    return _spec(path, base, said)


def _spec(path: Path, base: InputSpec, said: dict[str, Any]) -> InputSpec:
    last = said["stages"][-1]["size"] if said["stages"] else None
    if not isinstance(last, list) or last[0] != last[1]:
        raise _bad(f"{path} must end in a square of a fixed size")
    if "scale" not in said:
        raise _bad(f"{path} has no to_tensor stage")
    kept = {"layout": base.layout, "color": base.color, "size": last[0]}
    try:
        return InputSpec.model_validate(kept | said)
    except ValidationError as error:
        raise _bad(f"{path}: {problems_of(error)}") from None


def _geometry(path: Path, number: int, stage: dict[str, Any]) -> dict[str, Any]:
    """A stage in our words. Sizes are (height, width) in the file, except those of pad_to_size."""
    size, kind = stage.get("size"), stage["type"]
    if isinstance(size, int) and kind != "resize":
        size = [size, size]
    if isinstance(size, list) and kind != "pad_to_size":
        size = size[::-1]
    ours: dict[str, Any] = {"type": kind, "size": size}
    if kind != "center_crop":
        ours["filter"] = stage.get("interpolation") or "bilinear"
    if kind == "pad_to_size":
        ours["color"] = _color(path, number, stage.get("background_color", "white"))
    if stage.get("max_size") is not None:
        raise _bad(f"{path} stage {number}: max_size is not supported")
    return ours


def _color(path: Path, number: int, value: object) -> object:
    if isinstance(value, int):
        return [value] * 3
    if not isinstance(value, str):
        return value
    from PIL import ImageColor  # not for every process that knows a model

    try:
        return ImageColor.getrgb(value)[:3]
    except ValueError:
        raise _bad(f"{path} stage {number}: {value!r} is no colour") from None


def read_thresholds(path: Path, categories: set[str]) -> dict[str, float]:
    """Thresholds by category: CSV with the columns name and threshold, or JSON ({name: threshold}, or a list of
    {"name", "threshold"}). Categories that the model's manifest does not know are left out. Raises StartupFailed.
    """
    rows = _csv(path) if path.suffix == ".csv" else _json(path)
    if isinstance(rows, dict):
        rows = [{"name": name, "threshold": value} for name, value in rows.items()]
    try:
        found = {str(row["name"]).casefold(): float(row["threshold"]) for row in rows}
    except (KeyError, TypeError, ValueError):
        raise _bad(f"{path} must give a name and a threshold for each category") from None
    found = {name: value for name, value in found.items() if name in categories}
    if not found or not all(0.0 <= value <= 1.0 for value in found.values()):
        raise _bad(f"{path} must hold a threshold of 0 to 1 for {', '.join(sorted(categories))}")
    return found


def _json(path: Path) -> Any:
    try:
        return json.loads(_text(path))
    except (ValueError, RecursionError) as error:  # also a number of 5,000 digits, and brackets without end
        raise _bad(f"{path} is not JSON: {error}") from None


def _csv(path: Path) -> list[dict[str, str]]:
    try:
        return list(csv.DictReader(_text(path).splitlines()))
    except csv.Error as error:
        raise _bad(f"{path} is not CSV: {error}") from None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not UTF-8"
        raise _bad(f"cannot read {path}: {reason}") from None


def _bad(message: str) -> StartupFailed:
    return StartupFailed(message, kind="model-manifest")
