"""Searching as Immich does it: which assets match, in what order, and the holes that offset paging tears.

Rows come newest first. Immich 2.7 and 3.0 break ties of fileCreatedAt by chance: PostgreSQL's order of equal rows
depends on how many rows the query may see, so every page (and page size) has its own order, and at the border
between two pages an asset can show up twice or not at all. Asked the same again, the answer is the same.
"""

import random
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from autotagger.demo.store import Row, Store
from autotagger.demo.wire import Dialect

Test = Callable[[Row], bool]
KEPT_LISTINGS = 16


@dataclass(frozen=True, slots=True)
class TagTest:
    """A condition on tags, descendants included. `ids` of unknown tags hold nothing."""

    how: str
    """all | any | none"""
    ids: tuple[str, ...] = ()


@dataclass(slots=True)
class Query:
    """What to find. `tests` look at the row alone; conditions on tags are kept apart: an index answers them.

    `key`: the same for the same question, so that the pages of one listing share their work.
    """

    key: bytes = b""
    tests: list[Test] = field(default_factory=list)
    tags: list[TagTest] = field(default_factory=list)
    untagged: bool | None = None
    """True: only assets without any tag; False: only assets with one."""
    branches: "list[Query]" = field(default_factory=list)
    """At least one of these must hold too (3.2's `or`)."""
    reads_updated: bool = False
    ascending: bool = False

    @property
    def reads_links(self) -> bool:
        return bool(self.tags) or self.untagged is not None or any(branch.reads_links for branch in self.branches)

    @property
    def reads_times(self) -> bool:
        return self.reads_updated or any(branch.reads_updated for branch in self.branches)


@dataclass(frozen=True, slots=True)
class Found:
    """One page, and whether there is another."""

    rows: list[Row]
    more: bool


class Searcher:
    """Answers queries from a store. Listings are kept until something changes that they depend on."""

    def __init__(self, store: Store, dialect: Dialect) -> None:
        self._store = store
        self._shuffles_ties = not dialect.filters
        self._kept: OrderedDict[bytes, tuple[tuple[int, int, int], list[Row]]] = OrderedDict()

    def page(self, query: Query, *, offset: int, size: int) -> Found:
        """Rows `offset` to `offset + size` of the order that a query for so many rows gets."""
        rows = self.matching(query)
        end = offset + size + 1
        seen = self._shuffled(rows, offset, end) if self._shuffles_ties else rows[offset:end]
        return Found(seen[:size], len(seen) > size)

    def matching(self, query: Query) -> list[Row]:
        """Every matching row, in order. Not to be changed by the caller."""
        stamp = self._stamp(query)
        kept = self._kept.get(query.key)
        if kept is not None and kept[0] == stamp:
            self._kept.move_to_end(query.key)
            return kept[1]
        rows = self._find(query)
        self._kept[query.key] = (stamp, rows)
        if len(self._kept) > KEPT_LISTINGS:
            self._kept.popitem(last=False)
        return rows

    def _stamp(self, query: Query) -> tuple[int, int, int]:
        versions = self._store.versions
        return (
            versions.shape,
            versions.links if query.reads_links else -1,
            versions.updated if query.reads_times else -1,
        )

    def _find(self, query: Query) -> list[Row]:
        accepts = self._accepts(query)
        candidates = self._candidates(query)
        if candidates is None:
            rows = [row for row in self._store.newest_first() if accepts(row)]
        else:
            rows = sorted(filter(accepts, candidates), key=lambda row: (-row.file_created_ms, row.id))
        if query.ascending:
            rows.reverse()
        return rows

    def _candidates(self, query: Query) -> set[Row] | None:
        """A set that holds every match, where the tag index knows one."""
        sets = [self._holders_of_all(test.ids) for test in query.tags if test.how == "all"]
        return set.intersection(*sets) if sets else None

    def _holders_of_all(self, ids: Sequence[str]) -> set[Row]:
        """Rows that hold every tag. Immich counts distinct tags against the list's length: doubles match none."""
        if len(set(ids)) < len(ids):
            return set()
        return set.intersection(*(self._store.holders(tag_id) for tag_id in ids))

    def _accepts(self, query: Query) -> Test:
        tests = [*query.tests, *(self._tag_test(test) for test in query.tags)]
        if query.untagged is not None:
            untagged = query.untagged
            tests.append(lambda row: (not row.tags) is untagged)
        if query.branches:
            branches = [self._accepts(branch) for branch in query.branches]
            tests.append(lambda row: any(branch(row) for branch in branches))
        return lambda row: all(test(row) for test in tests)

    def _tag_test(self, test: TagTest) -> Test:
        if test.how == "all":
            return self._holders_of_all(test.ids).__contains__
        holders: set[Row] = set().union(*(self._store.holders(tag_id) for tag_id in test.ids))
        return holders.__contains__ if test.how == "any" else lambda row: row not in holders

    @staticmethod
    def _shuffled(rows: list[Row], start: int, end: int) -> list[Row]:
        """`rows[start:end]` of the order in which a query limited to `end` rows returns ties."""
        if start >= len(rows):
            return []
        left, right = _tie_group(rows, start)[0], _tie_group(rows, min(end, len(rows)) - 1)[1]
        shuffled: list[Row] = []
        while left < right:
            group = _tie_group(rows, left)
            ties = rows[group[0] : group[1]]
            if len(ties) > 1:
                random.Random(end * 1_000_003 + group[0]).shuffle(ties)
            shuffled += ties
            left = group[1]
        first = _tie_group(rows, start)[0]
        return shuffled[start - first : end - first]


def _tie_group(rows: list[Row], index: int) -> tuple[int, int]:
    """Where the rows that share `rows[index]`'s time begin and end."""
    sign = -1 if rows[0].file_created_ms >= rows[-1].file_created_ms else 1
    time = sign * rows[index].file_created_ms
    return (
        bisect_left(rows, time, key=lambda row: sign * row.file_created_ms),
        bisect_right(rows, time, key=lambda row: sign * row.file_created_ms),
    )


def query_key(*parts: Any) -> bytes:
    """A key for what a query asks, not for the page it wants."""
    return orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)
