"""Listing a library whose ground moves, by a server in memory that pages by offset."""

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotagger.errors import Retryable, ServerRefused
from autotagger.immich import parsing
from autotagger.immich.client import ImmichClient
from autotagger.immich.sweep import Listed, sweep, tagged
from autotagger.immich.types import Asset, Dialect, Page, Server, ServerVersion, Tag
from tests.immich.support import OWNER, TAG, item, uuid

MARKER = "auto:processed"


@dataclass
class Memory:
    """A library in memory. `pages_of`: the page size made of the one that is asked for.

    `order(size, end)` seeds the order of ties in a query for rows up to `end`. `before` is called before every
    request with its number: for uploads and the like. The order is newest first, as Immich's.
    """

    times: dict[str, int] = field(default_factory=dict)
    rows: dict[str, Asset] = field(default_factory=dict)
    marks: set[str] = field(default_factory=set)
    marker: bool = True
    pages_of: Callable[[int], int] = lambda size: size
    order: Callable[[int, int], int] = lambda size, end: size
    before: Callable[[int], None] = lambda number: None
    obeys_none: bool = True
    flat_works: bool = True
    requests: int = 0
    filters: bool | None = False

    def add(self, number: int, time: int = 0, **fields: Any) -> str:
        asset = parsing.asset(item(number, **fields))
        self.rows[asset.id], self.times[asset.id] = asset, time
        return asset.id

    async def tags(self) -> list[Tag]:
        return [Tag(uuid(1), "cat"), *([Tag(TAG, MARKER)] if self.marker else [])]

    async def total(self, body: dict[str, Any]) -> int:
        assert not {"size", "page", "cursor"} & set(body)
        assert ("filter" in body) is self.filters
        return len(self._matching(body))

    async def search(self, body: dict[str, Any]) -> Page:
        self.requests += 1
        self.before(self.requests)
        size = self.pages_of(body["size"])
        start = (int(body.get("cursor", body.get("page", 1))) - 1) * size
        seed = self.order(size, start + size)
        rows = sorted(
            self._matching(body), key=lambda row: (-self.times[row.id], random.Random(f"{seed}{row.id}").random())
        )
        page = Page(tuple(rows[start : start + size]))
        if start + size < len(rows):
            number = start // size + 2
            return replace(page, **({"next_cursor": str(number)} if "filter" in body else {"next_page": number}))
        return page

    def _matching(self, body: dict[str, Any]) -> list[Asset]:
        asked = body.get("filter") or {name: {"eq": body.get(name)} for name in ("visibility", "type")}
        rows: Iterable[Asset] = self.rows.values()
        assert self.filters is not None
        assert ("filter" in body) is self.filters, "one way to search, whatever is searched for"
        held = asked.get("tagIds", {}) if "filter" in body else {}
        if "none" in held and self.obeys_none:
            assert held == {"none": [TAG]}
            rows = (row for row in rows if row.id not in self.marks)
        if asked_tags := body.get("tagIds") or held.get("all"):
            known = self.flat_works or "filter" in body
            rows = (
                (row for row in rows if row.id in self.marks) if asked_tags == [TAG] else rows if not known else ()
            )
        kind = asked.get("type", {"eq": None})["eq"]
        return [row for row in rows if row.visibility == asked["visibility"]["eq"] and kind in (None, row.kind)]


def server(dialect: str = "3.0", *permissions: str, user_id: str | None = OWNER) -> Server:
    return Server(ServerVersion(3, 0, 0), Dialect(dialect), frozenset(permissions), user_id)


async def swept(
    memory: Memory,
    of: Server | None = None,
    types: Iterable[str] = ("image", "video"),
    visibilities: tuple[str, ...] = ("timeline", "archive"),
) -> tuple[list[str], list[str]]:
    """Ids of the assets and of the marked ones, in the order in which they were told."""
    listed: list[Listed] = [
        batch
        async for batch in sweep(
            cast("ImmichClient", memory), of or server(), marker=MARKER, types=types, visibilities=visibilities
        )
    ]
    assert all(batch.assets or batch.marked or batch.unreadable for batch in listed)
    assets = [asset.id for batch in listed for asset in batch.assets]
    return assets, [asset.id for batch in listed for asset in batch.marked]


