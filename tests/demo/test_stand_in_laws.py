"""The laws of Immich that the stand-in must break our tagging with, one by one."""

from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from autotagger.demo import Fate, StandIn, draw_library, tiny_library
from autotagger.demo.faults import Call
from autotagger.demo.jobs import METADATA, SIDECAR
from autotagger.demo.library import READ_ONLY_LIBRARY, WRITABLE_LIBRARY
from autotagger.demo.sidecar import after_round_trip
from tests.demo.support import DIALECTS, good, running

TAGS = [f"tag {number}" for number in range(10)]


def links_of(server: StandIn, asset_ids: list[str]) -> int:
    return sum(len(server.links()[asset_id]) for asset_id in asset_ids)


class JobTime:
    """The jobs' clock: time passes between calls only when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    async def passes(self, server: StandIn, seconds: float) -> None:
        self.now += seconds
        await server.jobs.catch_up()


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    ("pause_s", "least", "most"),
    [(0.005, 50, 300), (0.05, 50, 300), (0.1, 0, 0)],
    ids=["at once", "50 ms apart", "0.1 s apart"],
)
async def test_law_1_several_calls_on_one_asset_lose_tags_for_good(
    dialect: str, pause_s: float, least: int, most: int
) -> None:
    time = JobTime()
    async with running(tiny_library(50), dialect, job_clock=time) as (server, api):
        ids = good(server.library, 50)
        tags = await api.upsert(*TAGS)
        counts = []
        for tag_id in tags.values():
            counts.append((await api.tag(ids, [tag_id])).body["count"])
            await time.passes(server, pause_s)
        await server.settle()
        assert counts == [50] * 10, "Immich says that all went well"
        lost = 500 - links_of(server, ids)
        assert least <= lost <= most, "42 of 500 on the real server, none when 0.1 s apart"
        server.refresh_metadata()
        await server.settle()
        assert least // 2 <= 500 - links_of(server, ids) <= most, "the .xmp files have lost them too"


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_law_1_one_call_per_asset_loses_nothing(dialect: str) -> None:
    async with running(tiny_library(100), dialect) as (server, api):
        ids = good(server.library, 100)
        tags = list((await api.upsert(*TAGS)).values())
        for asset_id in ids[:50]:
            await api.tag([asset_id], tags)
        await api.tag(ids[50:], tags)
        await server.settle()
        assert links_of(server, ids) == 1000


async def test_law_1_the_loss_step_by_step() -> None:
    """A link made after the sidecar was written and before it was read back is deleted, then forgotten."""
    async with running(tiny_library(1)) as (server, api):
        (asset_id,) = good(server.library, 1)
        tags = await api.upsert("first", "second")
        server.jobs.pause(METADATA)
        await api.tag([asset_id], [tags["first"]])
        await server.jobs.settle(SIDECAR)
        server.jobs.pause(SIDECAR)
        await api.tag([asset_id], [tags["second"]])
        assert server.links()[asset_id] == {"first", "second"}
        server.jobs.resume(METADATA)
        await server.jobs.settle(METADATA)
        assert server.links()[asset_id] == {"first"}
        server.jobs.resume()
        await server.settle()
        assert server.links()[asset_id] == {"first"}


async def test_law_1_quick_removals_bring_links_back() -> None:
    time = JobTime()
    async with running(tiny_library(40), job_clock=time) as (server, api):
        ids = good(server.library, 40)
        tags = list((await api.upsert(*TAGS)).values())
        await api.tag(ids, tags)
        await server.settle()
        for tag_id in tags[:5]:
            await api.untag(tag_id, ids)
            await time.passes(server, 0.01)
        await server.settle()
        came_back = links_of(server, ids) - 40 * 5
        assert 1 <= came_back <= 100, "16 of 200 on the real server"


async def test_law_1_delete_drain_delete_brings_none_back() -> None:
    async with running(tiny_library(40)) as (server, api):
        ids = good(server.library, 40)
        tags = list((await api.upsert(*TAGS)).values())
        await api.tag(ids, tags)
        await server.settle()
        for tag_id in tags[:5]:
            await api.untag(tag_id, ids)
            await server.settle()
        assert links_of(server, ids) == 40 * 5


async def test_jobs_that_lose_nothing_lose_nothing() -> None:
    async with running(tiny_library(50), tag_losing_jobs=False) as (server, api):
        ids = good(server.library, 50)
        for tag_id in (await api.upsert(*TAGS)).values():
            await api.tag(ids, [tag_id])
        await server.settle()
        assert links_of(server, ids) == 500


async def test_law_2_what_cannot_be_tagged_is_skipped_and_count_is_new_links_only() -> None:
    async with running(draw_library(40)) as (server, api):
        expected = server.library.expected
        mine = good(server.library, 1)
        foreign = [next(iter(expected[fate])) for fate in (Fate.PARTNER, Fate.STRANGER, Fate.LOCKED)]
        unknown = "4e23bd36-c1fb-4797-817e-f3b6e8dfb0a2"
        tags = await api.upsert("a", "b")
        asked = [*mine, *foreign, unknown]
        answer = await api.tag(asked, [*tags.values(), unknown])
        assert (answer.status, answer.body) == (200, {"count": 2})
        again = await api.tag(asked, tags.values())
        assert again.body == {"count": 0}
        await server.settle()
        assert server.links()[mine[0]] == {"a", "b"}
        assert all(server.links()[asset_id] == frozenset() for asset_id in foreign)


async def test_law_2_a_call_without_a_new_link_starts_no_job() -> None:
    async with running(tiny_library(1)) as (server, api):
        ids = good(server.library, 1)
        tags = await api.upsert("a")
        await api.tag(ids, tags.values())
        await server.settle()
        done = sum(server.jobs.done.values())
        await api.tag(ids, tags.values())
        assert server.settled
        assert sum(server.jobs.done.values()) == done == 2


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_law_3_paging_through_a_shrinking_set_skips_what_moved_up(dialect: str) -> None:
    async with running(tiny_library(400, ties=1), dialect) as (server, api):
        tags = list((await api.upsert("done")).values())
        page = 1
        while found := await api.found(tagIds=None, size=50, page=page):
            await api.tag(found, tags)
            page += 1
        assert links_of(server, good(server.library, 400)) == 200


async def test_law_3_holds_for_the_cursor_too() -> None:
    async with running(tiny_library(400, ties=1), "3.2") as (server, api):
        tags = list((await api.upsert("done")).values())
        body: dict[str, Any] = {"size": 50, "filter": {"tagIds": {"none": tags}}}
        while (page := await api.search(**body))["items"]:
            await api.tag([item["id"] for item in page["items"]], tags)
            if page["nextCursor"] is None:
                break
            body["cursor"] = page["nextCursor"]
        assert links_of(server, good(server.library, 400)) == 200


@pytest.mark.parametrize("dialect", ["2.7", "3.0"])
async def test_law_4_unknown_fields_are_ignored(dialect: str) -> None:
    async with running(tiny_library(5), dialect) as (_, api):
        found = await api.found(filter={"type": {"eq": "VIDEO"}}, cursor="abc", nonsense=1)
        assert len(found) == 5


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_law_5_too_many_links_in_one_call_write_none(dialect: str) -> None:
    async with running(tiny_library(400), dialect) as (server, api):
        ids = good(server.library, 400)
        tags = list((await api.upsert(*(f"t{number}" for number in range(82)))).values())
        answer = await api.tag(ids, tags)
        assert (answer.status, answer.body["message"]) == (500, "Failed to bulk tag assets")
        assert links_of(server, ids) == 0
        assert (await api.tag(ids, tags[:81])).body == {"count": 32_400}


async def test_law_6_a_slash_makes_a_hierarchy() -> None:
    async with running(tiny_library(2)) as (server, api):
        tags = await api.upsert("fate/stay_night", "a//b/")
        assert set(tags) == {"fate/stay_night", "a/b"}
        listed = (await api.call("GET", "/api/tags")).body
        assert [tag["value"] for tag in listed] == ["a", "a/b", "fate", "fate/stay_night"]
        parent, leaf = (
            next(tag for tag in listed if tag["value"] == value) for value in ("fate", "fate/stay_night")
        )
        assert (leaf["name"], leaf["parentId"]) == ("stay_night", parent["id"])
        assert "parentId" not in parent
        (asset_id,) = good(server.library, 1)
        await api.tag([asset_id], [leaf["id"]])
        await server.settle()
        assert server.links()[asset_id] == {"fate/stay_night"}
        assert await api.found(tagIds=[parent["id"]]) == [asset_id], "a search for the parent finds the child's"


CHANGED = {
    **{"1.0": "1", "1.10": "1.1", "0.50": "0.5", "1e5": "100000", "True": "true", "FALSE": "false"},
    **{"null": "undefined", "&amp;": "&", "&#39;": "'", "1e21": "1e+21", "0.0000001": "1e-7", "-0": "0"},
}
SURVIVES = (
    *(":3", "^_^", "+_+", "<3", ">:)", "=", "==", '"quoted"', "it's", ",", ";", "|", "\\", "&", "#", "@", "%20"),
    *("初音ミク", "🎉", "2023", "007", "00", "auto:1girl", "x" * 300, "1,000", "1.", ".5", "nullable", "12 34"),
)


def test_law_7_names_that_change_and_names_that_survive() -> None:
    assert {name: after_round_trip(name) for name in CHANGED} == CHANGED
    assert tuple(after_round_trip(name) for name in SURVIVES) == SURVIVES


async def test_law_7_a_changed_name_becomes_another_tag() -> None:
    async with running(tiny_library(1)) as (server, api):
        (asset_id,) = good(server.library, 1)
        tags = await api.upsert("1.0", ":3")
        await api.tag([asset_id], tags.values())
        assert server.links()[asset_id] == {"1.0", ":3"}
        await server.settle()
        assert server.links()[asset_id] == {"1", ":3"}
        assert [tag["value"] for tag in (await api.asset(asset_id))["tags"]] == ["1", ":3"]


async def test_law_8_a_deleted_tag_comes_back_from_the_xmp() -> None:
    async with running(tiny_library(2)) as (server, api):
        kept, untagged = good(server.library, 2)
        tags = await api.upsert("a")
        await api.tag([kept, untagged], tags.values())
        await server.settle()
        await api.untag(tags["a"], [untagged])
        await server.settle()
        assert (await api.call("DELETE", f"/api/tags/{tags['a']}")).status == 204
        assert server.settled, "no job follows"
        assert server.links()[kept] == frozenset()
        server.refresh_metadata()
        await server.settle()
        assert server.links() == {kept: {"a"}, untagged: frozenset()}
        assert (await api.upsert("a"))["a"] != tags["a"]


async def test_law_8_deleting_a_parent_deletes_its_children() -> None:
    async with running(tiny_library(1)) as (server, api):
        await api.upsert("a/b/c", "d")
        server.delete_tag("a")
        assert set(server.store.tags_by_value) == {"d"}


async def test_law_9_cookies_and_bearer_tokens_win_over_the_key() -> None:
    async with running(tiny_library(1)) as (_, api):
        for header in ({"Cookie": "immich_access_token=x"}, {"Authorization": "Bearer y"}):
            answer = await api.call("GET", "/api/tags", headers=header)
            assert (answer.status, answer.body["message"]) == (401, "Invalid user token")
        assert (await api.call("GET", "/api/tags")).status == 200


async def test_law_10_a_redirect_takes_the_key_to_another_origin() -> None:
    """As most clients follow it; that ours does not is tests/immich/test_transport.py's."""
    arrived: list[str | None] = []

    async def note(call: Call) -> web.StreamResponse | None:
        arrived.append(call.request.headers.get("x-api-key"))
        return None

    async with running(tiny_library(1), faults=note) as (elsewhere, _), running(tiny_library(1)) as (server, _):

        async def redirect(_: Call) -> web.StreamResponse | None:
            raise web.HTTPTemporaryRedirect(f"{elsewhere.url}/api/tags")

        server.faults = redirect
        key = {"x-api-key": server.api_key}
        async with aiohttp.ClientSession() as session, session.get(f"{server.url}/api/tags", headers=key):
            pass
        assert arrived == [server.api_key]


