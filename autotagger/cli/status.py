"""`autotagger status`: where every asset stands, read from the ledger while a run goes on or afterwards."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autotagger.cli.context import look
from autotagger.cli.output import Format, FormatOption, print_json, print_rows
from autotagger.lines import printable

if TYPE_CHECKING:
    from autotagger.ledger.reader import LedgerReader
    from autotagger.settings import Settings

PROBLEMS = 1_000
#: Tags that the vocabulary withholds and JSON names.
WITHHELD_SHOWN = 20


def status(
    context: typer.Context,
    form: FormatOption = Format.TABLE,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    problems: Annotated[
        bool, typer.Option("--problems", help="List failed, waiting and skipped assets with the reasons.")
    ] = False,
) -> None:
    """Show whether a run is active, the assets by state, and the failures by class.

    The table leaves out states that no asset is in.
    """
    from autotagger.doctor.ledger import holder_of
    from autotagger.ledger.reader import LedgerReader
    from autotagger.ledger.states import Probe, State, are_many
    from autotagger.pipeline.control.pause import PAUSED, is_paused
    from autotagger.pipeline.supervisor.summary import UNMARKED

    settings = look(context)
    form = Format.JSON if as_json else form
    with LedgerReader(settings.ledger_path) as ledger:
        if problems:
            _print_problems(ledger, form)
            return
        accounts = ledger.account_counts()
        failures, last = ledger.failures(), ledger.last_run()
        unwanted, unmarked, deleted = ledger.unwanted(), ledger.unmarked(), ledger.deleted_tags()
        strangers, contested_ms = ledger.strangers(), ledger.contested_ms()
        closed = [row.reason or "" for row in ledger.collections() if row.state is Probe.CLOSED]
        withheld = _withheld(ledger, settings)
        not_selected = ledger.not_selected()
    states = {str(state): sum(mine[state] for mine in accounts.values()) for state in State}
    paused = is_paused(settings.state_dir)
    if form is Format.JSON:
        print_json(
            {
                "assets": sum(states.values()),
                **states,
                "paused": paused,
                "accounts": {
                    name: {str(state): count for state, count in mine.items()} for name, mine in accounts.items()
                },
                "not_selected": not_selected,
                "failures": failures,
                "marked_by_others": strangers,
                "another_autotagger": _when(contested_ms),
                "unmarked": unmarked,
                "deleted_tags": [{"tag": tag, "assets": count} for tag, count in deleted],
                "blacklist_candidates": [{"tag": tag, "assets": count} for tag, count in unwanted],
                "withheld": withheld,
                "active_run": _active_run(holder_of(settings.ledger_path), last, states),
                "last_run": _last_run(last),
            }
        )
        return
    everything = form is not Format.TABLE
    rows = [{"what": state, "assets": count} for state, count in states.items() if count or everything]
    if len(accounts) > 1:
        each = [(f"{name}: {state}", n) for name, mine in accounts.items() for state, n in mine.items() if n]
        rows += [{"what": what, "assets": count} for what, count in each]
    if not_selected:
        rows += [{"what": "not selected ([select])", "assets": not_selected}]
    rows += [{"what": f"failed: {kind}", "assets": count} for kind, count in failures.items()]
    rows += [{"what": "marked by others (skipped)", "assets": strangers}] if strangers else []
    rows += [{"what": f"removed by people (blacklist candidate): {tag}", "assets": n} for tag, n in unwanted]
    rows += [{"what": f"deleted in Immich: {tag}", "assets": count} for tag, count in deleted]
    rows += [{"what": "verified, without their marker in Immich", "assets": unmarked}] if unmarked else []
    if withheld:
        told = "withheld by the vocabulary of {vocabulary}: {different_tags} tags, so many times"
        rows += [{"what": told.format(**withheld), "assets": withheld["tags_on_assets"]}]
    if form is Format.TABLE:
        refused = ((last and last[2]) or {}).get("refused", {})
        lines = [_told_of_run(_active_run(holder_of(settings.ledger_path), last, states), last)]
        lines += [f"the last run skipped account {name}: {why}" for name, why in refused.items()]
        if contested_ms:
            lines.append(
                f"another autotagger sets the marker {settings.marker} too (seen {_when(contested_ms)}): give "
                "each its own `marker`, or stop one of them"
            )
        lines += [f"a whole library is skipped: {reason}" for reason in closed]
        lines += [UNMARKED.format(unmarked)] if are_many(unmarked, states[State.VERIFIED]) else []
        for line in (*lines, *([PAUSED] if paused else [])):
            typer.echo(printable(line))
    print_rows(("what", "assets"), rows, form)


def _print_problems(ledger: "LedgerReader", form: Format) -> None:
    rows = [
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
    ]
    print_rows(("state", "kind", "file", "asset", "reason", "attempts", "again"), rows, form)


def _withheld(ledger: "LedgerReader", settings: "Settings") -> dict[str, Any] | None:
    """What `[policy] vocabulary` keeps from being applied, by today's settings: counts of an even sample where
    the library is large. None without a cap, or where that cannot be told."""
    models = [row for row in ledger.models() if row.scores] if settings.policy.vocabulary else []
    if not models:
        return None
    from loguru import logger

    from autotagger.errors import AutotaggerError
    from autotagger.pipeline.decider import TagDecider

    try:
        found = TagDecider.of_stored(ledger, models[0].id, settings).withheld()
    except AutotaggerError as error:
        logger.warning("what the vocabulary withholds cannot be told: {}", error.message)
        return None
    tags = [{"tag": tag, "assets": count} for tag, count in found.most_common(WITHHELD_SHOWN)]
    return {
        "vocabulary": settings.policy.vocabulary,
        "different_tags": len(found),
        "tags_on_assets": found.total(),
        "most_frequent": tags,
    }


def _active_run(
    holder: str | None, last: tuple[int, int | None, dict[str, Any]] | None, states: dict[str, int]
) -> dict[str, Any] | None:
    """The run that holds the ledger: its process, its start, and how much of the library needs nothing more."""
    if holder is None:
        return None
    from autotagger.ledger.states import IN_FLIGHT, TO_DO

    total = sum(states.values())
    left = sum(states[state] for state in {*TO_DO, *IN_FLIGHT})
    started_ms = last[0] if last and last[1] is None else None
    percent = round(100 * (total - left) / total, 1) if total else None
    return {
        "process": holder,
        "started": _when(started_ms),
        "assets": total,
        "assets_left": left,
        "percent": percent,
    }


def _told_of_run(active: dict[str, Any] | None, last: tuple[int, int | None, dict[str, Any]] | None) -> str:
    if active:
        since = f" since {active['started']}" if active["started"] else ""
        left = f"{active['assets_left']:,} of {active['assets']:,} assets are left to do"
        return f"a run is active (process {active['process']}){since}: {left}"
    if last is None:
        return "no run is active, and there was none yet"
    started_ms, ended_ms, summary = last
    if ended_ms is None:
        return (
            f"no run is active; the last one began at {_when(started_ms)} and was cut off: the next one continues"
        )
    failed = sum(((summary.get("ending") or {}).get("failed") or {}).values())
    tagged = f"{summary.get('tagged', 0):,} tagged, {failed:,} failed"
    return f"no run is active; the last one ended at {_when(ended_ms)}: {tagged}"


def _last_run(last: tuple[int, int | None, dict[str, Any]] | None) -> dict[str, Any] | None:
    if last is None:
        return None
    started_ms, ended_ms, summary = last
    return {"started": _when(started_ms), "ended": _when(ended_ms), "summary": summary}


def _when(epoch_ms: int | None) -> str | None:
    if epoch_ms is None:
        return None
    return datetime.fromtimestamp(epoch_ms / 1000, UTC).isoformat(timespec="seconds")
