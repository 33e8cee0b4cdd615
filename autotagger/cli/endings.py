"""How a command that worked on Immich ends: its exit code, and one line that says why it is not 0."""

from collections import Counter
from typing import TYPE_CHECKING

import typer

from autotagger.cli.context import INTERRUPTED, REFUSED, SOME_FAILED
from autotagger.lines import last_words

if TYPE_CHECKING:
    from autotagger.pipeline.supervisor.summary import Ending, Summary

#: What is said of assets that a run left undone, by their state.
_LEFT = {
    "pending": "not scored",
    "scored": "scored, waiting for Immich",
    "stale": "to be changed, waiting for Immich",
    "planned": "scored, waiting for Immich",
    "applied": "sent and not verified: Immich has not finished its jobs",
}


def leave_as(summary: "Summary") -> None:
    """End the command as the run ended. Returns where all is done; else says why, and raises typer.Exit."""
    code, why = ending_of(summary)
    if why:
        typer.echo(last_words(why), err=True)
    if code:
        raise typer.Exit(code)


def ending_of(summary: "Summary") -> tuple[int, str]:
    """The exit code of a run, and why it is not 0."""
    ending = summary.ending
    if ending and ending.interrupted:
        return INTERRUPTED, "interrupted: what is done is kept; the same command continues"
    if ending and ending.paused:
        return SOME_FAILED, "paused before all was done: `autotagger resume` ends the pause"
    told = _reasons(ending) if ending else []
    if summary.closed and summary.operation is None:
        told.append(
            f"{summary.closed:,} skipped in libraries where tags do not stick (`autotagger status` says why)"
        )
    reasons = "; ".join(told)
    if summary.refused:
        names = ", ".join(summary.refused)
        return REFUSED, "; ".join(filter(None, (f"key refused: {names}", reasons)))
    return (SOME_FAILED if reasons else 0), reasons


def _reasons(ending: "Ending") -> list[str]:
    left: Counter[str] = Counter()
    for state, count in ending.undone.items():
        left[_LEFT[str(state)]] += count
    reasons = [f"{count:,} {what}" for what, count in left.items()]
    if ending.unreadable:
        reasons.append(f"{ending.unreadable:,} items of the library could not be read")
    if ending.failed:
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in ending.failed.items())
        failed = sum(ending.failed.values())
        reasons.append(f"{failed:,} failed in this run ({kinds}): `autotagger status --problems` lists them")
    return reasons


def confirmed(question: str) -> bool:
    """Whether a person says yes. Ctrl-C at the question is an interruption, as elsewhere."""
    try:
        return typer.confirm(question)
    except typer.Abort as error:
        if isinstance(error.__context__, KeyboardInterrupt):
            raise typer.Exit(INTERRUPTED) from None
        raise
