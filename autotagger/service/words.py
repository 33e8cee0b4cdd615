"""A run in one line."""

from collections.abc import Mapping
from typing import Any

from autotagger.ledger.states import TO_DO, State
from autotagger.pipeline.supervisor.summary import Summary
from autotagger.service.pace import Pace


def progress(summary: Summary, pace: Pace) -> str:
    """`1,200 of 5,000 assets done, 30 waiting for Immich, 4.2/s, 15 min left`. Failed or skipped is done."""
    states = summary.states
    total, to_do, waiting = sum(states.values()), sum(states[state] for state in TO_DO), states[State.WAITING]
    words = f"{total - to_do - waiting - summary.unmarked:,} of {total:,} assets done"
    words += f", {waiting:,} waiting for Immich" if waiting else ""
    words += f", {summary.unmarked:,} without their marker in Immich" if summary.unmarked else ""
    if not to_do:
        return words
    left_s = pace.seconds_for(summary.states[State.PENDING])
    return f"{words}, {pace.per_s:.1f}/s" + (f", {duration(left_s)} left" if left_s else "")


def sum_up(summary: Summary, pace: Pace) -> str:
    """Progress, and what this run did: `...; this run: 400 tagged with 9,120 tags in 3 min; none failed`."""
    counts = summary.counts
    words = [f"{counts.get('tagged', 0):,} tagged with {counts.get('tags', 0):,} tags"]
    words += [
        f"{counts[name]:,} {what}"
        for name, what in (("repaired", "repaired"), ("lost", "lost"), ("restarts", "processes replaced"))
        if counts.get(name)
    ]
    failed = sum(summary.failures.values())
    kinds = ", ".join(f"{kind} {count:,}" for kind, count in summary.failures.items())
    ledger = f"{failed:,} failed ({kinds})" if failed else "none failed"
    return f"{progress(summary, pace)}; this run: {', '.join(words)} in {duration(summary.seconds)}; {ledger}"


def run_stats(summary: Summary, pace: Pace) -> Mapping[str, Any]:
    """The same for programs: the summary, the rate, and the seconds left (None where nobody can say)."""
    left_s = pace.seconds_for(summary.states[State.PENDING])
    return {
        **summary.as_dict(),
        "pictures_per_second": round(pace.per_s, 3),
        "seconds_left": None if left_s is None else round(left_s),
    }


def duration(seconds: float) -> str:
    """`40 s`, `12 min`, `3.5 h`, `2.1 days`."""
    for unit, length_s in (("days", 86_400), ("h", 3_600)):
        if seconds >= 2 * length_s:
            return f"{seconds / length_s:.1f} {unit}"
    return f"{seconds / 60:.0f} min" if seconds >= 120 else f"{seconds:.0f} s"
