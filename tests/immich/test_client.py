"""Odd answers, and what comes of them."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from unittest.mock import Mock

import aiohttp
import orjson
import pytest
from aioresponses import CallbackResult, aioresponses
from loguru import logger
from pydantic import SecretStr
from yarl import URL

from autotagger.errors import AssetFailed, AssetGone, AutotaggerError, Retryable, ServerRefused, Unreachable
from autotagger.immich.client import MAX_PAIRS, ImmichClient
from autotagger.immich.pacing import Limiter
from autotagger.immich.types import Tag
from autotagger.settings import ImmichSettings
from tests.immich.support import ASSET, KEY, OWNER, TAG, Clock, client_of, item, page_of, uuid

API = "http://immich:2283/api"
PING = f"{API}/server/ping"
TAGS = f"{API}/tags"
BULK = f"{API}/tags/assets"
ASSETS = f"{API}/assets/{ASSET}"
PREVIEW = f"{ASSETS}/thumbnail?size=preview&edited=true"
SEARCH = f"{API}/search/metadata"
HTML = "<!doctype html><title>Immich</title>"


class MadeUp(aiohttp.ClientResponse):
    """aioresponses 0.7.9 does not know yet that aiohttp 3.14 wants a `stream_writer`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, stream_writer=Mock(), **kwargs)


