"""`autotagger status`: where every asset stands, read from the ledger while a run goes on or afterwards."""

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from autotagger.cli.context import begin
from autotagger.cli.output import Format, FormatOption, print_json, print_rows

PROBLEMS = 1_000


def status(
    context: typer.Context,
    form: FormatOption = Format.TABLE,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    problems: Annotated[
        bool, typer.Option("--problems", help="List failed, waiting and skipped assets with their reasons.")
    ] = False,
) -> None:
    """Show the assets by state, the failures by class, and the last run."""
    from autotagger.ledger.store import Ledger

    settings = begin(context)
    form = Format.JSON if as_json else form
    with Ledger(settings.ledger_path, writable=False) as ledger:
        if problems:
            print_rows(
                ("state", "kind", "file", "asset", "reason", "attempts", "again"),
                [
                    {
                        "state": str(row.state),
                        "kind": row.kind,
                        "file": row.file_name,
                        "asset": row.asset_id,
                        "reason": row.message,
                        "attempts": row.attempts,
                        "again": _when(row.due_ms),
                    }
                    for row in ledger.problems(PROBLEMS)
                ],
                form,
            )
            return
        states = {str(state): count for state, count in ledger.counts().items()}
        failures, last = ledger.failures(), ledger.last_run()
        unwanted = ledger.unwanted()
    if form is Format.JSON:
        print_json(
            {
                "assets": sum(states.values()),
                **states,
                "failures": failures,
                "blacklist_candidates": [{"tag": tag, "assets": count} for tag, count in unwanted],
                "last_run": _last_run(last),
            }
        )
        return
    rows = [{"what": state, "assets": count} for state, count in states.items()]
    rows += [{"what": f"failed: {kind}", "assets": count} for kind, count in failures.items()]
    rows += [{"what": f"taken off by people (for the blacklist?): {tag}", "assets": n} for tag, n in unwanted]
    print_rows(("what", "assets"), rows, form)


def _last_run(last: tuple[int, int | None, dict[str, Any]] | None) -> dict[str, Any] | None:
    if last is None:
        return None
    started_ms, ended_ms, summary = last
    return {"started": _when(started_ms), "ended": _when(ended_ms), "summary": summary}


def _when(epoch_ms: int | None) -> str | None:
    if epoch_ms is None:
        return None
    return datetime.fromtimestamp(epoch_ms / 1000, UTC).isoformat(timespec="seconds")
