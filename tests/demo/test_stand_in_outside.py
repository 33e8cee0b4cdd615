"""Laws 12 to 22: clocks, removals, other hands, edits, and what Immich will take away."""

import asyncio
import io
from collections.abc import Callable
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
from PIL import Image

from autotagger.demo import StandIn, draw_library, tiny_library
from autotagger.demo.edits import Crop, Mirror, Rotate, edited
from autotagger.demo.jobs import METADATA
from tests.demo.support import ALL_DIALECTS, Api, good, running

NOW_S = 1_800_000_000.0
MARKER = "auto:processed"
A_UUID = "4e23bd36-c1fb-4797-817e-f3b6e8dfb0a2"


def seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


@pytest.mark.parametrize("skew_s", [600.0, -600.0])
@pytest.mark.parametrize("which", ["proxy", "database"])
async def test_law_12_the_proxy_and_the_database_have_clocks_of_their_own(which: str, skew_s: float) -> None:
    skews: dict[str, Any] = {f"{which}_skew_s": skew_s}
    async with running(tiny_library(1), clock=lambda: NOW_S, **skews) as (server, api):
        (asset_id,) = good(server.library, 1)
        made = await api.call("PUT", "/api/tags", {"tags": ["a"]})
        await api.tag([asset_id], [made.body[0]["id"]])
        await server.settle()
        date_s = parsedate_to_datetime(made.headers["Date"]).timestamp()
        database_s = NOW_S + skew_s * (which == "database")
        assert date_s == NOW_S + skew_s * (which == "proxy")
        assert seconds(made.body[0]["createdAt"]) == database_s
        assert seconds((await api.asset(asset_id))["updatedAt"]) == database_s
        uploaded = await api.asset(server.upload())
        assert seconds(uploaded["createdAt"]) == database_s
        server.proxy_skew_s, server.database_skew_s = 1.0, 2.0
        later = await api.call("PUT", "/api/tags", {"tags": ["b"]})
        assert parsedate_to_datetime(later.headers["Date"]).timestamp() == NOW_S + 1
        assert seconds(later.body[0]["createdAt"]) == NOW_S + 2


async def many_tags(server: StandIn, api: Api, assets: int, stay: int, go: int) -> tuple[list[str], list[str]]:
    """Tag assets, let it settle; the assets, and the ids of the tags that are to go."""
    ids = good(server.library, assets)
    leaving = list((await api.upsert(*(f"go {number}" for number in range(go)))).values())
    staying = list((await api.upsert(*(f"stay {number}" for number in range(stay)))).values())
    await api.tag(ids, [*leaving, *staying])
    await server.settle()
    return ids, leaving


def held(server: StandIn, start: str) -> int:
    return sum(value.startswith(start) for values in server.links().values() for value in values)


async def test_law_13_some_removals_come_back_once_and_what_stays_stays() -> None:
    library = tiny_library(50)
    options: dict[str, Any] = {"tag_losing_jobs": False, "removals_come_back": 0.1}
    outcomes = []
    for _ in range(2):
        async with running(library, **options, job_clock=lambda: 0.0) as (server, api):
            ids, leaving = await many_tags(server, api, 50, stay=5, go=10)
            for tag_id in leaving:
                await api.untag(tag_id, ids)
            await server.settle()
            outcomes.append({asset_id: sorted(values) for asset_id, values in server.links().items()})
            assert 20 <= held(server, "go") <= 90, "95 of 1,000 on the real server"
            for tag_id in leaving:
                await api.untag(tag_id, ids)
            await server.settle()
            assert (held(server, "go"), held(server, "stay")) == (0, 250)
    assert outcomes[0] == outcomes[1], "the seed decides"


async def test_law_13_one_removal_alone_never_comes_back() -> None:
    async with running(tiny_library(20), removals_come_back=1.0) as (server, api):
        ids, (tag_id,) = await many_tags(server, api, 20, stay=1, go=1)
        await api.untag(tag_id, ids)
        await server.settle()
        assert held(server, "go") == 0


@pytest.mark.parametrize(
    ("parallel", "lose", "lost"), [(True, 0.2, True), (True, 0.0, False), (False, 0.2, False)]
)
async def test_law_13_parallel_removals_lose_links_that_were_to_stay(
    parallel: bool, lose: float, lost: bool
) -> None:
    options: dict[str, Any] = {"tag_losing_jobs": False, "parallel_removals_lose": lose}
    async with running(tiny_library(60), **options) as (server, api):
        ids, leaving = await many_tags(server, api, 60, stay=5, go=8)
        if parallel:
            await asyncio.gather(*(api.untag(tag_id, ids) for tag_id in leaving))
        else:
            for tag_id in leaving:
                await api.untag(tag_id, ids)
        await server.settle()
        bare = [asset_id for asset_id in ids if not server.links()[asset_id]]
        assert bool(bare) is lost
        assert held(server, "stay") == 5 * (60 - len(bare)), "an asset loses all of them or none"
        assert len(bare) < 60


