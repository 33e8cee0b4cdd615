"""Which commands there are. Each is loaded when it is called, and all of them for the help that lists them."""

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any, cast

import typer.main
from typer.core import TyperGroup

#: Every command, in the order of the help, and its module, which holds a function or a group of that name.
MODULES = {
    "demo": "demo",
    "run": "run",
    "pause": "pause",
    "resume": "pause",
    "status": "status",
    "health": "health",
    "plan": "changes",
    "retag": "changes",
    "undo": "changes",
    "verify": "changes",
    "retry": "retry",
    "init": "init",
    "doctor": "doctor",
    "config": "config",
    "tag": "tag",
    "bench": "bench",
    "quantize": "quantize",
    "ledger": "ledger",
    "models": "models",
    "policy": "policy",
}


class Commands(TyperGroup):
    """The group of all commands."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = cast("Any", _Loaded())  # nobody adds to them


class _Loaded(Mapping[str, Any]):
    """The commands as typer wants them, each made when it is looked up."""

    def __getitem__(self, name: str) -> Any:
        found = getattr(import_module(f"autotagger.cli.{MODULES[name]}"), name)
        if isinstance(found, typer.Typer):
            return typer.main.get_group(found)
        alone = typer.Typer(add_completion=False, rich_markup_mode=None)
        alone.command(name)(found)
        return typer.main.get_command(alone)

    def __iter__(self) -> Iterator[str]:
        return iter(MODULES)

    def __len__(self) -> int:
        return len(MODULES)
