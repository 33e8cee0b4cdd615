"""`autotagger pause` and `autotagger resume`: hold the service without stopping it."""

import typer

from autotagger.cli.context import look


def pause(context: typer.Context) -> None:
    """Pause the service until `autotagger resume`.

    It finishes what it has begun and starts nothing new, also after a restart. It still records new pictures.
    SIGUSR1 does the same.
    """
    from autotagger.pipeline.control import pause as pausing

    paused = pausing.pause(look(context).state_dir)
    typer.echo("paused; `autotagger resume` continues" if paused else "already paused")


def resume(context: typer.Context) -> None:
    """End a pause. SIGUSR2 does the same."""
    from autotagger.pipeline.control import pause as pausing

    resumed = pausing.resume(look(context).state_dir)
    typer.echo("resumed" if resumed else "not paused")