async def test_law_14_resolving_duplicates_copies_tags_and_marker_and_trashes_the_others() -> None:
    async with running(tiny_library(3)) as (server, api):
        kept, first, second = good(server.library, 3)
        server.tag(kept, "holiday")
        server.tag(first, MARKER, "1girl")
        server.tag(second, "mine")
        await server.settle()
        server.resolve_duplicates(kept, first, second)
        await server.settle()
        server.refresh_metadata()
        await server.settle()
        assert server.links()[kept] == {"holiday", MARKER, "1girl", "mine"}
        assert await api.found() == [kept]
        assert (await api.asset(first))["isTrashed"] is True


async def test_law_15_a_restored_backup_knows_nothing_of_today() -> None:
    async with running(tiny_library(4)) as (server, api):
        first, second, deleted, _ = good(server.library, 4)
        server.tag(first, "old", "deleted today")
        await server.settle()
        backup = server.backup()
        server.tag(second, MARKER, "new")
        server.delete_tag("deleted today")
        server.remove(deleted)
        uploaded = server.upload()
        await server.settle()
        server.tag(first, "under way")
        server.restore_backup(backup)
        assert server.settled, "no job outlives it"
        assert server.links() == {
            first: {"old", "deleted today"},
            second: frozenset(),
            deleted: frozenset(),
            good(server.library, 4)[3]: frozenset(),
        }
        assert {tag["value"] for tag in (await api.call("GET", "/api/tags")).body} == {"old", "deleted today"}
        assert uploaded not in await api.found()
        old = server.store.tags_by_value["old"].id
        assert await api.found(tagIds=[old]) == [first]
        server.refresh_metadata(second)
        await server.settle()
        assert server.links()[second] == {MARKER, "new"}, "the .xmp files are of today"
        server.restore_backup(backup)
        assert server.links()[second] == frozenset(), "and again"


@pytest.mark.parametrize("with_xmp", [True, False])
async def test_law_15_a_reimport_makes_new_ids_of_the_same_checksums(with_xmp: bool) -> None:
    async with running(tiny_library(2)) as (server, api):
        first, second = good(server.library, 2)
        server.tag(first, MARKER, "1girl")
        await server.settle()
        checksums = {asset_id: (await api.asset(asset_id))["checksum"] for asset_id in (first, second)}
        new = server.reimport(with_xmp=with_xmp)
        await server.settle()
        assert set(await api.found()) == set(new.values())
        assert not set(new) & set(new.values())
        for old_id, new_id in new.items():
            assert (await api.asset(new_id))["checksum"] == checksums[old_id]
            assert (await api.picture(new_id)).status == 200
        assert server.links()[new[first]] == ({MARKER, "1girl"} if with_xmp else frozenset())
        again = server.reimport(new[first])
        assert (await api.asset(again[new[first]]))["checksum"] == checksums[first]


async def test_law_15_a_tag_removed_in_the_explorer_comes_back_with_the_next_metadata_job() -> None:
    async with running(tiny_library(1)) as (server, _):
        (asset_id,) = good(server.library, 1)
        server.tag(asset_id, "a", "b")
        await server.settle()
        server.untag(asset_id, "a", sidecar=False)
        assert server.settled
        assert server.links()[asset_id] == {"b"}
        server.refresh_metadata(asset_id)
        await server.settle()
        assert server.links()[asset_id] == {"a", "b"}


async def test_law_15_and_22_a_tag_deleted_as_a_whole_leaves_every_asset_at_once_and_starts_no_job() -> None:
    async with running(tiny_library(30)) as (server, api):
        ids = good(server.library, 30)
        before = {}
        for asset_id in ids:
            server.tag(asset_id, MARKER, "1girl")
        await server.settle()
        before = {asset_id: (await api.asset(asset_id))["updatedAt"] for asset_id in ids}
        server.delete_tag(MARKER)
        assert server.settled
        assert set(server.links().values()) == {frozenset({"1girl"})}
        assert {asset_id: (await api.asset(asset_id))["updatedAt"] for asset_id in ids} == before


