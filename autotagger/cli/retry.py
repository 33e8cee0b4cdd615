"""`autotagger retry`: retry failed and waiting assets, also while a service runs."""

from typing import Annotated

import typer

from autotagger.cli.context import asset_id_of, begin
from autotagger.cli.output import print_json


def retry(
    context: typer.Context,
    kind: Annotated[
        str | None,
        typer.Option("--error", metavar="CLASS", help="Only this error class; `autotagger status` lists them."),
    ] = None,
    asset: Annotated[str | None, typer.Option("--asset", metavar="ID", help="Only this asset.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")] = False,
) -> None:
    """Retry failed and waiting assets.

    Assets that were undone or dismissed, and libraries that do not keep tags, are only retried with --error
    undone, --error dismissed, --error library-closed or --asset. A running service starts within a second;
    otherwise the next run does it.
    """
    from autotagger.pipeline.operations.retry import retry as have_retried

    settings = begin(context)
    outcome = have_retried(settings, kind, asset_id_of(asset) if asset is not None else None)
    if as_json:
        print_json({"assets": outcome.assets, "by": outcome.by})
        return
    typer.echo(outcome.told)
