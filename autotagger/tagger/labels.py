"""The label file of a model: what each score stands for."""

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from autotagger.errors import StartupFailed
from autotagger.tagger.manifest import LabelSpec


class Label(NamedTuple):
    """`name` as the label file has it (`long_hair`), `category` as the manifest calls it (`general`)."""

    name: str
    category: str


@dataclass(frozen=True, slots=True)
class LabelFile:
    """`labels` in the order of the scores; where the file tells them, `series` of a character, by its name, and
    `thresholds` of single labels."""

    labels: tuple[Label, ...]
    series: dict[str, tuple[str, ...]] = field(default_factory=dict)
    thresholds: dict[Label, float] = field(default_factory=dict)


class _Row(NamedTuple):
    name: str
    category: str | None  # as the file calls it
    where: str
    series: str | None = None
    threshold: str | None = None


def read_label_file(path: Path, spec: LabelSpec) -> LabelFile:
    """Read a label file in the format of its manifest.

    Raises StartupFailed, naming file and place, when a name is empty or given twice in a category, a category
    is not in the manifest, or a score has no entry: a label file that does not fit its model relabels every
    score in silence.
    """
    try:
        rows = list(_FORMATS[spec.format](path, spec))
    except OSError as error:
        raise _bad(f"cannot read the label file {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise _bad(f"{path} is not UTF-8") from None
    except csv.Error as error:
        raise _bad(f"{path} is not CSV: {error}") from None
    except (ValueError, RecursionError) as error:  # also a number of 5,000 digits, and brackets without end
        raise _bad(f"{path} is not JSON: {error}") from None
    if not rows:
        raise _bad(f"{path} holds no label")
    categories = {name.casefold(): ours for name, ours in spec.categories.items()}
    labels = tuple(_label(row, spec, categories) for row in rows)
    _check_unique(labels, path)
    series = {label.name: _series(row) for label, row in zip(labels, rows, strict=True) if row.series}
    thresholds = {label: _threshold(row) for label, row in zip(labels, rows, strict=True) if row.threshold}
    return LabelFile(labels, {name: found for name, found in series.items() if found}, thresholds)


def _from_csv(path: Path, spec: LabelSpec) -> Iterator[_Row]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file, strict=True)
        if not {"name", "category", spec.series or "name"} <= set(rows.fieldnames or ()):
            wanted = "name and category" + (f" and {spec.series}" if spec.series else "")
            raise _bad(f"{path}: the first line must name the columns, among them {wanted}")
        for row in rows:
            series = row[spec.series] if spec.series else None
            threshold = row.get(spec.threshold) if spec.threshold else None
            yield _Row(row["name"] or "", row["category"], f"{path} line {rows.line_num}", series, threshold)


def _from_lines(path: Path, spec: LabelSpec) -> Iterator[_Row]:
    """The longest beginning that the manifest names is a line's category; what is left is the name."""
    beginnings = sorted(spec.categories, key=len, reverse=True)
    lines = path.read_text(encoding="utf-8-sig").split("\n")
    while lines and not lines[-1].strip():  # a newline at the end; within the file every line is a score
        lines.pop()
    for number, line in enumerate(lines, start=1):
        name = line.strip()
        category = next((start for start in beginnings if name.startswith(start)), None)
        yield _Row(name.removeprefix(category or ""), category, f"{path} line {number}")


def _from_tag_mapping(path: Path, _spec: LabelSpec) -> Iterator[_Row]:
    document = _json_object(path, path.read_text(encoding="utf-8-sig"))
    for number, entry in enumerate(_in_order(path, document)):
        if not isinstance(entry, dict) or not isinstance(entry.get("tag"), str):
            raise _bad(f"{path}: entry {number} must hold tag and category")
        yield _Row(entry["tag"], _text(entry.get("category")), f"{path} entry {number}")


def _from_camie(path: Path, _spec: LabelSpec) -> Iterator[_Row]:
    document = _json_object(path, path.read_text(encoding="utf-8-sig"))
    info = document.get("dataset_info")
    mapping = info.get("tag_mapping") if isinstance(info, dict) else document
    names, categories = (
        mapping.get(key) if isinstance(mapping, dict) else None for key in ("idx_to_tag", "tag_to_category")
    )
    if not isinstance(names, dict) or not isinstance(categories, dict):
        raise _bad(f"{path}: idx_to_tag or tag_to_category is missing")
    for number, entry in enumerate(_in_order(path, names)):
        name = _text(entry) or ""
        yield _Row(name, _text(categories.get(name)), f"{path} entry {number}")


_FORMATS: dict[str, Callable[[Path, LabelSpec], Iterator[_Row]]] = {
    "wd-csv": _from_csv,
    "lines": _from_lines,
    "tag-mapping": _from_tag_mapping,
    "camie": _from_camie,
}


def _json_object(path: Path, text: str) -> dict[str, Any]:
    document = json.loads(text)
    if not isinstance(document, dict):
        raise _bad(f"{path} is not a JSON object")
    return document


def _in_order(path: Path, entries: Mapping[str, object]) -> Iterator[object]:
    """The entries by their number, 0 to n - 1: the order in the file means nothing."""
    for number in range(len(entries)):
        if str(number) not in entries:
            raise _bad(f"{path}: of {len(entries)} entries, number {number} is missing")
        yield entries[str(number)]


def _label(row: _Row, spec: LabelSpec, categories: Mapping[str, str]) -> Label:
    if not row.name:
        raise _bad(f"{row.where}: the label has no name")
    if any("\ud800" <= character <= "\udfff" for character in row.name):  # no database and no JSON takes it
        raise _bad(f"{row.where}: the label {row.name!r} is half a character")
    category = categories.get(row.category.casefold()) if row.category is not None else None
    if category is None:
        known = ", ".join(spec.categories)
        raise _bad(
            f"{row.where}: category {row.category!r} is not among the manifest's labels.categories ({known})"
        )
    beginning = spec.strip.get(category, "")
    return Label(row.name.removeprefix(beginning) or row.name, category)


def _series(row: _Row) -> tuple[str, ...]:
    try:
        names = json.loads(row.series or "[]")
    except (ValueError, RecursionError):
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise _bad(f"{row.where}: the series must be a JSON list of names")
    return tuple(names)


def _threshold(row: _Row) -> float:
    try:
        value = float(row.threshold or "")
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= 1.0:
        raise _bad(f"{row.where}: the threshold {row.threshold!r} is no number from 0 to 1")
    return value


def _check_unique(labels: tuple[Label, ...], path: Path) -> None:
    seen: set[Label] = set()
    for label in labels:
        if label in seen:
            raise _bad(f"{path}: the {label.category} label {label.name!r} is there twice")
        seen.add(label)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _bad(message: str) -> StartupFailed:
    return StartupFailed(message, kind="model-labels")
