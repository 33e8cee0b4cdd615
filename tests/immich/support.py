"""Servers on loopback sockets, a clock that nobody waits for, and a client between them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from aiohttp import web
from pydantic import SecretStr

from autotagger.immich.client import ImmichClient
from autotagger.settings import ImmichSettings

KEY = "vErYsEcReTkEy0123456789"
ASSET = "77b164be-9617-4424-8f2c-14b9ef2ed4ce"
TAG = "483a8562-6261-4f59-96a4-61f8db69fa79"
OWNER = "276b5ea1-1af5-40be-aa70-769dd1fe11c3"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
RawHandler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Clock:
    """Seconds that pass only when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)


class Served:
    """A running server: where it is, and what it was asked."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[web.Request] = []


@asynccontextmanager
async def serving(handler: Handler, ssl_context: Any = None) -> AsyncIterator[Served]:
    """Answer every request with `handler`."""
    served = Served()

    async def recorded(request: web.Request) -> web.StreamResponse:
        await request.read()
        served.requests.append(request)
        return await handler(request)

    app = web.Application(client_max_size=1 << 26)
    app.router.add_route("*", "/{path:.*}", recorded)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=ssl_context).start()
        served.url = f"{'https' if ssl_context else 'http'}://127.0.0.1:{runner.addresses[0][1]}"
        yield served
    finally:
        await runner.cleanup()


@asynccontextmanager
async def raw_server(handler: RawHandler) -> AsyncIterator[str]:
    """A server below HTTP: `handler` gets the socket's streams; yields the URL."""

    async def closing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(closing, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@asynccontextmanager
async def client_of(url: str, clock: Clock | None = None, **settings: Any) -> AsyncIterator[ImmichClient]:
    clock = clock or Clock()
    made = ImmichSettings.model_validate({"base_url": url, **settings})
    async with ImmichClient(made, SecretStr(KEY), sleep=clock.sleep, clock=clock) as client:
        yield client


def json(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.json_response(body, status=status, headers=headers)


def item(number: int, **fields: Any) -> dict[str, Any]:
    """A search item as Immich 3.0.3 sends it (fields that nobody reads left out)."""
    return {
        "id": uuid(number),
        "ownerId": OWNER,
        "libraryId": None,
        "type": "IMAGE",
        "originalFileName": f"{number}.jpg",
        "originalMimeType": "image/jpeg",
        "thumbhash": "pnYJFZJmZndwd3d5d5d3dhBIePdn",
        "createdAt": "2026-11-22T15:01:00.598Z",
        "updatedAt": "2026-11-22T15:24:58.587Z",
        "isTrashed": False,
        "visibility": "timeline",
        "checksum": "sS0yRlmA4XmaBrI+uh64WBP7Omw=",
        "duration": None,
    } | fields


def uuid(number: int) -> str:
    return str(UUID(int=number, version=4))


def page_of(items: list[Any], **more: Any) -> dict[str, Any]:
    return {"albums": {}, "assets": {"total": len(items), "items": items, "nextPage": None} | more}
