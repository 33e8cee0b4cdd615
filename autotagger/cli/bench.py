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
            "--model", metavar="NAME", help="wd-vit, wd-vit-int8, instant, palette, another name or folder."
        ),
    ] = "wd-vit",
    tiny: Annotated[
        bool, typer.Option("--tiny", help="Small models and pictures, one round: does it work?")
    ] = False,
    tune: Annotated[
        bool, typer.Option("--tune", help="Try topologies; write the best into the settings.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure the bare model, the whole pipeline against a stand-in Immich, and decoding. Takes ten minutes.

    wd-vit has the shape of the real model and random weights; it is made on the spot (package onnx).
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
        logger.info("the best topology is written to {}", outcome.config)
        return
    effort = BRIEF if tiny else THOROUGH
    figures = measure(settings, model, effort, tiny=tiny, say=say).as_dict()
    if as_json:
        print_json(figures)
        return
    print_rows(("what", "median", "lowest", "highest"), rows(figures), Format.TABLE)
    typer.echo("\nCPU-milliseconds a picture:")
    print_rows(("stage", "in the run", "instant model", "peak MB"), cost_rows(figures), Format.TABLE)
    whose = "your library of" if figures["library_is_yours"] else "a library of"
    memory = f"{figures['rss_mb']:.0f} MB in all processes at their peaks, {figures['held_mb']:.0f} MB at one time"
    typer.echo(f"\n{memory}. {figures['hours']:.1f} hours for ", nl=False)
    typer.echo(f"{whose} {figures['library']:,} pictures on {figures['machine']['processor']}.")
