"""`autotagger health`: asks the run on this machine whether it is healthy."""

from typing import Annotated

import typer

from autotagger.cli.context import SOME_FAILED, look
from autotagger.cli.output import print_json
from autotagger.lines import printable


def health(
    context: typer.Context,
    live: Annotated[bool, typer.Option("--live", help="Check only that it is live; Immich may be down.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the answer as one JSON object.")] = False,
) -> None:
    """Ask the running service whether it is healthy.

    Exit code 0 if it is, else 1. For container health checks and monitoring. It asks at [service] listen_host and
    listen_port.
    """
    from autotagger.service.ask import ask

    answer = ask(look(context).service)
    if as_json:
        print_json(answer)
    else:
        fine = "live and ready" if answer["ready"] else "live, not ready"
        reasons = "; ".join(map(printable, (*answer["reasons"], *answer["warnings"])))
        typer.echo((fine if answer["live"] else "not live") + (f": {reasons}" if reasons else ""))
    if not (answer["live"] and (live or answer["ready"])):
        raise typer.Exit(SOME_FAILED)