DIALECTS = pytest.mark.parametrize("dialect", ["2.7", "3.0", "3.2"])


@given(
    times=st.lists(st.integers(0, 3), max_size=40),
    marks=st.sets(st.integers(0, 39)),
    uploads=st.dictionaries(st.integers(1, 30), st.integers(0, 4), max_size=10),
    page=st.integers(1, 12),
    seed=st.integers(),
    dialect=st.sampled_from(["2.7", "3.0", "3.2"]),
)
async def test_what_was_there_all_the_time_is_listed_exactly_once(
    times: list[int], marks: set[int], uploads: dict[int, int], page: int, seed: int, dialect: str
) -> None:
    memory = Memory(pages_of=lambda size: 1 + size % page, order=lambda size, end: seed + size)
    there = [memory.add(number, time) for number, time in enumerate(times)]
    memory.marks = {there[number] for number in marks if number < len(there)}

    def upload(number: int) -> None:
        if number in uploads:
            memory.add(100 + number, uploads[number])

    memory.before = upload
    assets, marked_ids = await swept(memory, server(dialect, "asset.statistics"))
    assert len(set(assets)) == len(assets)
    assert set(there) - memory.marks <= set(assets) <= set(memory.rows) - memory.marks
    assert set(marked_ids) == memory.marks
    assert len(set(marked_ids)) == len(marked_ids)


