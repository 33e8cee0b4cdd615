"""`autotagger doctor`: every check, what was found, and the fix."""

from typing import TYPE_CHECKING, Annotated

import typer

from autotagger.cli.context import config_path
from autotagger.cli.output import Format, FormatOption, print_json, print_rows
from autotagger.config import load_settings
from autotagger.lines import printable
from autotagger.log import setup_logging

if TYPE_CHECKING:
    from autotagger.doctor.examine import Report

_STYLE = {"pass": "green", "warn": "yellow", "fail": "bold red", "skip": "dim"}


def doctor(
    context: typer.Context,
    quick: Annotated[
        bool, typer.Option("--quick", help="Do not load the model: no check of its memory, speed or hours.")
    ] = False,
    form: FormatOption = Format.TABLE,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> None:
    """Check everything that a run needs, and explain how to fix problems.

    Changes nothing. The exit code is 0 if a run would start, else the exit code of that run.
    """
    from autotagger.doctor.examine import examine

    settings = load_settings(config_path(context))
    setup_logging("ERROR")  # warnings are in the findings
    report = examine(settings, config_path(context), quick=quick)
    if as_json or form is Format.JSON:
        print_json(report.as_dict())
    elif form is Format.CSV:
        print_rows(("check", "result", "found", "fix"), report.as_dict()["checks"], form)
    else:
        _print_table(report)
    if report.exit_code:
        raise typer.Exit(report.exit_code)


def _print_table(report: "Report") -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2, 0, 0))
    for finding in report.findings:
        level, result = str(finding.result.level), finding.result
        said = printable(result.found) + (f"\n-> {printable(result.fix)}" if result.fix else "")
        table.add_row(Text(level.upper() if level == "fail" else level, _STYLE[level]), finding.check, Text(said))
    console = Console(markup=False, highlight=False)
    console.print(table)
    console.print(f"\n{report.ending}")
