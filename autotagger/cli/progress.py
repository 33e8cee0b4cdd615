"""What a person sees of a run: a live bar on a terminal, else only the log; a table at the end."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from autotagger.lines import Form, printable
from autotagger.log import setup_logging

if TYPE_CHECKING:
    from rich.table import Table

    from autotagger.pipeline.supervisor.summary import Summary

T = TypeVar("T")


@contextmanager
def shown_progress(log_level: str, log_format: Form = "text") -> Iterator[Callable[["Summary"], None]]:
    """A function to be given each new state of the run, which shows it as fits where stderr goes."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", style="bold", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}", markup=False),
        TimeRemainingColumn(),
        TextColumn("{task.fields[trouble]}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True), redirect_stderr=True) as progress:
        setup_logging(log_level, log_format)  # to the stderr that the bar now owns: log lines appear above it
        task = progress.add_task("tagging", total=None, rate="", trouble="")

        def show(summary: "Summary") -> None:
            done, total = _done(summary), sum(summary.states.values())
            progress.update(
                task, completed=done, total=total or None, rate=_rate(summary), trouble=_trouble(summary)
            )

        try:
            yield show
        finally:
            progress.stop()
            setup_logging(log_level, log_format)


def counted(items: Sequence[T], what: str, log_level: str) -> Iterator[T]:
    """`items`, with a bar on a terminal that tells how many are done; elsewhere nothing is shown."""
    if not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    description = TextColumn("{task.description}", style="bold", markup=False)
    columns = (description, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), redirect_stderr=True, transient=True) as progress:
        setup_logging(log_level)  # to the stderr that the bar now owns: log lines appear above it
        try:
            yield from progress.track(items, description=what)
        finally:
            progress.stop()
            setup_logging(log_level)


def summary_table(summary: "Summary") -> "Table":
    """The end of a run as a table: what it did, and where all assets of the ledger stand."""
    from rich.table import Table
    from rich.text import Text

    table = Table("this run", "", "the ledger", "", title="autotagger")
    counts, states = summary.counts, summary.states
    left = [
        ("seconds", f"{summary.seconds:.1f}"),
        ("device", summary.device),
        ("previews downloaded", str(counts.get("preview_downloads", 0))),
        ("pictures scored", str(counts.get("inferred", 0))),
        ("assets tagged", str(counts.get("tagged", 0))),
        ("tag calls", str(counts.get("tag_calls", 0))),
        ("untag calls", str(counts.get("untag_calls", 0))),
        ("verified", str(counts.get("proven", 0))),
        ("repaired", str(counts.get("repaired", 0))),
        ("lost", str(counts.get("lost", 0))),
    ]
    right = [(str(state), str(count)) for state, count in states.items()]
    right += [
        (f"{name}: {state}", str(n)) for name, mine in summary.accounts.items() for state, n in mine.items() if n
    ]
    right += [(f"{name}: key refused", "-") for name in summary.refused]
    right += [("skipped: tags do not stick there", str(summary.closed))] if summary.closed else []
    right += [("without their marker in Immich", str(summary.unmarked))] if summary.unmarked else []
    for row in range(max(len(left), len(right))):
        cells = (*(left[row] if row < len(left) else ("", "")), *(right[row] if row < len(right) else ("", "")))
        # text and no markup: an account may be called [/b]
        table.add_row(*(Text(printable(cell)) for cell in cells))
    return table


def _done(summary: "Summary") -> int:
    states = {str(state): count for state, count in summary.states.items()}
    to_do = sum(states[state] for state in ("pending", "scored", "stale", "planned"))
    return sum(states.values()) - to_do - summary.unmarked


def _rate(summary: "Summary") -> str:
    return f"{summary.counts.get('inferred', 0) / max(summary.seconds, 0.001):.1f}/s"


def _trouble(summary: "Summary") -> str:
    return ", ".join(f"{count} {kind}" for kind, count in summary.failures.items())
