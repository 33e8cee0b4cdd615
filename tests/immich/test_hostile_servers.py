"""Servers and proxies that never end, refuse, echo the key or tell impossible times."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import orjson
import pytest
from aiohttp import web
from loguru import logger

from autotagger.errors import AssetFailed, AutotaggerError, Retryable, ServerRefused
from autotagger.immich import parsing
from autotagger.immich.arrivals import arrived, extracted
from autotagger.immich.client import ImmichClient
from autotagger.immich.status import KEY_REFUSED, PROXY_REFUSED
from autotagger.immich.sweep import sweep, tagged
from autotagger.immich.types import Dialect, Server, ServerVersion
from tests.immich.support import KEY, OWNER, TAG, client_of, item, json, page_of, serving, uuid

LISTINGS: dict[str, Callable[[ImmichClient, Server], AsyncIterator[Any]]] = {
    "sweep": lambda client, server: sweep(
        client, server, marker="unknown", types=("image",), visibilities=("timeline",)
    ),
    "poll": lambda client, server: arrived(
        client, server, after_ms=0, types=("image",), visibilities=("timeline",)
    ),
    "marked": lambda client, _: tagged(client, TAG),
}


def server_of(filters: bool) -> Server:
    dialect = Dialect.V3_2 if filters else Dialect.V3_0
    return Server(ServerVersion(3, 2, 0), dialect, frozenset({"all"}), OWNER)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("filters", [True, False])
@pytest.mark.parametrize("pages", ["empty", "the same"])
@pytest.mark.parametrize("listing", LISTINGS)
async def test_a_listing_without_an_end_ends(listing: str, pages: str, filters: bool) -> None:
    async def answer(request: web.Request) -> web.Response:
        if request.path.endswith("tags"):
            return json([])
        number = orjson.loads(await request.read()).get("page", 1)
        items = [item(1)] if pages == "the same" else []
        return json({"assets": {"items": items, "nextPage": str(number + 1), "nextCursor": "again"}})

    async with serving(answer) as server, client_of(server.url) as client:
        client.filters = filters
        with pytest.raises(Retryable, match="another page to follow") as caught:
            async for _ in LISTINGS[listing](client, server_of(filters)):
                pass
        assert caught.value.kind == "endless-listing"
        assert "\n" not in caught.value.message
        assert len(server.requests) < 60


@pytest.mark.timeout(30)
async def test_looking_for_what_is_ready_ends_too() -> None:
    async def answer(_: web.Request) -> web.Response:
        return json({"assets": {"items": [], "nextPage": "2", "nextCursor": "x"}})

    async with serving(answer) as server, client_of(server.url) as client:
        client.filters = False
        with pytest.raises(Retryable, match="circles"):
            await extracted(client, after_ms=0, visibilities=("timeline",))


@pytest.mark.parametrize("readable", [0, 1])
async def test_a_library_of_which_nothing_can_be_read_is_not_an_empty_one(readable: int) -> None:
    async def answer(request: web.Request) -> web.Response:
        if request.path.endswith("statistics"):
            return json({"total": 3})
        return json([] if request.path.endswith("tags") else page_of([{}, {"id": 7}, *[item(1)] * readable]))

    async with serving(answer) as server, client_of(server.url) as client:
        found = LISTINGS["sweep"](client, server_of(False))
        if readable:
            batches = [batch async for batch in found]
            assert [asset.id for batch in batches for asset in batch.assets] == [uuid(1)]
            assert sum(batch.unreadable for batch in batches) == 2
            return
        with pytest.raises(Retryable, match="not one of 2 items") as caught:
            [batch async for batch in found]
        assert caught.value.kind == "unreadable-listing"


@pytest.mark.parametrize("filters", [True, False])
async def test_what_a_poll_cannot_read_is_counted(filters: bool) -> None:
    async def answer(_: web.Request) -> web.Response:
        return json(page_of([{}, item(1), item(2, updatedAt="9999-01-01T00:00:00.000Z")]))

    async with serving(answer) as server, client_of(server.url) as client:
        client.filters = filters
        batches = [batch async for batch in LISTINGS["poll"](client, server_of(filters))]
        assert [asset.id for batch in batches for asset in batch.assets] == [uuid(1)]
        assert sum(batch.unreadable for batch in batches) == 2


def page(status: int) -> web.Response:
    return web.Response(text="<html>Blocked</html>", status=status, content_type="text/html")


@pytest.mark.parametrize("status", [401, 403])
async def test_assets_that_a_proxy_refuses_fail_alone_while_others_are_let_through(status: int) -> None:
    async def answer(request: web.Request) -> web.Response:
        if request.path.endswith("ping"):
            return json({"res": "pong"})
        return json(item(100, tags=[])) if uuid(100) in request.path else page(status)

    async with serving(answer) as server, client_of(server.url) as client:
        for number in range(10):
            with pytest.raises(AssetFailed, match=f"asset {uuid(number)}.*by a proxy.*{status}") as caught:
                await client.asset(uuid(number))
            assert caught.value.kind == PROXY_REFUSED
            await client.asset(uuid(100))


@pytest.mark.parametrize("lets_ping_through", [True, False])
@pytest.mark.parametrize("status", [401, 403])
async def test_the_run_ends_when_ping_or_other_assets_are_refused_too(
    status: int, lets_ping_through: bool
) -> None:
    async def answer(request: web.Request) -> web.Response:
        pinged = request.path.endswith("ping") and lets_ping_through
        return json({"res": "pong"}) if pinged else page(status)

    async with serving(answer) as server, client_of(server.url) as client:
        ends: list[AutotaggerError] = []
        for number in range(5):
            with pytest.raises(AutotaggerError) as caught:
                await client.asset(uuid(number))
            ends.append(caught.value)
        if lets_ping_through:
            assert [type(end) for end in ends] == [AssetFailed] * 4 + [ServerRefused]
        else:  # the first may be the only one: it is tried again later
            assert [type(end) for end in ends] == [Retryable] + [ServerRefused] * 4
            assert (ends[0].kind, uuid(0) in ends[0].message) == (PROXY_REFUSED, True)
        with pytest.raises(ServerRefused, match="by a proxy in front of Immich"):
            await client.tags()


@pytest.mark.parametrize("status", [401, 403])
async def test_one_asset_is_no_reason_to_end_where_a_proxy_lets_no_ping_through(status: int) -> None:
    async def answer(request: web.Request) -> web.Response:
        return json(item(100, tags=[])) if uuid(100) in request.path else page(status)

    async with serving(answer) as server, client_of(server.url) as client:
        for number in range(10):
            with pytest.raises(Retryable, match=f"asset {uuid(number)}.*by a proxy") as caught:
                await client.asset(uuid(number))
            assert caught.value.kind == PROXY_REFUSED
            await client.asset(uuid(100))


async def test_immichs_own_401_is_the_keys() -> None:
    async def answer(_: web.Request) -> web.Response:
        return json({"message": "Invalid API key"}, status=401)

    async with serving(answer) as server, client_of(server.url) as client:
        with pytest.raises(ServerRefused) as caught:
            await client.asset(uuid(1))
        assert caught.value.kind == KEY_REFUSED


@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 500])
@pytest.mark.parametrize("how", ["plain", "escaped", "cut"])
async def test_a_key_that_the_server_echoes_is_not_repeated(status: int, how: str) -> None:
    said: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        echoed = request.headers.get("x-api-key", "")
        text = ("x" * 290 if how == "cut" else "") + echoed
        body = orjson.dumps({"message": text, "id": text, "value": text})
        if how == "escaped":
            body = body.replace(b"v", b"\\u0076")
        return web.Response(body=body, status=status, content_type="application/json")

    sink = logger.add(said.append, level="DEBUG")
    try:
        async with serving(answer) as server, client_of(server.url, retry_budget_s=5) as client:
            for call in (lambda: client.asset(uuid(1)), client.tags, lambda: client.picture(uuid(1), "preview")):
                with pytest.raises(AutotaggerError) as caught:
                    await call()
                said.append(f"{caught.value!r} {caught.value} {caught.value.message}")
    finally:
        logger.remove(sink)
    assert said
    assert not [line for line in said if KEY[:9] in line]


async def test_a_key_in_a_redirect_is_not_repeated() -> None:
    async def answer(request: web.Request) -> web.Response:
        where = f"/else/{request.headers.get('x-api-key')}"
        return web.Response(status=302, headers={"Location": where})

    async with serving(answer) as server, client_of(server.url) as client:
        with pytest.raises(ServerRefused, match=r"/else/\[API key\]") as caught:
            await client.search({})
        assert KEY not in str(caught.value)


@pytest.mark.parametrize("name", ["createdAt", "updatedAt"])
@pytest.mark.parametrize("text", ["9999-12-31T23:59:59.999Z", "0001-01-01T00:00:00.000Z", "1969-12-31T00:00:00Z"])
def test_assets_of_impossible_times_are_left_out_and_counted(name: str, text: str) -> None:
    found = parsing.page(page_of([item(1), item(2, **{name: text})]))
    assert [asset.id for asset in found.assets] == [uuid(1)]
    assert found.unreadable == 1
