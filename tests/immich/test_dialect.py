from typing import Any

import pytest
from aiohttp import web

from autotagger.errors import Retryable, ServerRefused
from autotagger.immich.dialect import (
    NEEDED,
    connect,
    dialect_of,
    speaks_filter,
)
from autotagger.immich.searches import following, random_search, search_body, totals
from autotagger.immich.types import Dialect, Page, Server, ServerVersion
from autotagger.settings import ImmichSettings
from tests.immich.support import OWNER, Clock, client_of, item, json, page_of, raw_server, serving


@pytest.mark.parametrize(
    ("version", "dialect"),
    [
        ((2, 7, 0), Dialect.V2_7),
        ((2, 7, 5), Dialect.V2_7),
        ((2, 10, 1), Dialect.V2_7),
        ((3, 0, 0), Dialect.V3_0),
        ((3, 1, 9), Dialect.V3_0),
        ((3, 2, 0), Dialect.V3_2),
        ((4, 0, 0), Dialect.V3_2),
    ],
)
def test_the_dialect_follows_from_the_version(version: tuple[int, int, int], dialect: Dialect) -> None:
    assert dialect_of(ServerVersion(*version)) is dialect


def test_too_old() -> None:
    with pytest.raises(ServerRefused, match=r"2\.6\.9 is too old.*2\.7\.0"):
        dialect_of(ServerVersion(2, 6, 9))


def test_following_pages() -> None:
    flat = search_body(filters=False, visibility="timeline", tag_id=OWNER, updated_after_ms=1795361098587)
    assert flat == {
        "size": 1000,
        "page": 1,
        "visibility": "timeline",
        "tagIds": [OWNER],
        "updatedAfter": "2026-11-22T15:24:58.587Z",
    }
    assert following(flat, Page((), next_page=2, next_cursor="abc")) == {**flat, "page": 2}
    assert following(flat, Page(())) is None
    none = search_body(filters=True, visibility="archive", kind="VIDEO", without_tag_id=OWNER, size=7)
    assert none == {
        "size": 7,
        "filter": {
            "type": {"eq": "VIDEO"},
            "visibility": {"eq": "archive"},
            "trashedAt": {"eq": None},
            "tagIds": {"none": [OWNER]},
        },
    }
    assert following(none, Page((), next_page=2, next_cursor="abc")) == {**none, "cursor": "abc"}
    assert following(none, Page((), next_page=2)) is None


def test_a_search_by_filter_asks_for_what_the_flat_one_asks_for() -> None:
    body = search_body(
        filters=True,
        visibility="timeline",
        tag_id=OWNER,
        updated_after_ms=1795361098587,
        created_after_ms=0,
        with_exif=True,
    )
    assert body == {
        "size": 1000,
        "withExif": True,
        "filter": {
            "visibility": {"eq": "timeline"},
            "trashedAt": {"eq": None},
            "tagIds": {"all": [OWNER]},
            "updatedAt": {"gte": "2026-11-22T15:24:58.587Z"},
            "createdAt": {"gte": "1970-01-01T00:00:00.000Z"},
        },
    }
    assert totals(body).keys() == {"withExif", "filter"}
    assert random_search(5, filters=False) == {"size": 5, "visibility": "timeline", "type": "IMAGE"}
    assert random_search(5, filters=True)["filter"].keys() == {"visibility", "type", "trashedAt"}


class Immich:
    """As much of a server as `connect` asks for."""

    def __init__(self, version: tuple[int, int, int] = (3, 0, 3), permissions: tuple[str, ...] = NEEDED) -> None:
        self.version, self.permissions = version, permissions
        self.filters = "understood"

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        match request.path.removeprefix("/api/"):
            case "server/version":
                return json(dict(zip(("major", "minor", "patch"), self.version, strict=True)))
            case "api-keys/me":
                return json({"permissions": self.permissions})
            case "users/me" if "user.read" in self.permissions or "all" in self.permissions:
                return json({"id": OWNER})
            case "search/metadata":
                return self.search(await request.json())
        return json({"message": "Missing required permission: user.read"}, status=403)

    def search(self, body: Any) -> web.Response:
        flat, by_filter = body.get("tagIds"), body.get("filter", {})
        if (self.filters == "refused" and by_filter) or (
            self.filters == "understood" and "noSuchField" in by_filter
        ):
            return json({"message": "Validation failed", "errors": []}, status=400)
        nobody_holds_it = (self.filters != "nothing" and flat) or (
            self.filters == "understood" and "tagIds" in by_filter
        )
        return json(page_of([] if nobody_holds_it else [item(1)]))


