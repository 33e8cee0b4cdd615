"""Where every setting comes from: the default, the configuration file, or a variable of the environment."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from autotagger.config import find_config, given, load_settings, variables
from autotagger.settings import leaves

DEFAULT = "default"
HIDDEN = "***"


@dataclass(frozen=True, slots=True)
class Resolved:
    """A key as a command will find it. `value` is what JSON can hold; that of a secret is hidden. `origin`: the
    file, the variables, or both where a table is put together from both."""

    key: str
    value: Any
    origin: str


def resolve(config: Path | None, environ: Mapping[str, str]) -> list[Resolved]:
    """Every setting, in the order of the configuration file. Raises BadConfig as load_settings does."""
    settings = load_settings(config, environ=environ)
    plain = settings.model_dump(mode="json")
    file, _ = given(config, environ)
    found = []
    for path in leaves():
        value: Any = settings
        shown: Any = plain
        for step in path:
            value, shown = getattr(value, step), shown[step]
        if isinstance(value, SecretStr):
            shown = HIDDEN
        origin = DEFAULT if value is None else _origin(path, value, file, config or find_config(environ), environ)
        found.append(Resolved(_spelt(path), shown, origin))
    return found


def _origin(
    path: tuple[str, ...], value: Any, file: Mapping[str, Any], name: Path | None, environ: Mapping[str, str]
) -> str:
    """A table's entries may come from both; of anything else the environment's word is the last."""
    by_variable = [name for name, target in variables(environ).items() if target[: len(path)] == path]
    section: Any = file
    for step in path[:-1]:
        section = section.get(step, {})
    in_file = [str(name)] if path[-1] in section else []
    where = in_file + by_variable if isinstance(value, dict) else by_variable or in_file
    return ", ".join(where) or DEFAULT


def _spelt(path: tuple[str, ...]) -> str:
    return f"[{'.'.join(path[:-1])}] {path[-1]}" if len(path) > 1 else path[-1]
