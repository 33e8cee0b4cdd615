"""The command line: one file per command, without logic.

Read in this order: this file (the entry point and exit codes), `commands` (the list of commands), `context`
(settings and logging for a command), `output` (tables, JSON and CSV), `progress` (the progress bar and the
final table), then any command.

A command's module is imported when the command is called. It imports numpy, the inference runtime and other
heavy modules inside its function, so that the help appears at once.
"""

import signal
import sys
import traceback
from pathlib import Path
from typing import Annotated

import typer

from autotagger import __version__
from autotagger.cli.commands import Commands
from autotagger.cli.context import INTERNAL_ERROR, INTERRUPTED, REFUSED, SOME_FAILED
from autotagger.config import DEBUG_VARIABLE
from autotagger.coredump import leave_no_core_file
from autotagger.cpu import suit_imaging
from autotagger.errors import AutotaggerError, Fatal, Unreachable
from autotagger.lines import last_words, redact, wants_tracebacks
from autotagger.resources import is_exhaustion, told

app = typer.Typer(
    name="autotagger",
    cls=Commands,
    rich_markup_mode=None,  # help is text: Rich would take [model] for markup and drop it
    help="Put anime tags on the pictures and videos of an Immich library.",
    epilog="Exit codes: 0 done, 1 some assets failed or stayed undone, 2 usage or configuration, "
    "3 start-up failure, 4 Immich unreachable or refused, 70 internal error, 130 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"autotagger {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Configuration file; default: ~/.config/autotagger/config.toml, /etc/autotagger/config.toml.",
        ),
    ] = None,
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    context.obj = config


def main() -> None:
    """The entry point: run a command and leave with its exit code and, where it failed, one clear line."""
    leave_no_core_file()
    signal.signal(
        signal.SIGTERM, signal.default_int_handler
    )  # an interruption like Ctrl-C, until a run heeds both
    try:
        suit_imaging()
        app()
    except (Exception, KeyboardInterrupt) as error:
        message, exit_code = _last_line(error)
        if wants_tracebacks():
            print(redact(traceback.format_exc()), file=sys.stderr)
        print(last_words(message), file=sys.stderr)
        sys.exit(exit_code)


def _last_line(error: BaseException) -> tuple[str, int]:
    """The message about an error that ended a command, and the exit code."""
    match error:
        case Fatal():
            return error.message, error.exit_code
        case Unreachable():
            return error.message, REFUSED
        case AutotaggerError():
            return error.message, SOME_FAILED
        case KeyboardInterrupt():
            return "interrupted", INTERRUPTED
    if is_exhaustion(error):
        return f"out of resources: {told(error)}", INTERNAL_ERROR
    fault = f"{type(error).__name__}: {error}".removesuffix(": ")
    return f"internal error (please report): {fault} ({DEBUG_VARIABLE}=1 shows the traceback)", INTERNAL_ERROR
