"""Searching the stand-in: what is listed, in which order, with which holes."""

from typing import Any

import pytest

from autotagger.demo import Fate, draw_library, tiny_library
from tests.demo.support import DIALECTS, Api, good, running


async def pages(api: Api, size: int, **fields: Any) -> list[str]:
    """All ids over all pages, as listed."""
    ids: list[str] = []
    page: str | None = "1"
    while page is not None:
        found = await api.search(size=size, page=int(page), **fields)
        ids += [item["id"] for item in found["items"]]
        assert found["total"] == found["count"] == len(found["items"])
        page = found["nextPage"]
        assert page is None or isinstance(page, str)
    return ids


@pytest.mark.parametrize("dialect", ["2.7", "3.0"])
async def test_offset_paging_repeats_some_and_skips_some(dialect: str) -> None:
    library = tiny_library(1000, ties=90)
    everything = {asset.id for asset in library.assets}
    async with running(library, dialect) as (_, api):
        first = await pages(api, 100)
        assert len(first) == 1000
        assert set(first) < everything, "some came twice, so others not at all"
        assert await pages(api, 100) == first, "the same question gets the same answer"
        seen = set(first)
        for size in (97, 89, 83, 79, 73, 71, 67, 61):
            seen.update(await pages(api, size))
        assert seen == everything
        assert set(await pages(api, 1000)) == everything


async def test_3_2_breaks_ties() -> None:
    library = tiny_library(300, ties=90)
    async with running(library, "3.2") as (_, api):
        listed = await pages(api, 70)
        assert len(listed) == len(set(listed)) == 300


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_order_is_by_file_created_at(dialect: str) -> None:
    async with running(draw_library(60), dialect) as (_, api):
        for order, newest_first in (({}, True), ({"order": "desc"}, True), ({"order": "asc"}, False)):
            times = [item["fileCreatedAt"] for item in (await api.search(**order))["items"]]
            assert times == sorted(times, reverse=newest_first)
            assert len(set(times)) < len(times)


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_the_default_set_is_everything_but_locked_and_trashed(dialect: str) -> None:
    library = draw_library(40)
    unseen = library.expected[Fate.LOCKED] | library.expected[Fate.TRASHED] | library.expected[Fate.STRANGER]
    async with running(library, dialect) as (_, api):
        assert set(await api.found()) == {asset.id for asset in library.assets} - unseen
        assert library.awkward("motion-video").id in await api.found(type="VIDEO")
        assert library.awkward("motion-video").id not in await api.found(type="VIDEO", visibility="timeline")
        assert await api.found(visibility="archive") == [library.awkward("archived").id]
        assert library.expected[Fate.TRASHED] < set(await api.found(withDeleted=True))
        assert set(await api.found(trashedAfter="2020-01-01T00:00:00.000Z")) == library.expected[Fate.TRASHED]
        assert await api.found(isMotion=True) == [library.awkward("motion-still").id]


async def test_partner_assets_are_listed_with_their_owner() -> None:
    library = draw_library(40)
    async with running(library) as (_, api):
        me = (await api.call("GET", "/api/users/me")).body["id"]
        owners = {item["id"]: item["ownerId"] for item in (await api.search())["items"]}
        assert {asset_id for asset_id, owner in owners.items() if owner != me} == library.expected[Fate.PARTNER]


