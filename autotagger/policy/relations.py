"""What one tag says of others: what it implies, what it makes superfluous, which series a character is from."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from autotagger.errors import BadConfig
from autotagger.policy.patterns import spoken
from autotagger.policy.thresholds import RATING

CHARACTER = "character"
#: The category of series: danbooru's word.
COPYRIGHT = "copyright"

_LAST_BRACKET = re.compile(r"(?P<rest>.+)_\((?P<inside>[^()]+)\)")

Label = tuple[str, str]
Table = dict[int, tuple[int, ...]]


def series_of(labels: Sequence[Label]) -> dict[str, tuple[str, ...]]:
    """Series by character, from the last brackets of the name: `shiroko_(swimsuit)_(blue_archive)`.

    Brackets that only tell a variant from another character (`hatsune_miku_(append)` beside `hatsune_miku`,
    `..._(1st_costume)`) are no series: in WD v3's label file that holds for 28 of 205 different ones.
    """
    characters = {name for name, category in labels if category == CHARACTER}
    split = {name: found for name in characters if (found := _LAST_BRACKET.fullmatch(name))}
    variants = {found["inside"] for found in split.values() if found["rest"] in characters}
    series: dict[str, tuple[str, ...]] = {}
    for name in characters:
        found = _LAST_BRACKET.fullmatch(name)
        while found and found["inside"] in variants:
            found = _LAST_BRACKET.fullmatch(found["rest"])
        if found:
            series[name] = (found["inside"],)
    return series


def overlaps(labels: Iterable[Label]) -> dict[str, tuple[str, ...]]:
    """By label, every label of its category whose words end it: `very_long_hair` has `long_hair` and `hair`.

    Except behind a negation: `no_bra` is no bra.
    """
    known = set(labels)
    found: dict[str, tuple[str, ...]] = {}
    for name, category in sorted(known):
        words = name.split("_")
        ends = ("_".join(words[start:]) for start in range(1, len(words)))
        shorter = tuple(end for end in ends if end and (end, category) in known)
        if shorter and words[0] not in ("no", "non", "un"):
            found[name] = shorter
    return found


def extended(labels: Sequence[Label], implies: Mapping[str, Sequence[str]], series: Iterable[str]) -> list[Label]:
    """`labels`, and behind them what is only ever implied: with the category of what implies it, or a series."""
    category_of = {spoken(name, category): category for name, category in reversed(labels)}
    more: dict[Label, None] = {}
    todo = [source for source in implies if source in category_of]
    while todo:  # a chain may run against the order of the table
        source = todo.pop(0)
        category = "general" if category_of[source] == RATING else category_of[source]
        for name in implies.get(source, ()):
            if name not in category_of:
                category_of[name] = category
                more[name, category] = None
                todo.append(name)
    known = set(labels)
    more |= {(name, COPYRIGHT): None for name in sorted(set(series)) if (name, COPYRIGHT) not in known}
    return [*labels, *more]


def rows_of(
    section: str, table: Mapping[str, Sequence[str]], labels: Sequence[Label], *, among: str | None = None
) -> Table:
    """`table` by rows of `labels`, its targets only in the category `among` where one is given.

    Raises BadConfig when a tag stands for itself, there and back, or for a rating. Names that the model does
    not have are let be: one configuration serves several models.
    """
    _refuse_circles(section, table)
    sources: dict[str, list[int]] = {}
    targets: dict[str, int] = {}
    for row, (name, category) in enumerate(labels):
        sources.setdefault(spoken(name, category), []).append(row)
        if category != RATING and among in (None, category):
            targets.setdefault(name, row)
    found: Table = {}
    for source, names in table.items():
        if any(name.startswith(f"{RATING}:") for name in names):
            raise BadConfig(f"[policy.{section}] {source}: a rating is the model's to tell")
        for row in sources.get(source, ()):
            if rows := tuple(targets[name] for name in names if targets.get(name, row) != row):
                found[row] = rows
    return found


def closure(table: Table, start: int) -> Iterator[tuple[int, int]]:
    """Every row that `start` leads to, each once, with the row that names it."""
    seen, todo = {start}, [start]
    while todo:
        source = todo.pop(0)
        for target in table.get(source, ()):
            if target not in seen:
                seen.add(target)
                todo.append(target)
                yield target, source


def _refuse_circles(section: str, table: Mapping[str, Sequence[str]]) -> None:
    finished: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        if name in above:
            raise BadConfig(f"[policy.{section}] goes round in a circle: {' -> '.join((*above, name))}")
        if name not in finished:
            for target in table.get(name, ()):
                visit(target, (*above, name))
            finished.add(name)

    for name in table:
        visit(name, ())
