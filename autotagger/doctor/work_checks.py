"""Checks of model files, ledger and external libraries, and how long the library will take."""

from pathlib import Path

from autotagger.doctor.check_result import NO_START, CheckResult, fail, good, skip, warn
from autotagger.doctor.facts import Facts
from autotagger.ledger.database import RESTORE
from autotagger.statedir import LOCAL_DISK

#: Assets a second that Immich's own jobs finish after a tag call, with 30 three-level tags and with one tag.
#: Measured on two cores (docs/immich.md).
IMMICH_SLOWEST, IMMICH_FASTEST = 5.0, 12.0


def files(facts: Facts) -> CheckResult:
    """Are the model's files there and whole, or will a run fetch them first?"""
    model = facts.model
    if model.trouble is None:
        return good(f"{model.name}, {model.labels:,} labels")
    pull = f"autotagger models pull {model.name}"
    if model.to_download:
        size = f" ({model.download_bytes / 1e6:.0f} MB)" if model.download_bytes else ""
        return warn(f"{model.trouble.message}; a run downloads it first{size}", pull)
    return fail(
        model.trouble.message, "autotagger models list shows the available models", model.trouble.exit_code
    )


def ledger(facts: Facts) -> CheckResult:
    """Can it be read and written, where there is one?"""
    found = facts.ledger
    if not found.writable:
        return fail(
            f"{found.path} cannot be written", f"chown the folder {found.path.parent} to this user", NO_START
        )
    if found.obstacle:
        return fail(
            f"a run could not use {found.obstacle}: it is no {_kind(found.obstacle)} of this user's",
            "move it away, or chown it to this user",
            NO_START,
        )
    if found.lacking:
        what = f"{found.path.parent} is on a file system without {' and '.join(found.lacking)}"
        return fail(what, LOCAL_DISK, NO_START)
    if found.trouble:
        newer = "newer autotagger" in found.trouble.message
        return fail(found.trouble.message, "update autotagger" if newer else RESTORE, NO_START)
    if not found.exists:
        return good(f"none yet; a run creates {found.path}")
    at_work = f"; a run (process {found.holder}) uses it" if found.holder else ""
    return good(f"{found.path} is sound: {found.assets:,} assets{at_work}")


def _kind(path: Path) -> str:
    return "folder" if path.suffix == "" else "file"


def failures(facts: Facts) -> CheckResult:
    """Did assets fail that somebody should look at?"""
    found = facts.ledger
    if not found.exists or found.trouble:
        return skip("there is no ledger yet")
    if found.failed:
        return warn(
            f"{found.failed:,} of {found.assets:,} assets failed", "autotagger status --problems shows the reasons"
        )
    return good("none")


def external(facts: Facts) -> CheckResult:
    """Libraries that a canary found closed: Immich cannot keep tags there."""
    found = facts.ledger
    if not found.exists or found.trouble:
        return skip("unknown before the first run, which tests one asset of each library")
    if found.closed:
        return warn(
            f"tags do not stick in {len(found.closed)} of the libraries: {found.closed[0]}",
            "mount its folder read-write in Immich (compose: without :ro), or put a writable overlay on it",
        )
    return good("tags stick in every library tested")


def estimate(facts: Facts) -> CheckResult:
    """Hours for what is not marked, from what this machine did with the library's own pictures just now."""
    speed, server = facts.speed, facts.server
    if speed is None:
        return skip("not measured")
    rates = {f"inference ({speed.pictures} of your pictures measured)": speed.pictures / speed.seconds}
    if sample := server.sample:
        rates["downloading"] = len(sample.pictures) / sample.seconds
    if facts.settings.immich.pace:
        rates["pace in [immich]"] = facts.settings.immich.pace
    limit, rate = min(rates.items(), key=lambda item: item[1])
    found = f"{rate:.2f} pictures per second, limited by {limit}"
    if server.total is None or server.marked is None:
        return good(found)
    left = max(0, server.total - server.marked)
    least = "at least " if server.counted_up_to is not None else ""
    own = f"{left:,} assets left: {least}{_hours(left / rate)} if this machine does nothing else"
    if facts.ledger.holder is not None:
        own += " (a run is active now, so this measurement is too slow)"
    theirs = f"{_hours(left / IMMICH_FASTEST)} to {_hours(left / IMMICH_SLOWEST)}"
    return good(f"{found}. {own}. Immich's background jobs for the tags take {theirs} on 2 cores")


def _hours(seconds: float) -> str:
    if seconds < 60:
        return "under a minute"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


CHECKS = {
    "model.files": files,
    "ledger.health": ledger,
    "ledger.failures": failures,
    "library.external": external,
    "library.hours": estimate,
}