async def test_locked_needs_more_than_a_key() -> None:
    async with running(draw_library(40), "3.2") as (_, api):
        for body in ({"visibility": "locked"}, {"filter": {"visibility": {"in": ["locked"]}}}):
            answer = await api.call("POST", "/api/search/metadata", body)
            assert (answer.status, answer.body["message"]) == (401, "Elevated permission is required")
        for where in ("random", "statistics"):
            answer = await api.call("POST", f"/api/search/{where}", {"visibility": "locked"})
            assert answer.status == 401


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_tag_searches(dialect: str) -> None:
    async with running(tiny_library(6), dialect) as (server, api):
        first, second, third, *others = good(server.library, 6)
        tags = await api.upsert("a", "b/c")
        await api.tag([first, second], [tags["a"]])
        await api.tag([second, third], [tags["b/c"]])
        parent = server.store.tags_by_value["b"].id
        assert set(await api.found(tagIds=[tags["a"]])) == {first, second}
        assert await api.found(tagIds=[tags["a"], parent]) == [second]
        assert await api.found(tagIds=[tags["a"], tags["a"]]) == [], "distinct tags against the list's length"
        assert set(await api.found(tagIds=None)) == set(others)
        assert len(await api.found(tagIds=[])) == 6
        assert await api.found(tagIds=["4e23bd36-c1fb-4797-817e-f3b6e8dfb0a2"]) == []
        await api.untag(tags["a"], [first])
        assert await api.found(tagIds=[tags["a"]]) == [second], "no stale listing"


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_times_are_inclusive(dialect: str) -> None:
    async with running(tiny_library(4, ties=1), dialect) as (_, api):
        items = (await api.search(order="asc"))["items"]
        second = items[1]
        for name, field in (("created", "createdAt"), ("taken", "fileCreatedAt"), ("updated", "updatedAt")):
            after = set(await api.found(**{f"{name}After": second[field]}))
            before = set(await api.found(**{f"{name}Before": second[field]}))
            assert after == {item["id"] for item in items[1:]}
            assert before == {item["id"] for item in items[:2]}


async def test_statistics_and_random() -> None:
    library = draw_library(60)
    async with running(library) as (_, api):
        images = sum(item["type"] == "IMAGE" for item in (await api.search(size=1000))["items"])
        assert (await api.call("POST", "/api/search/statistics", {"type": "IMAGE"})).body == {"total": images}
        drawn = (await api.call("POST", "/api/search/random", {"size": 10})).body
        assert len({item["id"] for item in drawn}) == 10


async def test_with_exif_drops_what_is_not_extracted_yet() -> None:
    async with running(tiny_library(3)) as (server, api):
        server.jobs.pause()
        new = server.upload()
        assert new in await api.found()
        assert new not in await api.found(withExif=True)
        asset = await api.asset(new)
        assert (asset["width"], asset["thumbhash"]) == (None, None)
        server.jobs.resume()
        await server.settle()
        assert new in await api.found(withExif=True)
        assert (await api.asset(new))["width"] == 320


async def test_an_upload_while_listing_shifts_the_pages() -> None:
    async with running(tiny_library(20, ties=1), "3.2") as (server, api):
        first = await api.found(size=10)
        new = server.upload()
        second = await api.found(size=10, page=2)
        assert set(first) & set(second), "the last of page 1 came again"
        assert await api.found(size=1) == [new]


async def test_trash_archive_lock_and_delete_show_at_once() -> None:
    async with running(tiny_library(5)) as (server, api):
        kept, trashed, archived, locked, deleted = await api.found()
        server.trash(trashed)
        server.set_visibility(archived, "archive")
        server.set_visibility(locked, "locked")
        server.remove(deleted)
        assert set(await api.found()) == {kept, archived}
        assert (await api.asset(trashed))["isTrashed"] is True
        for gone in (locked, deleted):
            assert (await api.call("GET", f"/api/assets/{gone}")).status == 400


async def filtered(api: Api, **fields: Any) -> list[str]:
    """All pages of a search by filter."""
    ids: list[str] = []
    cursor: str | None = None
    while True:
        found = await api.search(**fields, **({} if cursor is None else {"cursor": cursor}))
        ids += [item["id"] for item in found["items"]]
        assert found["nextPage"] is None
        cursor = found["nextCursor"]
        if cursor is None:
            return ids


