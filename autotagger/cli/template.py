"""The commented configuration file, made from the settings themselves: it cannot drift from them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from autotagger.settings import Settings

_HEAD = """\
# Settings of autotagger. A line that is commented out shows the default.
# Each has an environment variable that goes before this file: [immich] batch_size is AUTOTAGGER_IMMICH_BATCH_SIZE.
"""


def config_text(given: Mapping[tuple[str, ...], object]) -> str:
    """The file's text: every key with its meaning and default, and what is `given` by path, uncommented."""
    sections = {name: kind for name, field in Settings.model_fields.items() if (kind := _section(field))}
    parts = [_HEAD, *_keys(Settings, (), given)]
    for name, kind in sections.items():
        parts += [f"\n# {_first_line(kind)}\n[{name}]\n", *_keys(kind, (name,), given)]
    return "".join(parts)


def _keys(kind: type[BaseModel], path: tuple[str, ...], given: Mapping[tuple[str, ...], object]) -> list[str]:
    return [
        f"\n{_comment(field)}\n{_assignment(name, field, (*path, name), given)}\n"
        for name, field in kind.model_fields.items()
        if not _section(field) and name != "account"  # [[account]] sections are for those who need several
    ]


def _comment(field: FieldInfo) -> str:
    text = f"# {field.description}"
    if choices := _choices(field.annotation):
        text += f" ({' | '.join(choices)})"
    for example in field.examples or ():
        text += f"\n# for example {toml_value(example)}"
    return text


def _assignment(
    name: str, field: FieldInfo, path: tuple[str, ...], given: Mapping[tuple[str, ...], object]
) -> str:
    if path in given:
        return f"{name} = {toml_value(given[path])}"
    default = field.get_default(call_default_factory=True)
    return f"# {name} = {'...' if default is None else toml_value(default)}"


def toml_value(value: object) -> str:
    """`value` (text, path, number, yes or no, list, table) as TOML writes it."""
    if isinstance(value, str | Path):
        # JSON's strings are TOML's but for DEL, which TOML wants escaped
        return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{toml_value(key)} = {toml_value(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(toml_value(item) for item in value) + "]"
    return json.dumps(value)


def _section(field: FieldInfo) -> type[BaseModel] | None:
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _choices(annotation: Any) -> tuple[str, ...]:
    """The words that a key of one of a few words, or of a list of such, can hold."""
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    return next((found for part in get_args(annotation) if (found := _choices(part))), ())


def _first_line(kind: type[BaseModel]) -> str:
    return (kind.__doc__ or "").strip().partition("\n")[0]
