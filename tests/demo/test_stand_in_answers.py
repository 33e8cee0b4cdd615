"""The stand-in's answers off the good path: keys, permissions, refusals, odd requests, faults."""

import socket
from typing import Any

import aiohttp
import pytest

from autotagger.demo import StandIn, faults, tiny_library
from tests.demo.support import DIALECTS, good, running

UNKNOWN = "4e23bd36-c1fb-4797-817e-f3b6e8dfb0a2"
LEAST = ("asset.read", "asset.view", "tag.read", "tag.create", "tag.asset")
PERMISSIONS = [
    ("GET", "/api/users/me", "user.read"),
    ("GET", "/api/users/me/preferences", "userPreference.read"),
    ("POST", "/api/search/metadata", "asset.read"),
    ("POST", "/api/search/random", "asset.read"),
    ("POST", "/api/search/statistics", "asset.statistics"),
    ("GET", f"/api/assets/{UNKNOWN}", "asset.read"),
    ("GET", f"/api/assets/{UNKNOWN}/thumbnail", "asset.view"),
    ("GET", f"/api/assets/{UNKNOWN}/original", "asset.download"),
    ("GET", "/api/tags", "tag.read"),
    ("PUT", "/api/tags", "tag.create"),
    ("POST", "/api/tags", "tag.create"),
    ("PUT", "/api/tags/assets", "tag.asset"),
    ("PUT", f"/api/tags/{UNKNOWN}/assets", "tag.asset"),
    ("DELETE", f"/api/tags/{UNKNOWN}/assets", "tag.asset"),
    ("DELETE", f"/api/tags/{UNKNOWN}", "tag.delete"),
    ("GET", "/api/queues", "queue.read"),
    ("GET", "/api/jobs", "job.read"),
]


@pytest.mark.parametrize(("method", "path", "permission"), PERMISSIONS)
async def test_a_missing_permission_is_named(method: str, path: str, permission: str) -> None:
    async with running(tiny_library(1)) as (server, api):
        key = server.add_key(sorted({held for _, _, held in PERMISSIONS} - {permission}))
        refused = await api.call(method, path, {}, key=key)
        assert (refused.status, refused.body) == (403, {"message": f"Missing required permission: {permission}"})
        allowed = await api.call(method, path, {}, key=server.add_key([permission]))
        assert allowed.status != 403


async def test_keys() -> None:
    async with running(tiny_library(1)) as (server, api):
        key = server.add_key(LEAST)
        assert (await api.call("GET", "/api/api-keys/me", key=key)).body["permissions"] == list(LEAST)
        assert (await api.call("GET", "/api/server/version", key="")).status == 200
        no_key = await api.call("GET", "/api/tags", key="")
        assert (no_key.status, no_key.body) == (401, {"message": "Authentication required"})
        server.revoke_key(key)
        revoked = await api.call("GET", "/api/tags", key=key)
        assert (revoked.status, revoked.body) == (401, {"message": "Invalid API key"})


async def test_the_2_7_error_body() -> None:
    async with running(tiny_library(1), "2.7") as (_, api):
        body = (await api.call("GET", f"/api/assets/{UNKNOWN}")).body
        assert len(body.pop("correlationId")) == 8
        assert body == {"message": "Not found or no asset.read access", "error": "Bad Request", "statusCode": 400}


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    "body",
    [
        {"size": 0},
        {"size": 1001},
        {"size": 1.5},
        {"size": True},
        {"page": 0},
        {"page": "two"},
        {"type": "image"},
        {"visibility": "all"},
        {"tagIds": "x"},
        {"tagIds": ["00000000-0000-1000-8000-000000000000"]},
        {"libraryId": "x"},
        {"withExif": 1},
        {"updatedAfter": "yesterday"},
        {"updatedAfter": "2026-13-01T00:00:00Z"},
    ],
)
async def test_malformed_fields(dialect: str, body: dict[str, Any]) -> None:
    async with running(tiny_library(1), dialect) as (_, api):
        answer = await api.call("POST", "/api/search/metadata", body)
        assert answer.status == 400
        if dialect == "2.7":
            assert all(isinstance(line, str) and next(iter(body)) in line for line in answer.body["message"])
        else:
            assert answer.body["message"] == "Validation failed"
            assert answer.body["errors"][0]["path"][0] == next(iter(body))


