"""`autotagger demo`: the whole pipeline against the stand-in Immich; `--serve`: only the stand-in."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from autotagger.cli.output import print_json

PICTURES = 40


def demo(
    pictures: Annotated[
        int,
        typer.Option(
            "--pictures",
            min=1,
            metavar="N",
            help="Number of ordinary pictures; broken and unusual ones come on top.",
        ),
    ] = PICTURES,
    dialect: Annotated[
        str, typer.Option("--dialect", help="Version of Immich to imitate: 2.7, 3.0, 3.2 or 4.")
    ] = "3.0",
    source: Annotated[
        Path | None,
        typer.Option("--from", metavar="DIR", help="Use the pictures of this folder; they are only read."),
    ] = None,
    serve: Annotated[
        bool,
        typer.Option(
            "--serve",
            help="Only run the server: print one JSON line {url, api_key}, then serve until interrupted.",
        ),
    ] = False,
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Port of the stand-in Immich; 0 takes a free port.")
    ] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")] = False,
) -> None:
    """Tag a library of drawn pictures in a stand-in Immich.

    Needs no server, no download and no account. With --from it tags your own pictures.
    """
    from autotagger.demo.serve import DemoLibrary, serve_until_interrupted
    from autotagger.errors import BadConfig

    if dialect not in ("2.7", "3.0", "3.2", "4"):
        raise BadConfig(f"--dialect {dialect}: choose 2.7, 3.0, 3.2 or 4")
    if source is not None and not source.is_dir():
        raise BadConfig(f"--from {source}: this folder does not exist")
    library = DemoLibrary(pictures=pictures, dialect=dialect, source=source, port=port)
    if serve:
        asyncio.run(serve_until_interrupted(library))
        return

    from rich.console import Console

    from autotagger.cli.demo_report import demo_report
    from autotagger.demo.rehearsal import rehearse
    from autotagger.log import setup_logging

    setup_logging("WARNING")
    outcome = asyncio.run(rehearse(library))
    if as_json:
        print_json(outcome.as_dict())
    else:
        Console().print(demo_report(outcome))
    if not outcome.complete:
        raise typer.Exit(1)