async def test_law_11_tags_do_not_stick_on_a_read_only_library() -> None:
    async with running(draw_library(40)) as (server, api):
        libraries = {READ_ONLY_LIBRARY: 0, WRITABLE_LIBRARY: 3}
        tags = list((await api.upsert("a", "b", "c")).values())
        for library_id, left in libraries.items():
            asset_id = (await api.found(libraryId=library_id))[0]
            assert (await api.tag([asset_id], tags)).body == {"count": 3}
            await server.settle()
            assert len((await api.asset(asset_id))["tags"]) == left


async def test_an_assets_updated_at_moves_once_when_its_jobs_have_written_back() -> None:
    async with running(tiny_library(2)) as (server, api):
        tagged, other = good(server.library, 2)
        before = {asset_id: (await api.asset(asset_id))["updatedAt"] for asset_id in (tagged, other)}
        server.jobs.pause(METADATA)
        await api.tag([tagged], (await api.upsert("a")).values())
        await server.jobs.settle(SIDECAR)
        assert (await api.asset(tagged))["updatedAt"] == before[tagged]
        assert await api.found(updatedAfter="2026-03-01T00:00:00.000Z") == []
        server.jobs.resume()
        await server.settle()
        assert (await api.asset(tagged))["updatedAt"] > before[tagged]
        assert (await api.asset(other))["updatedAt"] == before[other]
        assert await api.found(updatedAfter="2026-03-01T00:00:00.000Z") == [tagged]


