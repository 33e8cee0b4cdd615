"""`autotagger run`: the service, and with --once the job."""

import asyncio
import sys
from typing import Annotated

import typer

from autotagger.cli.context import begin
from autotagger.cli.endings import leave_as
from autotagger.cli.output import print_json


def run(
    context: typer.Context,
    once: Annotated[bool, typer.Option("--once", help="Tag what is there, verify it, and exit.")] = False,
    limit: Annotated[
        int | None,
        typer.Option("--limit", min=1, metavar="N", help="Maximum number of assets to process; needs --once."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object.")] = False,
    model: Annotated[
        str | None, typer.Option("--model", help="Catalogue name or folder; overrides [model] name.")
    ] = None,
    base_url: Annotated[
        str | None,
        typer.Option("--base-url", metavar="URL", help="Address of Immich; overrides [immich] base_url."),
    ] = None,
) -> None:
    """Tag the library, and keep running to tag new assets.

    You can stop it at any time with Ctrl-C or SIGTERM and start it again.
    """
    from rich.console import Console

    from autotagger.cli.progress import shown_progress, summary_table
    from autotagger.errors import BadConfig
    from autotagger.lines import is_journal
    from autotagger.service.run import run_service

    if limit is not None and not once:
        raise BadConfig("--limit needs --once")
    settings = begin(context, {"model": {"name": model}, "immich": {"base_url": base_url}})
    try:
        with shown_progress(settings.log_level, settings.log_format) as report:
            summary = asyncio.run(run_service(settings, once=once, limit=limit, report=report))
    except KeyboardInterrupt:
        if once:
            raise
        return  # a service is stopped, also before it has begun
    if as_json:
        print_json(summary.as_dict())
    elif not is_journal(sys.stdout):  # there the line that sums it up is enough
        Console().print(summary_table(summary))
    if once:
        leave_as(summary)
