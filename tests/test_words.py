"""One thing has one word: those that were replaced do not come back, in code, help, or documentation."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
#: What each was replaced by. Names are split into their words before they are compared.
REPLACED = {
    "flight": "job",
    "flights": "jobs",
    "crew": "process pool",
    "seat": "account worker",
    "seats": "account workers",
    "desk": "account context",
    "office": "a factory function",
    "household": "accounts",
    "households": "accounts",
    "parcel": "payload",
    "parcels": "payloads",
    "film": "video",
    "films": "videos",
    "errand": "operation",
    "errands": "operations",
    "outlook": "planned changes",
    "clockwork": "schedule",
    "verdict": "result",
    "verdicts": "results",
    "namer": "decider",
    "duty": "entry point",
    "duties": "entry points",
    "bury": "reap",
    "gentleness": "priority",
    "landed": "applied",
    "books": "job table",
    "figures": "numbers",
}
#: What others read: counts, keys of JSON, kinds of errors, a migration's name, the field's own words.
STABLE = re.compile(
    r"""in[-_]flight|film_downloads|broken-film|"errand"|\bfigures=run_stats|\["figures"\]|"figures"
    |`figures`|\.figures\b|0005_figures|figures=\{"tagged":""",
    re.IGNORECASE | re.VERBOSE,
)
#: `most_queued` is the old spelling of a setting, the other two are keys of JSON.
PREFIX = re.compile(r"\b(?:most|least|fewest)_(?!common|frequent|queued|f1|speed_up)\w+")
WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")


def replaced(line: str) -> set[str]:
    """The words of a line that were replaced, whatever the spelling of the name they are in."""
    line = STABLE.sub("", line)
    return {word.lower() for word in WORD.findall(line)} & REPLACED.keys() | set(PREFIX.findall(line))


def sources() -> list[Path]:
    """What people read and write here."""
    kinds = {".py", ".md", ".toml", ".service", ".timer", ".yml", ".yaml", ""}
    tops = ("autotagger", "docs", "tests", "scripts", "systemd", "README.md", "compose.yaml", "pyproject.toml")
    roots = [ROOT / top for top in tops]
    files = [path for root in roots for path in ([root] if root.is_file() else root.rglob("*"))]
    return [path for path in files if path.is_file() and path.suffix in kinds and path != Path(__file__)]


def test_no_word_that_was_replaced_comes_back() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {word} (now: {REPLACED.get(word, 'max or min')})"
        for path in sources()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        for word in sorted(replaced(line))
    ]
    assert found == [], "\n".join(found)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("class FlightBook:", {"flight"}),
        ("def run_errand(seat):", {"errand", "seat"}),
        ("GateVerdict = 1", {"verdict"}),
        ("FILMS = {'av'}", {"films"}),
        ("def top(most_rows: int)", {"most_rows"}),
        ('{"errand": self.operation}', set()),
        ("from autotagger.pipeline.supervisor.in_flight import JobTable", set()),
        ('kind="broken-film"', set()),
        ("officers of a microfilmed seating", set()),
    ],
)
def test_it_sees_through_the_spelling(line: str, words: set[str]) -> None:
    assert replaced(line) == words
