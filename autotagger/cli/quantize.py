"""`autotagger quantize`: an INT8 version of the model, used only if its tags agree with the original's."""

from pathlib import Path
from typing import Annotated

import typer

from autotagger.cli.context import SOME_FAILED, begin, config_path
from autotagger.cli.output import Format, print_json, print_rows
from autotagger.lines import printable


def quantize(
    context: typer.Context,
    model: Annotated[
        str | None, typer.Option(metavar="NAME|FOLDER", help="Model to convert; the default is [model] name.")
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option("--from", metavar="DIR", help="Use the pictures of this folder instead of the library."),
    ] = None,
    calibrate: Annotated[
        int, typer.Option(min=8, metavar="N", help="Number of pictures for the calibration.")
    ] = 200,
    judge: Annotated[
        int, typer.Option(min=8, metavar="N", help="Number of other pictures to compare tags on.")
    ] = 200,
    plain: Annotated[
        bool, typer.Option("--plain", help="Without smoothing and bias correction; for swinv2.")
    ] = False,
    min_f1: Annotated[
        float, typer.Option("--min-f1", "--least-f1", min=0.0, max=1.0, help="Minimum agreement of tags (F1).")
    ] = 0.97,
    min_speed_up: Annotated[
        float, typer.Option("--min-speed-up", "--least-speed-up", min=0.0, help="Minimum speed-up.")
    ] = 1.3,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")] = False,
) -> None:
    """Convert the model to INT8 and use it if it is good enough.

    Good enough means that its tags agree with the original's and that it is faster. Needs scripts/setup-quantize
    once, and several GB of memory. Exit code 1 if it is not good enough.
    """
    from loguru import logger

    from autotagger.quantize.run import Wish, quantize

    settings = begin(context, {"model": {"name": model}})
    wish = Wish(source, calibrate, judge, plain, min_f1, min_speed_up)
    outcome = quantize(settings, wish, config_path(context), lambda text: logger.info("{}", text))
    result = outcome.result.as_dict()
    if as_json:
        print_json({**result, "folder": str(outcome.folder) if outcome.folder else None})
    else:
        rows = [{"category": name, **shares} for name, shares in result["categories"].items()]
        print_rows(("category", "precision", "recall", "f1"), rows, Format.TABLE)
        typer.echo("\npictures with the largest differences:" if result["worst"] else "\nno picture's tags differ")
        for one in result["worst"]:
            differs = f"extra {list(one['extra'])}, missing {list(one['missing'])}"
            typer.echo(printable(f"  {one['file']}: F1 {one['f1']}, {differs}"))
        typer.echo(
            f"\nF1 {result['f1']} (minimum {min_f1}); speed-up {result['speed_up']} (minimum {min_speed_up})"
        )
        if outcome.folder:
            typer.echo(f"autotagger uses it from now on: [model] name = {outcome.folder} in {outcome.config}")
        else:
            typer.echo(f"autotagger does not use it: {'; '.join(result['reasons'])}. {outcome.result.advice}")
    if not outcome.folder:
        raise typer.Exit(SOME_FAILED)