async def test_the_clean_up_takes_empty_tags_and_their_ids_are_skipped_silently() -> None:
    async with running(tiny_library(1)) as (server, api):
        (asset_id,) = good(server.library, 1)
        tags = await api.upsert("parent/used", "empty")
        await api.tag([asset_id], [tags["parent/used"]])
        assert server.clean_up_tags() == 1
        assert set(server.store.tags_by_value) == {"parent", "parent/used"}
        assert (await api.tag([asset_id], [tags["empty"]])).body == {"count": 0}


async def test_a_posted_tag_is_not_found_by_searches_before_a_job_ran() -> None:
    async with running(tiny_library(1)) as (server, api):
        (asset_id,) = good(server.library, 1)
        tag_id = (await api.call("POST", "/api/tags", {"name": "new"})).body["id"]
        await api.tag([asset_id], [tag_id])
        assert await api.found(tagIds=[tag_id]) == []
        await server.settle()
        assert await api.found(tagIds=[tag_id]) == [asset_id]


async def test_settle_says_when_it_never_would() -> None:
    async with running(tiny_library(1)) as (server, api):
        server.jobs.pause()
        await api.tag(good(server.library, 1), (await api.upsert("a")).values())
        with pytest.raises(RuntimeError, match="paused"):
            await server.settle()
        assert not server.settled
        server.jobs.resume()
        await server.settle()
        assert server.settled


