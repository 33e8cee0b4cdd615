"""`autotagger bench`: what this machine can do, and what becomes of it."""

from typing import Annotated

import typer

from autotagger.cli.context import begin, config_path
from autotagger.cli.output import Format, print_json, print_rows


def bench(
    context: typer.Context,
    model: Annotated[
        str,
        typer.Option(
            "--model", metavar="NAME", help="wd-vit, wd-vit-int8, instant, palette, a catalogue name or a folder."
        ),
    ] = "wd-vit",
    tiny: Annotated[
        bool, typer.Option("--tiny", help="Use small models and pictures, and one round: a quick test.")
    ] = False,
    tune: Annotated[
        bool, typer.Option("--tune", help="Try several topologies and write the best to the configuration file.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure the model, the whole pipeline and decoding. Takes ten minutes.

    The pipeline runs against a stand-in Immich. wd-vit has the shape of the real model and random weights; it is
    built on the spot (needs the package onnx).
    """
    from loguru import logger

    from autotagger.bench.measure import BRIEF, THOROUGH, measure
    from autotagger.bench.report import cost_rows, rows

    settings = begin(context)

    def say(text: str) -> None:
        logger.info("{}", text)

    if tune:
        from autotagger.bench.tune import tune as tuned

        outcome = tuned(settings, model, config_path(context), tiny=tiny, say=say)
        topologies = outcome.rows()
        if as_json:
            print_json({"topologies": topologies})
        else:
            print_rows(list(topologies[0]), topologies, Format.TABLE)
        logger.info("the best topology was written to {}", outcome.config)
        return
    effort = BRIEF if tiny else THOROUGH
    numbers = measure(settings, model, effort, tiny=tiny, say=say).as_dict()
    if as_json:
        print_json(numbers)
        return
    print_rows(("what", "median", "lowest", "highest"), rows(numbers), Format.TABLE)
    typer.echo("\nCPU milliseconds per picture:")
    print_rows(("stage", "in the run", "instant model", "peak MB"), cost_rows(numbers), Format.TABLE)
    whose = "your library of" if numbers["library_is_yours"] else "a library of"
    memory = f"{numbers['rss_mb']:.0f} MB in all processes at their peaks, {numbers['held_mb']:.0f} MB at one time"
    typer.echo(f"\n{memory}. {numbers['hours']:.1f} hours for ", nl=False)
    typer.echo(f"{whose} {numbers['library']:,} pictures on {numbers['machine']['processor']}.")