async def connected(immich: Any, **settings: Any) -> Server:
    async with serving(immich) as server, client_of(server.url, **settings) as client:
        return await connect(client, ImmichSettings.model_validate({"base_url": server.url, **settings}))


async def test_a_good_start() -> None:
    server = await connected(Immich(permissions=(*NEEDED, "user.read", "asset.statistics")))
    assert (server.version, server.dialect, server.user_id) == (ServerVersion(3, 0, 3), Dialect.V3_0, OWNER)
    assert server.may("asset.statistics")
    assert not server.may("asset.download")
    assert (await connected(Immich(permissions=("all",)))).may("asset.download")


async def test_the_least_key_will_do() -> None:
    assert (await connected(Immich())).user_id is None


async def test_missing_permissions_are_all_named_in_one_line() -> None:
    with pytest.raises(ServerRefused, match=r"tag\.read, tag\.asset: add") as caught:
        await connected(Immich(permissions=("asset.read", "asset.view", "tag.create")))
    assert "\n" not in str(caught.value)
    with pytest.raises(ServerRefused, match=r"asset\.download"):
        await connected(Immich(), picture="original")


@pytest.mark.parametrize(
    ("filters", "dialect"),
    [("understood", Dialect.V3_2), ("refused", Dialect.V3_0), ("ignored", Dialect.V3_0)],
)
async def test_the_filter_of_3_2_is_checked_by_effect(filters: str, dialect: Dialect) -> None:
    immich = Immich((3, 2, 0))
    immich.filters = filters
    assert (await connected(immich)).dialect is dialect


async def test_a_server_whose_searches_mean_nothing_is_refused_and_not_taken_for_tagged() -> None:
    immich = Immich((4, 0, 0))
    immich.filters = "nothing"
    with pytest.raises(ServerRefused, match=r"4\.0\.0 finds assets that hold a tag which does not exist"):
        await connected(immich)


async def test_what_a_server_speaks_is_asked_once() -> None:
    immich = Immich((3, 2, 0))
    async with serving(immich) as server, client_of(server.url) as client:
        assert await speaks_filter(client)
        asked = len(server.requests)
        assert await speaks_filter(client)
        assert len(server.requests) == asked == 3
    async with serving(Immich((3, 0, 3))) as server, client_of(server.url) as client:
        assert not await speaks_filter(client)
        assert len(server.requests) == 1


async def test_a_proxys_page_in_place_of_the_version_is_tried_again_later() -> None:
    async def page(_: web.Request) -> web.Response:
        return web.Response(text="<html>", content_type="text/html")

    async with serving(page) as server, client_of(server.url) as client:
        with pytest.raises(Retryable, match="a web page instead of JSON"):
            await speaks_filter(client)


@pytest.mark.parametrize(
    "answer",
    [
        web.Response(text="<!doctype html>", content_type="text/html"),
        web.json_response({"message": "Cannot GET /api/server/version"}, status=404),
        web.json_response({"version": "1.0"}),
    ],
)
async def test_what_is_not_immich_is_said_so_at_once(answer: web.Response) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        return web.Response(body=answer.body, status=answer.status, headers={"Content-Type": answer.content_type})

    with pytest.raises(ServerRefused, match=r"is not Immich's API.*base_url"):
        await connected(handler)


async def test_too_old_a_server_is_told_before_the_key_is_sent() -> None:
    immich = Immich((1, 130, 0))
    async with serving(immich) as server, client_of(server.url) as client:
        with pytest.raises(ServerRefused, match="too old"):
            await connect(client, ImmichSettings(base_url=server.url))
    assert all("x-api-key" not in request.headers for request in server.requests)


async def test_a_wrong_key() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        if request.path.endswith("version"):
            return json({"major": 3, "minor": 0, "patch": 3})
        return json({"message": "Invalid API key"}, status=401)

    with pytest.raises(ServerRefused, match="does not accept the API key"):
        await connected(handler)


async def test_nobody_there_ends_after_a_few_seconds() -> None:
    async def nothing(*_: Any) -> None: ...

    async with raw_server(nothing) as url:
        pass
    clock = Clock()
    async with client_of(url, clock) as client:
        with pytest.raises(ServerRefused, match=r"connection refused.*is Immich running.*2283"):
            await connect(client, ImmichSettings(base_url=url))
    assert 1 < clock.now < 15