async def test_law_17_one_xmp_that_cannot_be_written() -> None:
    async with running(tiny_library(2)) as (server, api):
        bad, fine = good(server.library, 2)
        server.tag(bad, "earlier")
        await server.settle()
        server.make_sidecar_unwritable(bad)
        tags = await api.upsert("a")
        assert (await api.tag([bad, fine], tags.values())).body == {"count": 2}
        await server.settle()
        assert server.links() == {bad: {"earlier"}, fine: {"a"}}
        server.make_sidecar_unwritable(bad, False)
        await api.tag([bad], tags.values())
        await server.settle()
        assert server.links()[bad] == {"earlier", "a"}


def opened(body: bytes) -> Image.Image:
    return Image.open(io.BytesIO(body)).convert("RGB")


@pytest.mark.parametrize("dialect", ALL_DIALECTS)
async def test_law_19_an_edited_picture_is_shown_edited_only_to_those_who_ask(dialect: str) -> None:
    async with running(draw_library(60), dialect) as (server, api):
        asset_id = server.library.awkward("grey").id  # 900 x 700
        before = await api.asset(asset_id)
        path = f"/api/assets/{asset_id}"
        edits = [
            {"action": "crop", "parameters": {"x": 10, "y": 20, "width": 300, "height": 200}},
            {"action": "rotate", "parameters": {"angle": 90}},
        ]
        answer = await api.call("PUT", f"{path}/edits", {"edits": edits})
        assert answer.status == 200
        assert [{**edit, "id": None} for edit in answer.body["edits"]] == [{**edit, "id": None} for edit in edits]
        assert (await api.asset(asset_id))["thumbhash"] == before["thumbhash"], "a job makes the new one"
        await server.settle()
        after = await api.asset(asset_id)
        assert (after["isEdited"], after["width"], after["height"]) == (True, 200, 300)
        assert after["thumbhash"] != before["thumbhash"]
        assert after["updatedAt"] > before["updatedAt"]
        assert after["checksum"] == before["checksum"], "the file is what it was"
        for call in ("thumbnail?size=preview", "thumbnail?size=thumbnail", "original?x=1"):
            plain, unedited, shown = [
                opened((await api.call("GET", f"{path}/{call}{more}")).raw)
                for more in ("", "&edited=false", "&edited=true")
            ]
            assert plain.size == unedited.size
            assert plain.width > plain.height
            assert shown.width < shown.height, call
        assert (await api.call("DELETE", f"{path}/edits")).status == 204
        await server.settle()
        assert (await api.asset(asset_id))["thumbhash"] == before["thumbhash"]
        assert (await api.call("GET", f"{path}/edits")).body["edits"] == []


@pytest.mark.parametrize(
    "edits",
    [
        [],
        [{"action": "crop", "parameters": {"x": 0, "y": 0, "width": 901, "height": 1}}],
        [{"action": "crop", "parameters": {"x": 0, "y": 0, "width": 0, "height": 1}}],
        [{"action": "rotate", "parameters": {"angle": 45}}],
        [{"action": "mirror", "parameters": {"axis": "x"}}],
        [{"action": "paint", "parameters": {}}],
    ],
)
async def test_law_19_edits_that_are_refused(edits: list[Any]) -> None:
    async with running(draw_library(60)) as (server, api):
        asset_id = server.library.awkward("grey").id
        answer = await api.call("PUT", f"/api/assets/{asset_id}/edits", {"edits": edits})
        assert answer.status == 400
        assert not server.store.rows[asset_id].edits
        assert (await api.call("GET", f"/api/assets/{asset_id}/thumbnail?edited=maybe")).status == 400


def test_law_19_what_each_edit_does() -> None:
    media = draw_library(60).awkward("grey").media
    whole = opened(media.original())
    cases: dict[Crop | Rotate | Mirror, Callable[[Image.Image], Image.Image]] = {
        Crop(1, 2, 3, 4): lambda picture: picture.crop((1, 2, 4, 6)),
        Rotate(90): lambda picture: picture.transpose(Image.Transpose.ROTATE_270),
        Rotate(180): lambda picture: picture.transpose(Image.Transpose.ROTATE_180),
        Mirror("horizontal"): lambda picture: picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        Mirror("vertical"): lambda picture: picture.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
    }
    for edit, expected in cases.items():
        made = edited(media, [edit])
        shown = opened(made.original())
        assert shown.tobytes() == expected(whole).tobytes(), edit
        assert shown.size == (made.width, made.height)