async def test_3_2_lists_what_has_not_the_marker() -> None:
    library = draw_library(60)
    async with running(library, "3.2") as (_, api):
        marker = (await api.upsert("auto:processed"))["auto:processed"]
        done = good(library, 5)
        await api.tag(done, [marker])
        body = {
            "type": {"eq": "IMAGE"},
            "visibility": {"eq": "timeline"},
            "trashedAt": {"eq": None},
            "tagIds": {"none": [marker]},
        }
        listed = await filtered(api, size=7, filter=body)
        flat = {item["id"] for item in (await api.search(type="IMAGE", visibility="timeline"))["items"]}
        assert len(listed) == len(set(listed))
        assert set(listed) == flat - set(done)
        counted = await api.call("POST", "/api/search/statistics", {"filter": body})
        assert counted.body == {"total": len(listed)}


async def test_3_2_filter_does_not_leave_out_the_trash() -> None:
    library = draw_library(40)
    async with running(library, "3.2") as (_, api):
        found = set(await api.found(filter={"type": {"in": ["IMAGE", "VIDEO"]}}))
        assert library.expected[Fate.TRASHED] < found
        assert not library.expected[Fate.LOCKED] & found


async def test_3_2_filter_conditions() -> None:
    library = draw_library(60)
    async with running(library, "3.2") as (_, api):
        first, second = good(library, 2)
        tags = await api.upsert("a", "b")
        await api.tag([first], tags.values())
        await api.tag([second], [tags["a"]])
        everyone = {"trashedAt": {"eq": None}}
        cases: dict[str, tuple[dict[str, Any], set[str]]] = {
            "any": ({"tagIds": {"any": list(tags.values())}}, {first, second}),
            "all": ({"tagIds": {"all": list(tags.values())}}, {first}),
            "none": ({"tagIds": {"any": [tags["a"]], "none": [tags["b"]]}}, {second}),
            "hasTags": ({"hasTags": {"eq": True}}, {first, second}),
            "id": ({"id": {"eq": first}}, {first}),
            "or": ({"or": [{"id": {"eq": first}}, {"id": {"eq": second}}]}, {first, second}),
            "trash": ({"trashedAt": {"ne": None}}, set(library.expected[Fate.TRASHED])),
            "name": ({"originalFileName": {"startsWith": "ARCH"}}, {library.awkward("archived").id}),
            "city": ({"city": {"eq": "Osaka"}}, set()),
        }
        for name, (condition, expected) in cases.items():
            assert set(await api.found(size=1000, filter=condition)) == expected, name
        assert set(await api.found(filter=everyone, size=1000)) == set(await api.found(size=1000))
        untagged = await api.found(filter=everyone | {"hasTags": {"eq": False}}, size=1000)
        assert len(untagged) == len(await api.found(size=1000)) - 2


@pytest.mark.parametrize(
    "body",
    [
        {"filter": {"type": {"eq": "IMAGE"}}, "visibility": "timeline"},
        {"filter": {"type": {"eq": "IMAGE"}}, "page": 2},
        {"filter": {"nonsense": {"eq": 1}}},
        {"filter": {"type": {"is": "IMAGE"}}},
        {"filter": {"type": {}}},
        {"filter": {"type": {"eq": "image"}}},
        {"filter": {"tagIds": {"none": []}}},
        {"filter": {"tagIds": {"none": ["x"]}}},
        {"filter": {"or": []}},
        {"filter": "type"},
        {"filter": {"type": {"eq": "IMAGE"}}, "cursor": "!"},
        {"cursor": "eyJvZmZzZXQiOjV9"},
    ],
)
async def test_3_2_refuses(body: dict[str, Any]) -> None:
    async with running(tiny_library(3), "3.2") as (_, api):
        answer = await api.call("POST", "/api/search/metadata", body)
        assert answer.status == 400
        assert set(answer.body) in ({"message"}, {"message", "errors"})


async def test_twenty_thousand_assets_list_completely_in_pages_of_a_thousand() -> None:
    library = tiny_library(20_000)
    async with running(library, "3.2") as (_, api):
        assert len(set(await pages(api, 1000, visibility="timeline"))) == 20_000
