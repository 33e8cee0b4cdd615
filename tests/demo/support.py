"""A plain HTTP client for the stand-in's tests: no retries, no opinions."""

import io
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson

from autotagger.demo import Fate, Library, StandIn

DIALECTS = ("2.7", "3.0", "3.2")
ALL_DIALECTS = (*DIALECTS, "4")


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    raw: bytes

    @property
    def body(self) -> Any:
        return orjson.loads(self.raw)


class Api:
    """Requests with a key, and shorthands for the ones that most tests make."""

    def __init__(self, session: aiohttp.ClientSession, key: str) -> None:
        self._session = session
        self._key = key

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        key: str | None = None,
    ) -> Answer:
        """`body`: what becomes JSON, or bytes to be sent as JSON as they are. `key` "" sends none."""
        sent = dict(headers or {})
        key = self._key if key is None else key
        if key:
            sent["x-api-key"] = key
        raw = body if isinstance(body, bytes) or body is None else orjson.dumps(body)
        data = None if raw is None else io.BytesIO(raw)
        if raw is not None:
            sent.setdefault("Content-Type", "application/json")
        request = self._session.request(method, path, data=data, headers=sent, allow_redirects=False)
        async with request as response:
            return Answer(response.status, response.headers.copy(), await response.read())

    async def upsert(self, *values: str) -> dict[str, str]:
        """Tag ids by value."""
        answer = await self.call("PUT", "/api/tags", {"tags": list(values)})
        return {tag["value"]: tag["id"] for tag in answer.body}

    async def tag(self, asset_ids: Iterable[str], tag_ids: Iterable[str]) -> Answer:
        body = {"assetIds": list(asset_ids), "tagIds": list(tag_ids)}
        return await self.call("PUT", "/api/tags/assets", body)

    async def untag(self, tag_id: str, asset_ids: Iterable[str]) -> Answer:
        return await self.call("DELETE", f"/api/tags/{tag_id}/assets", {"ids": list(asset_ids)})

    async def search(self, **fields: Any) -> Any:
        """The `assets` part of a search that must succeed."""
        answer = await self.call("POST", "/api/search/metadata", fields)
        assert answer.status == 200, answer.raw
        return answer.body["assets"]

    async def found(self, **fields: Any) -> list[str]:
        """Ids on one page."""
        return [item["id"] for item in (await self.search(**fields))["items"]]

    async def asset(self, asset_id: str) -> Any:
        answer = await self.call("GET", f"/api/assets/{asset_id}")
        assert answer.status == 200, answer.raw
        return answer.body

    async def picture(self, asset_id: str, size: str = "preview", **headers: str) -> Answer:
        return await self.call("GET", f"/api/assets/{asset_id}/thumbnail?size={size}", headers=headers)


@asynccontextmanager
async def running(library: Library, dialect: str = "3.0", **options: Any) -> AsyncIterator[tuple[StandIn, Api]]:
    """A stand-in and a client of it, with a key that may do everything."""
    async with (
        StandIn(library, dialect, **options) as server,
        aiohttp.ClientSession(server.url, cookie_jar=aiohttp.DummyCookieJar()) as session,
    ):
        yield server, Api(session, server.api_key)


def good(library: Library, count: int) -> list[str]:
    """Ids of the first good assets."""
    return [asset.id for asset in library.assets if asset.fate is Fate.GOOD][:count]