@pytest.mark.parametrize(("dialect", "status"), [("2.7", 200), ("3.0", 400), ("3.2", 400)])
async def test_a_page_as_text_is_converted_by_2_7_only(dialect: str, status: int) -> None:
    async with running(tiny_library(3), dialect) as (_, api):
        answer = await api.call("POST", "/api/search/metadata", {"page": "2", "size": 2})
        assert answer.status == status
        if status == 200:
            assert answer.body["assets"]["count"] == 1


async def test_bodies_that_are_not_what_they_should_be() -> None:
    async with running(tiny_library(3)) as (_, api):
        cut = await api.call("POST", "/api/search/metadata", b'{"size":')
        assert (cut.status, cut.body) == (400, {"message": "Unexpected end of JSON input"})
        wrong = await api.call("POST", "/api/search/metadata", b'{"size" 1}')
        assert wrong.status == 400
        large = await api.call("POST", "/api/search/metadata", b" " * (11 << 20))
        assert (large.status, large.body) == (500, {"message": "Internal server error"})
        unseen = await api.call(
            "POST", "/api/search/metadata", b'{"size":1}', headers={"Content-Type": "text/plain"}
        )
        assert unseen.body["assets"]["count"] == 3, "only a JSON content type is looked at"
        nothing = await api.call("PUT", "/api/tags/assets", {})
        assert [problem["message"] for problem in nothing.body["errors"]] == [
            "Invalid input: expected array, received undefined"
        ] * 2


