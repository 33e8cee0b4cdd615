"""docs/commands.md, made from the commands themselves: `scripts/commands` writes it."""

import re
from collections.abc import Iterator
from enum import Enum
from typing import Any

import typer.main

from autotagger.cli import app

HEAD = """\
# Every command

Written by `scripts/commands` from the commands' own help, which `autotagger COMMAND --help` shows too.
`autotagger --config FILE COMMAND`, or `autotagger COMMAND --config FILE`, reads its settings from that file; what
can be set is in the [README](../README.md#settings). `--help` (`-h`) is an option of each.
"""


def commands() -> Iterator[tuple[str, Any]]:
    """Every command that does something, by its words (`models pull`), in the order of the help."""
    yield from _below("", typer.main.get_command(app))


def _below(prefix: str, group: Any) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _below(f"{prefix}{name} ", command)
        else:
            yield f"{prefix}{name}", command


def options(command: Any) -> list[str]:
    """Every way to write an option of a command: `-r`, `--recursive`; `--help` is not among them."""
    return [
        name
        for one in command.params
        if one.param_type_name == "option"
        for name in one.opts
        if one.name != "help" and not one.hidden
    ]


def page() -> str:
    """The whole page."""
    return "\n".join([HEAD, *(_section(words, command) for words, command in commands())])


def _section(words: str, command: Any) -> str:
    arguments = " ".join(_usage(one) for one in command.params if one.param_type_name == "argument")
    usage = f"autotagger {words} {arguments}".rstrip()
    lines = [f"## {words}\n", f"`{usage}`\n", f"{_text(command.help)}\n"]
    rows = [one for one in command.params if one.name != "help" and not one.hidden]
    if rows:
        lines += [
            "| option | meaning |",
            "|---|---|",
            *(f"| {_name(one)} | {_meaning(one)} |" for one in rows),
            "",
        ]
    return "\n".join(lines)


def _usage(argument: Any) -> str:
    name = argument.metavar or argument.name.upper()
    return str(name if argument.required else f"[{name}]")


def _name(param: Any) -> str:
    if param.param_type_name == "argument":
        return f"`{param.metavar or param.name.upper()}`"
    if param.is_flag:
        return ", ".join(f"`{name}`" for name in param.opts)
    kind = param.type_descriptor.annotation
    choices = [str(one.value) for one in kind] if isinstance(kind, type) and issubclass(kind, Enum) else []
    value = param.metavar or "|".join(choices) or "VALUE"
    return ", ".join(f"`{name} {value}`" for name in param.opts).replace("|", "\\|")


def _meaning(param: Any) -> str:
    text = _text(param.help or "")
    default = getattr(param.default, "value", param.default)
    if (
        param.param_type_name == "option"
        and not param.is_flag
        and default not in (None, (), [])
        and not callable(default)
    ):
        text += f" Default: `{default}`."
    return text.replace("|", "\\|")


def _text(text: str) -> str:
    """Without the indentation of a docstring."""
    return re.sub(r"[ \t]*\n[ \t]*", "\n", text).strip()


if __name__ == "__main__":
    print(page(), end="")
