"""Which commands there are. Each is loaded when it is called, and all of them for the help that lists them."""

from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, cast

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
            return _with_config(typer.main.get_group(found))
        return _with_config(_alone(name, found))

    def __iter__(self) -> Iterator[str]:
        return iter(MODULES)

    def __len__(self) -> int:
        return len(MODULES)


def _alone(name: str, function: Any) -> Any:
    alone = typer.Typer(add_completion=False, rich_markup_mode=None)
    alone.command(name)(function)
    return typer.main.get_command(alone)


def _with_config(command: Any) -> Any:
    """The command, and every one below it, also takes the `--config FILE` of `autotagger` itself."""
    for below in getattr(command, "commands", {}).values():
        _with_config(below)
    if not any("--config" in one.opts for one in command.params):  # `init` has its own
        command.params += [one for one in _alone("any", _takes_config).params if "--config" in one.opts]
    return command


def _remember(context: typer.Context, config: Path | None) -> None:
    if config is not None:
        context.find_root().obj = config


def _takes_config(
    _config: Annotated[
        Path | None,
        typer.Option("--config", metavar="FILE", callback=_remember, expose_value=False, hidden=True),
    ] = None,
) -> None:
    pass
