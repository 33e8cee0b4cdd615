"""The label file of a model: what each score stands for."""

import csv
from pathlib import Path
from typing import NamedTuple

from autotagger.errors import StartupFailed
from autotagger.tagger.manifest import LabelSpec


class Label(NamedTuple):
    """`name` as the label file has it (`long_hair`), `category` as the manifest calls it (`general`)."""

    name: str
    category: str


def load_labels(path: Path, spec: LabelSpec) -> tuple[Label, ...]:
    """Read the labels in the order of the scores.

    Raises StartupFailed, naming file and line, when a name is empty or given twice in a category, or a
    category is not in the manifest: a label file that does not fit its model relabels every score in silence.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, strict=True)
            if not {"name", "category"} <= set(rows.fieldnames or ()):
                raise _bad(f"{path}: the first line must name the columns, among them name and category")
            labels = tuple(_label(row, spec, f"{path} line {rows.line_num}") for row in rows)
    except OSError as error:
        raise _bad(f"cannot read the label file {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise _bad(f"{path} is not UTF-8") from None
    except csv.Error as error:
        raise _bad(f"{path} is not CSV: {error}") from None
    if not labels:
        raise _bad(f"{path} holds no label")
    _check_unique(labels, path)
    return labels


def _label(row: dict[str, str | None], spec: LabelSpec, where: str) -> Label:
    name, category = row["name"], row["category"]
    if not name:
        raise _bad(f"{where}: the label has no name")
    if category not in spec.categories:
        known = ", ".join(spec.categories)
        raise _bad(f"{where}: category {category!r} is not among the manifest's labels.categories ({known})")
    return Label(name, spec.categories[category])


def _check_unique(labels: tuple[Label, ...], path: Path) -> None:
    seen: set[Label] = set()
    for label in labels:
        if label in seen:
            raise _bad(f"{path}: the {label.category} label {label.name!r} is there twice")
        seen.add(label)


def _bad(message: str) -> StartupFailed:
    return StartupFailed(message, kind="model-labels")
