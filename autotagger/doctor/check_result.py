"""What a check says: how bad it is, what was found, and the exact command or setting that fixes it."""

from dataclasses import dataclass
from enum import StrEnum

#: Exit codes of a run that does not start, as in `errors`.
WRONG_SETTING, NO_START, REFUSED = 2, 3, 4


class Level(StrEnum):
    """FAIL is kept for what keeps `autotagger run` from starting; SKIP is what could not be looked at."""

    PASS = "pass"  # noqa: S105 - no password
    WARN = "warn"
    FAIL = "fail"
    SKIP = "skip"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """`exit_code`: that of a run which does not start for this reason; 0 where it does."""

    level: Level
    found: str
    fix: str = ""
    exit_code: int = 0


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of the check named `check` (`server.version`)."""

    check: str
    result: CheckResult


def good(found: str) -> CheckResult:
    return CheckResult(Level.PASS, found)


def warn(found: str, fix: str) -> CheckResult:
    return CheckResult(Level.WARN, found, fix)


def fail(found: str, fix: str, exit_code: int) -> CheckResult:
    return CheckResult(Level.FAIL, found, fix, exit_code)


def skip(found: str) -> CheckResult:
    return CheckResult(Level.SKIP, found)