async def test_law_20_version_4_ignores_all_flat_fields() -> None:
    library = draw_library(60)
    async with running(library, "4") as (server, api):
        everything = set(await api.found(size=1000))
        archived = library.awkward("archived").id
        flat = {
            "visibility": "archive",
            "type": "IMAGE",
            "tagIds": [A_UUID],
            "page": 7,
            "createdAfter": "2999-01-01",
        }
        assert set(await api.found(size=1000, **flat)) == everything
        assert await api.found(filter={"visibility": {"eq": "archive"}}, **flat) == [archived], "no 400 for both"
        counted = await api.call("POST", "/api/search/statistics", flat)
        assert counted.body == {"total": len(everything)}
        tags = await api.upsert(MARKER)
        first, second = good(library, 2)
        await api.tag([first, second], tags.values())
        await server.settle()
        when = (await api.asset(second))["updatedAt"]
        found = {
            "marked": await api.found(filter={"tagIds": {"all": list(tags.values())}}),
            "settled": await api.found(filter={"updatedAt": {"gte": when}}),
            "made": await api.found(filter={"createdAt": {"gte": when}}),
            "upload": await api.found(filter={"libraryId": {"eq": None}, "id": {"eq": first}}),
            "album": await api.found(filter={"albumIds": {"any": [A_UUID]}}),
        }
        assert set(found["marked"]) == {first, second}
        assert second in found["settled"]
        assert (found["made"], found["upload"], found["album"]) == ([], [first], [])
        page = await api.search(size=10, filter={"trashedAt": {"eq": None}})
        assert page["nextPage"] is None
        following = await api.search(size=10, filter={"trashedAt": {"eq": None}}, cursor=page["nextCursor"])
        assert not {item["id"] for item in page["items"]} & {item["id"] for item in following["items"]}


@pytest.mark.parametrize(
    ("dialect", "methods"), [("2.7", {"PUT"}), ("3.0", {"PUT"}), ("3.2", {"PUT", "PATCH"}), ("4", {"PATCH"})]
)
async def test_law_20_assets_are_changed_by_patch_in_the_end(dialect: str, methods: set[str]) -> None:
    async with running(tiny_library(2), dialect) as (server, api):
        (asset_id,) = good(server.library, 1)
        for method in ("PUT", "PATCH"):
            server.set_visibility(asset_id, "timeline")
            body = {"ids": [asset_id], "visibility": "archive"}
            answer = await api.call(method, "/api/assets", body)
            assert answer.status == (204 if method in methods else 404)
            shown = server.store.rows[asset_id].visibility
            assert shown == ("archive" if method in methods else "timeline")


async def test_law_21_tags_may_be_switched_off_and_exist_all_the_same() -> None:
    async with running(tiny_library(1), "2.7", tags_enabled=False) as (server, api):
        (asset_id,) = good(server.library, 1)
        await api.tag([asset_id], (await api.upsert("a")).values())
        preferences = (await api.call("GET", "/api/users/me/preferences")).body
        assert preferences["tags"]["enabled"] is False
        assert server.links()[asset_id] == {"a"}
        server.tags_enabled = True
        assert (await api.call("GET", "/api/users/me/preferences")).body["tags"]["enabled"] is True


@pytest.mark.parametrize("dialect", ALL_DIALECTS)
async def test_law_21_a_locked_picture_is_neither_deleted_nor_in_the_trash(dialect: str) -> None:
    async with running(tiny_library(2), dialect) as (server, api):
        locked, _ = good(server.library, 2)
        server.tag(locked, "a")
        await server.settle()
        server.set_visibility(locked, "locked")
        tag_id = server.store.tags_by_value["a"].id
        by = {"filter": {"tagIds": {"all": [tag_id]}}} if dialect in ("3.2", "4") else {"tagIds": [tag_id]}
        assert await api.found(**by) == [], "no search shows it"
        assert (await api.call("GET", f"/api/assets/{locked}")).status == 400
        await api.untag(tag_id, [locked])
        assert (await api.tag([locked], (await api.upsert("b")).values())).body == {"count": 0}
        server.set_visibility(locked, "timeline")
        assert (await api.asset(locked))["isTrashed"] is False


async def test_a_metadata_job_that_waits_when_a_picture_is_reimported_touches_nothing() -> None:
    async with running(tiny_library(1)) as (server, _):
        (asset_id,) = good(server.library, 1)
        server.jobs.pause(METADATA)
        server.tag(asset_id, "a")
        new = server.reimport(asset_id, with_xmp=False)
        server.jobs.resume()
        await server.settle()
        assert server.links() == {new[asset_id]: frozenset()}