async def test_a_tag_on_an_asset_whose_metadata_is_still_to_be_read_is_wiped() -> None:
    async with running(tiny_library(1)) as (server, api):
        server.jobs.pause(SIDECAR)
        new = server.upload()
        await api.tag([new], (await api.upsert("early")).values())
        assert server.links()[new] == {"early"}
        await server.jobs.settle(METADATA)
        assert server.links()[new] == frozenset()
        server.jobs.resume()
        await server.settle()
        assert server.links()[new] == frozenset()


async def test_dates_and_updated_at_come_from_one_clock() -> None:
    now = datetime(2030, 5, 6, 7, 8, 9, tzinfo=UTC)
    async with running(tiny_library(1), clock=now.timestamp) as (server, api):
        (asset_id,) = good(server.library, 1)
        answer = await api.tag([asset_id], (await api.upsert("a")).values())
        await server.settle()
        assert answer.headers["Date"] == "Mon, 06 May 2030 07:08:09 GMT"
        assert (await api.asset(asset_id))["updatedAt"] == "2030-05-06T07:08:09.000Z"


async def test_a_limited_server_takes_its_time() -> None:
    async with running(tiny_library(5), jobs_per_s=0.1, job_delay_s=0.0) as (server, api):
        ids = good(server.library, 5)
        tags = list((await api.upsert("a")).values())
        for asset_id in ids:
            await api.tag([asset_id], tags)
        assert server.jobs.done[SIDECAR] <= 1, "the next job starts ten seconds later"
        await server.settle()
        assert links_of(server, ids) == 5
