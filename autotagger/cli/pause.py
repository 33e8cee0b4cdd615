"""`autotagger pause` and `autotagger resume`: nothing new for a while, without stopping the service."""

import typer

from autotagger.cli.context import look


def pause(context: typer.Context) -> None:
    """Have the service start nothing new, now and after a restart, until `autotagger resume`.

    What is under way is finished, and new pictures are still noted. SIGUSR1 does the same.
    """
    from autotagger.pipeline.control import pause as pausing

    paused = pausing.pause(look(context).state_dir)
    typer.echo("paused; `autotagger resume` goes on" if paused else "paused already")


def resume(context: typer.Context) -> None:
    """Undo `autotagger pause`. SIGUSR2 does the same."""
    from autotagger.pipeline.control import pause as pausing

    resumed = pausing.resume(look(context).state_dir)
    typer.echo("working again" if resumed else "not paused")
