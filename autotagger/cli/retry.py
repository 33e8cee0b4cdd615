"""`autotagger retry`: have what was set aside tried again, also while a service is at work."""

from typing import Annotated

import typer

from autotagger.cli.context import asset_id_of, begin
from autotagger.cli.output import print_json


def retry(
    context: typer.Context,
    kind: Annotated[
        str | None, typer.Option("--error", metavar="CLASS", help="Only this class: see `autotagger status`.")
    ] = None,
    asset: Annotated[str | None, typer.Option("--asset", metavar="ID", help="Only this asset.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")] = False,
) -> None:
    """Have failed and waiting assets tried again.

    What was undone or dismissed, and libraries where tags do not stick, only with --error undone, --error
    dismissed, --error library-closed, or --asset. A run that is at work takes the wish up within a second;
    otherwise the next one tries them.
    """
    from autotagger.pipeline.operations.retry import retry as have_retried

    settings = begin(context)
    outcome = have_retried(settings, kind, asset_id_of(asset) if asset is not None else None)
    if as_json:
        print_json({"assets": outcome.assets, "by": outcome.by})
        return
    typer.echo(outcome.told)