@pytest.mark.parametrize("statistics", [(), ("asset.statistics",)])
@pytest.mark.parametrize("seed", range(5))
async def test_a_large_tie_in_a_new_order_with_every_page(seed: int, statistics: tuple[str, ...]) -> None:
    memory = Memory(pages_of=lambda size: size // 20, order=lambda size, end: seed * 1000 + end)
    there = [memory.add(number) for number in range(300)]
    assets, _ = await swept(memory, server("3.0", *statistics))
    assert sorted(assets) == sorted(there)


async def test_a_listing_that_never_rests_gets_more_passes_before_it_is_believed() -> None:
    class Shy(Memory):
        """Every pass misses a few; one asset shows up for the first time in the fifth pass after the first."""

        async def search(self, body: dict[str, Any]) -> Page:
            page = await super().search(body)
            missed = {uuid(body["size"] % 7), uuid(body["size"] % 11), *([uuid(49)] if body["size"] > 700 else [])}
            return replace(page, assets=tuple(asset for asset in page.assets if asset.id not in missed))

    memory = Shy(marker=False)
    there = [memory.add(number, number) for number in range(50)]
    assert sorted((await swept(memory, visibilities=("timeline",)))[0]) == sorted(there)


async def test_a_listing_at_rest_takes_two_passes() -> None:
    memory = Memory(marker=False)
    for number in range(1500):
        memory.add(number, number)
    assert len((await swept(memory, visibilities=("timeline",)))[0]) == 1500
    assert memory.requests == 4


@pytest.mark.parametrize("unreadable", [0, 3])
async def test_a_total_above_what_was_seen_asks_for_more_passes_unless_it_counts_the_unreadable(
    unreadable: int,
) -> None:
    class Counted(Memory):
        async def search(self, body: dict[str, Any]) -> Page:
            return replace(await super().search(body), unreadable=unreadable)

        async def total(self, body: dict[str, Any]) -> int:
            return await super().total(body) + 3

    memory = Counted(marker=False)
    there = [memory.add(1)]
    assert (await swept(memory, server("3.0", "asset.statistics"), visibilities=("timeline",)))[0] == there
    assert memory.requests == (2 if unreadable else 9)


async def test_trash_that_pulls_an_asset_over_a_page_border_costs_nothing_but_a_pass() -> None:
    memory = Memory(marker=False, pages_of=lambda size: size // 100)
    there = [memory.add(number, -number) for number in range(30)]

    def trash(number: int) -> None:
        if number == 2:
            del memory.rows[there[0]]

    memory.before = trash
    assert sorted((await swept(memory))[0]) == sorted(there)


@pytest.mark.parametrize("statistics", [(), ("asset.statistics",)])
async def test_on_3_2_work_that_shrinks_the_set_skips_nothing(statistics: tuple[str, ...]) -> None:
    memory = Memory(pages_of=lambda size: size // 100)
    there = {memory.add(number, number) for number in range(200)}
    told: list[str] = []
    of = server("3.2", *statistics)
    async for batch in sweep(
        cast("ImmichClient", memory), of, marker=MARKER, types=("image",), visibilities=("timeline",)
    ):
        told += [asset.id for asset in batch.assets]
        memory.marks.update(told)  # tagged before the next page is asked for
    assert sorted(told) == sorted(there)


@DIALECTS
async def test_a_library_that_is_all_marked_has_nothing_to_do(dialect: str) -> None:
    memory = Memory()
    memory.marks = {memory.add(number, number, visibility="archive") for number in range(20)}
    assets, marked_ids = await swept(memory, server(dialect))
    assert assets == []
    assert set(marked_ids) == memory.marks


@DIALECTS
async def test_an_empty_library_and_a_marker_that_does_not_exist(dialect: str) -> None:
    assert await swept(Memory(), server(dialect)) == ([], [])
    memory = Memory(marker=False)
    there = [memory.add(1)]
    assert await swept(memory, server(dialect)) == (there, [])


@DIALECTS
async def test_only_what_is_asked_for_and_ours(dialect: str) -> None:
    memory = Memory()
    image = memory.add(1)
    video = memory.add(2, type="VIDEO")
    archived = memory.add(3, visibility="archive")
    motion_part = memory.add(4, type="VIDEO", visibility="hidden")
    memory.add(5, isTrashed=True)  # a server that ignores the filter on trash
    partners = memory.add(6, ownerId=uuid(77))
    of = server(dialect)
    assert set((await swept(memory, of))[0]) == {image, video, archived}
    assert set((await swept(memory, of, types=("image",)))[0]) == {image, archived}
    assert set((await swept(memory, of, types=("video",), visibilities=("timeline",)))[0]) == {video}
    assert set((await swept(memory, of, visibilities=("hidden",)))[0]) == {motion_part}
    assert partners in (await swept(memory, server(dialect, user_id=None)))[0]


async def test_on_3_2_a_filter_without_effect_is_noticed_and_done_without() -> None:
    memory = Memory(obeys_none=False, pages_of=lambda size: size // 100)
    there = {memory.add(number, number) for number in range(30)}
    memory.marks = set(sorted(there)[:10])
    assets, marked_ids = await swept(memory, server("3.2"))
    assert sorted(assets) == sorted(there - memory.marks)
    assert set(marked_ids) == memory.marks


async def test_where_neither_has_an_effect_nothing_is_taken_for_marked() -> None:
    memory = Memory(obeys_none=False, flat_works=False)
    memory.marks = {memory.add(number) for number in range(3)}
    with pytest.raises(ServerRefused, match="a tag which does not exist"):
        await swept(memory, server("3.2"))


async def test_marked_looks_everywhere() -> None:
    memory = Memory()
    for number, visibility in enumerate(("timeline", "archive", "hidden", "timeline")):
        memory.add(number, visibility=visibility)
    memory.marks = {uuid(0), uuid(1), uuid(2)}
    found = [asset.id async for batch in tagged(cast("ImmichClient", memory), TAG) for asset in batch]
    assert sorted(found) == sorted(memory.marks)


async def test_pages_without_end_are_noticed() -> None:
    class Circle(Memory):
        async def search(self, body: dict[str, Any]) -> Page:
            page = await super().search({**body, "page": 1})
            return replace(page, next_page=body["page"] + 1)

    memory = Circle(marker=False)
    memory.add(1)
    with pytest.raises(Retryable, match="circles") as caught:
        await swept(memory)
    assert caught.value.kind == "endless-listing"