@pytest.fixture
def odd(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr("aioresponses.core.ClientResponse", MadeUp)
    with aioresponses() as mocked:
        yield mocked


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def client(clock: Clock) -> AsyncIterator[ImmichClient]:
    async with client_of("immich:2283", clock) as made:
        yield made


def tries(odd: Any, url: str, method: str = "GET") -> int:
    return len(odd.requests.get((method, URL(url)), []))


def sent(odd: Any, url: str, method: str) -> Any:
    return orjson.loads(odd.requests[(method, URL(url))][0].kwargs["data"])


async def test_a_good_answer_takes_one_try(odd: Any, client: ImmichClient, clock: Clock) -> None:
    odd.get(ASSETS, payload=item(0, id=ASSET, tags=[{"id": TAG, "value": "a/b", "name": "b"}]))
    tagged = await client.asset(ASSET.upper())
    assert (tagged.asset.id, tagged.asset.owner_id) == (ASSET, OWNER)
    assert tagged.tags == {"a/b"}
    assert clock.slept == []
    assert client.calls == {"asset": 1}


@pytest.mark.parametrize(
    "answer",
    [
        {"status": 500, "payload": {"message": "Failed to bulk tag assets"}},
        {"status": 502, "body": HTML},
        {"status": 503},
        {"status": 429, "payload": {"message": ["slow", "down"]}},
        {"status": 404, "body": "404 page not found"},  # a proxy, while Immich restarts
        {"status": 400, "body": HTML},
        {"status": 200, "body": HTML},
        {"status": 200, "body": ""},
        {"status": 200, "body": '[{"id":'},
        {"status": 200, "payload": {"unexpected": True}},
        {"exception": ConnectionResetError()},
        {"exception": TimeoutError()},
    ],
)
async def test_passing_troubles_are_tried_again(
    odd: Any, client: ImmichClient, clock: Clock, answer: dict[str, Any]
) -> None:
    for _ in range(3):
        odd.get(TAGS, **answer)
    odd.get(TAGS, payload=[{"id": TAG, "value": "x"}])
    assert await client.tags() == [Tag(TAG, "x")]
    assert len(clock.slept) == 3
    assert all(0 <= waited <= most for waited, most in zip(clock.slept, (1, 2, 4), strict=True))
    assert client.calls == {"tags": 1}


@pytest.mark.parametrize(
    ("headers", "waited"),
    [
        ({"Retry-After": "7"}, 7),
        ({"Retry-After": "Sun, 22 Nov 2026 15:25:18 GMT", "Date": "Sun, 22 Nov 2026 15:24:58 GMT"}, 20),
        ({"Retry-After": "86400"}, 120),
    ],
)
async def test_retry_after_is_honoured_within_reason(
    odd: Any, client: ImmichClient, clock: Clock, headers: dict[str, str], waited: int
) -> None:
    odd.get(TAGS, status=503, headers=headers)
    odd.get(TAGS, payload=[])
    await client.tags()
    assert clock.slept == [waited]


@pytest.mark.parametrize("text", ["soon", "-5", "nan", "inf", "Sun, 22 Nov 2020 15:25:18 GMT"])
async def test_a_retry_after_that_says_nothing_is_passed_over(
    odd: Any, client: ImmichClient, clock: Clock, text: str
) -> None:
    odd.get(TAGS, status=503, headers={"Retry-After": text, "Date": "Sun, 22 Nov 2026 15:24:58 GMT"})
    odd.get(TAGS, payload=[])
    await client.tags()
    assert clock.slept[0] <= 1


async def test_a_server_that_stays_down_is_unreachable_after_the_budget(odd: Any, clock: Clock) -> None:
    odd.get(TAGS, status=503, repeat=True)
    async with client_of("immich:2283", clock, retry_budget_s=300) as client:
        with pytest.raises(Unreachable, match="503"):
            await client.tags()
    assert 250 <= clock.now <= 300
    assert tries(odd, TAGS) < 60


@pytest.mark.parametrize("kind", ["asset", "preview", "tag_assets"])
async def test_an_asset_that_alone_keeps_failing_is_to_blame_soon(
    odd: Any, client: ImmichClient, clock: Clock, kind: str
) -> None:
    odd.get(PING, payload={"res": "pong"}, repeat=True)
    for method, url in (("get", ASSETS), ("get", PREVIEW), ("put", BULK)):
        getattr(odd, method)(url, status=500, payload={"message": "boom"}, repeat=True)
    calls: dict[str, Callable[[], Awaitable[Any]]] = {
        "asset": lambda: client.asset(ASSET),
        "preview": lambda: client.picture(ASSET, "preview"),
        "tag_assets": lambda: client.tag_assets([ASSET], [TAG]),
    }
    with pytest.raises(Retryable, match=f"asset {ASSET}.*boom") as caught:
        await calls[kind]()
    assert caught.value.kind == "server-error"
    assert not isinstance(caught.value, Unreachable)
    assert clock.now <= 7
    assert tries(odd, PING) == 1


async def test_no_asset_is_to_blame_while_the_server_is_down(odd: Any, client: ImmichClient, clock: Clock) -> None:
    for _ in range(6):
        odd.get(PREVIEW, status=502)
    odd.get(PING, status=502)
    odd.get(PREVIEW, body=b"jpeg", content_type="image/jpeg")
    assert (await client.picture(ASSET, "preview")).body == b"jpeg"
    odd.get(PREVIEW, exception=ConnectionRefusedError(), repeat=True)
    odd.get(PING, exception=ConnectionRefusedError(), repeat=True)
    with pytest.raises(Unreachable):
        await client.picture(ASSET, "preview")
    assert clock.now >= 250


@pytest.mark.parametrize(
    ("status", "said", "error", "words"),
    [
        (401, "Invalid API key", ServerRefused, "does not accept the API key"),
        (403, "Missing required permission: asset.view", ServerRefused, r"lacks the permission asset\.view"),
        (403, "Forbidden", AssetFailed, f"{ASSET}.*forbidden.*other assets go on"),
        (400, "Not found or no asset.view access", AssetGone, ASSET),
        (400, ["size must be one of", "that"], AssetFailed, f"{ASSET}.*size must be one of: that"),
        (404, "Cannot GET /api/assets", ServerRefused, "does not speak as expected"),
    ],
)
async def test_refusals_are_final(
    odd: Any, client: ImmichClient, clock: Clock, status: int, said: Any, error: type[AutotaggerError], words: str
) -> None:
    odd.get(PREVIEW, status=status, payload={"message": said, "statusCode": status})
    odd.get(PING, payload={"res": "pong"})
    with pytest.raises(error, match=words) as caught:
        await client.picture(ASSET, "preview")
    assert type(caught.value) is error
    assert clock.slept == []
    assert KEY not in str(caught.value)


async def test_a_missing_preview_is_not_waited_for(odd: Any, client: ImmichClient, clock: Clock) -> None:
    odd.get(PREVIEW, status=404, payload={"message": "Asset media not found"})
    odd.get(f"{ASSETS}/original?edited=true", status=404, payload={"message": "Not found"})
    with pytest.raises(Retryable) as preview:
        await client.picture(ASSET, "preview")
    with pytest.raises(Retryable) as original:
        await client.picture(ASSET, "original")
    assert [preview.value.kind, original.value.kind] == ["preview-missing", "original-missing"]
    assert clock.slept == []


@pytest.mark.parametrize("content_type", ["text/html; charset=utf-8", "application/json"])
async def test_a_login_page_is_no_picture(odd: Any, client: ImmichClient, content_type: str) -> None:
    odd.get(PREVIEW, body=HTML, content_type=content_type)
    odd.get(PREVIEW, body=b"jpeg", content_type="image/jpeg")
    picture = await client.picture(ASSET, "preview")
    assert (picture.body, picture.content_type) == (b"jpeg", "image/jpeg")


@pytest.mark.parametrize("bad", ["", "..", "../../admin", f"{ASSET}/../x", "00000000-0000-1000-8000-000000000000"])
async def test_only_ids_get_into_paths_and_bodies(odd: Any, client: ImmichClient, bad: str) -> None:
    for call in (client.asset(bad), client.picture(bad, "preview"), client.tag_assets([ASSET, bad], [TAG])):
        with pytest.raises(AssetFailed) as caught:
            await call
        assert caught.value.kind == "bad-id"
    assert not odd.requests


async def test_upserted_tags_are_known_by_value_not_by_place(odd: Any, client: ImmichClient) -> None:
    chunks = []

    def upsert(url: URL, **request: Any) -> Any:
        values = orjson.loads(request["data"])["tags"]
        chunks.append(values)
        made = [{"id": uuid(int(value)), "value": value} for value in reversed(values)]
        return CallbackResult(body=orjson.dumps(made))

    odd.put(TAGS, callback=upsert, repeat=True)
    values = [str(number) for number in range(1000)]
    tags = await client.upsert_tags([*values, *values])
    assert tags == {value: Tag(uuid(int(value)), value) for value in values}
    assert sum(len(chunk) for chunk in chunks) == 1000
    assert len(chunks) > 1


async def test_a_tag_that_was_not_made_is_noticed(odd: Any, client: ImmichClient) -> None:
    odd.put(TAGS, payload=[{"id": TAG, "value": "a"}])
    with pytest.raises(AssetFailed, match="'b'") as caught:
        await client.upsert_tags(["a", "b"])
    assert caught.value.kind == "tag-refused"


async def test_a_tag_call_tells_the_servers_time(odd: Any, client: ImmichClient) -> None:
    odd.put(BULK, payload={"count": 2}, headers={"Date": "Sun, 22 Nov 2026 15:24:58 GMT"})
    odd.put(BULK, payload={"count": 0})
    assert await client.tag_assets([ASSET], [TAG, uuid(1)]) == 2
    assert await client.tag_assets([ASSET], [TAG]) == 0
    assert sent(odd, BULK, "PUT") == {"assetIds": [ASSET], "tagIds": [TAG, uuid(1)]}


async def test_a_tag_call_of_too_many_pairs_is_never_made(odd: Any, client: ImmichClient) -> None:
    many = [uuid(number) for number in range(MAX_PAIRS // 2)]
    odd.put(BULK, payload={"count": 1}, repeat=True)
    await client.tag_assets(many, [TAG, uuid(1)])
    for assets, tags in ((many, [TAG, uuid(1), uuid(2)]), ([], [TAG]), ([ASSET], [])):
        with pytest.raises(ValueError, match="pairs"):
            await client.tag_assets(assets, tags)
    assert tries(odd, BULK, "PUT") == 1


async def test_search_and_total(odd: Any, client: ImmichClient) -> None:
    odd.post(SEARCH, payload=page_of([item(1), None], nextPage="2", nextCursor="abc"))
    odd.post(f"{API}/search/statistics", payload={"total": 5539})
    page = await client.search({"size": 3})
    assert (len(page.assets), page.unreadable, page.next_page, page.next_cursor) == (1, 1, 2, "abc")
    assert await client.total({"type": "IMAGE"}) == 5539
    assert sent(odd, SEARCH, "POST") == {"size": 3}


async def test_a_search_that_immich_does_not_understand_is_fatal(odd: Any, client: ImmichClient) -> None:
    odd.post(SEARCH, status=400, payload={"message": "Validation failed", "errors": [{"message": "Invalid UUID"}]})
    with pytest.raises(ServerRefused, match="Invalid UUID"):
        await client.search({"tagIds": ["x"]})


async def test_troubles_are_told_once_in_a_while_and_without_the_key(
    odd: Any, client: ImmichClient, clock: Clock
) -> None:
    lines: list[Any] = []
    sink = logger.add(lambda message: lines.append(message.record), level="DEBUG")
    odd.get(TAGS, status=503, repeat=True)
    try:
        with pytest.raises(Unreachable):
            await client.tags()
    finally:
        logger.remove(sink)
    assert all(KEY not in line["message"] and "\n" not in line["message"] for line in lines)
    assert "503" in lines[0]["message"]
    assert "trying again in" in lines[0]["message"]
    assert 2 <= sum(line["level"].name == "WARNING" for line in lines) <= clock.now / 30 + 1


async def test_errors_narrow_the_client_down(odd: Any, clock: Clock) -> None:
    limiter = Limiter(8, clock=clock)
    settings = ImmichSettings(base_url="immich:2283")
    odd.get(TAGS, status=429)
    odd.get(TAGS, payload=[])
    async with ImmichClient(settings, SecretStr(KEY), limiter, sleep=clock.sleep, clock=clock) as client:
        await client.tags()
    assert limiter.width == 4