async def test_a_wrong_base_url_seems_to_work() -> None:
    async with running(tiny_library(1)) as (_, api):
        page = await api.call("GET", "/server/version")
        assert (page.status, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
        missing = await api.call("GET", "/api/api/server/version")
        assert (missing.status, missing.body) == (404, {"message": "Cannot GET /api/api/server/version"})
        assert (await api.call("POST", "/api/tags/assets", {})).status == 404
        assert (await api.call("POST", "/search/metadata", {})).status == 404


async def test_removing_and_adding_answer_asset_by_asset() -> None:
    async with running(tiny_library(2)) as (server, api):
        first, second = good(server.library, 2)
        tags = await api.upsert("a")
        path = f"/api/tags/{tags['a']}/assets"
        added = await api.call("PUT", path, {"ids": [first, first, UNKNOWN]})
        assert added.body == [
            {"id": first, "success": True},
            {"id": first, "success": False, "error": "duplicate"},
            {"id": UNKNOWN, "success": False, "error": "no_permission"},
        ]
        removed = await api.untag(tags["a"], [first, first, second])
        assert removed.body == [
            {"id": first, "success": True},
            {"id": first, "success": False, "error": "not_found"},
            {"id": second, "success": False, "error": "not_found"},
        ]
        assert (await api.untag(UNKNOWN, [first])).status == 400


async def test_upsert_answers_one_leaf_per_distinct_value() -> None:
    async with running(tiny_library(1), "2.7") as (_, api):
        answer = await api.call("PUT", "/api/tags", {"tags": ["b", "a", "b", "a/c"]})
        assert [tag["value"] for tag in answer.body] == ["b", "a", "a/c"]
        assert (await api.call("PUT", "/api/tags", {"tags": [""]})).status == 400
    async with running(tiny_library(1), "3.0") as (_, api):
        assert (await api.call("PUT", "/api/tags", {"tags": ["", "/"]})).body == []


async def test_calls_are_counted_and_the_state_can_be_read_from_outside() -> None:
    async with running(tiny_library(2)) as (server, api):
        first, second = good(server.library, 2)
        server.jobs.pause()
        await api.tag([first], (await api.upsert("a", "b")).values())
        for size in ("preview", "preview", "thumbnail"):
            await api.picture(first, size)
        await api.call("GET", f"/api/assets/{first}/original")
        await api.search()
        counted = {"upsert_tags": 1, "tag_assets": 1, "preview": 2, "thumbnail": 1, "original": 1, "search": 1}
        assert server.calls == counted
        assert (await api.call("GET", "/demo/settled", key="")).body == {"settled": False}
        server.jobs.resume()
        await server.settle()
        state = (await api.call("GET", "/demo/state", key="")).body
        assert state == {"calls": counted, "assets": 2, "tags": 2, "settled": True}
        with_links = (await api.call("GET", "/demo/state?links=1", key="")).body
        assert with_links["links"] == {first: ["a", "b"], second: []}


async def test_queues_tell_what_is_left() -> None:
    async with running(tiny_library(3)) as (server, api):
        server.jobs.pause()
        await api.tag(good(server.library, 3), (await api.upsert("a")).values())
        queues = {queue["name"]: queue for queue in (await api.call("GET", "/api/queues")).body}
        assert queues["sidecar"]["statistics"]["paused"] == 3
        assert queues["sidecar"]["isPaused"] is True
        jobs = (await api.call("GET", "/api/jobs")).body
        assert jobs["sidecar"]["jobCounts"]["paused"] == 3
        server.jobs.resume()
        await server.settle()


async def test_faults_stand_in_for_the_answer() -> None:
    async def faulty(call: faults.Call) -> Any:
        if call.name == "search" and call.number == 1:
            return faults.status(429, retry_after="2")
        if call.name == "search" and call.number == 2:
            return await faults.half_body(call.request, b'{"assets": {}}', "application/json")
        if call.name == "search" and call.number == 3:
            return faults.dropped(call.request)
        if call.name == "search" and call.number == 4:
            raise LookupError("the database went away")
        return None

    async with running(tiny_library(1), faults=faulty) as (server, api):
        limited = await api.call("POST", "/api/search/metadata", {})
        assert (limited.status, limited.headers["Retry-After"]) == (429, "2")
        with pytest.raises(aiohttp.ClientPayloadError):
            await api.search()
        with pytest.raises(aiohttp.ClientConnectionError):
            await api.search()
        broken = await api.call("POST", "/api/search/metadata", {})
        assert (broken.status, broken.body) == (500, {"message": "Internal server error"})
        assert len(await api.found()) == 1
        server.faults = None
        assert server.calls["search"] == 5


async def test_down_and_up_again_on_the_same_port_with_the_same_data() -> None:
    async with running(tiny_library(1)) as (server, api):
        await api.upsert("a")
        await server.go_down()
        with pytest.raises(aiohttp.ClientConnectionError):
            await api.search()
        await server.come_up()
        assert [tag["value"] for tag in (await api.call("GET", "/api/tags")).body] == ["a"]


async def test_two_servers_share_a_library_and_nothing_else() -> None:
    library = tiny_library(2)
    async with running(library) as (one, api), running(library) as (other, _):
        await api.tag(good(library, 2), (await api.upsert("a")).values())
        await one.settle()
        assert set(one.links().values()) == {frozenset({"a"})}
        assert set(other.links().values()) == {frozenset()}


async def test_a_fixed_port_can_be_asked_for() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    async with StandIn(tiny_library(1), port=port) as server:
        assert server.url == f"http://127.0.0.1:{port}"


def test_an_unknown_dialect_is_refused() -> None:
    with pytest.raises(ValueError, match=r"2\.7, 3\.0, 3\.2 or 4"):
        StandIn(tiny_library(1), "1.0")


async def test_large_answers_are_compressed_and_json_can_be_asked_for_conditionally() -> None:
    async with running(tiny_library(50)) as (server, api):
        page = await api.call("POST", "/api/search/metadata", {"size": 50})
        assert page.headers["Content-Encoding"] in ("gzip", "deflate")
        (asset_id,) = good(server.library, 1)
        asset = await api.call("GET", f"/api/assets/{asset_id}")
        path, etag = f"/api/assets/{asset_id}", {"If-None-Match": asset.headers["ETag"]}
        assert (await api.call("GET", path, headers=etag)).status == 304
        server.tag(asset_id, "by hand")
        assert (await api.call("GET", path, headers=etag)).status == 200
