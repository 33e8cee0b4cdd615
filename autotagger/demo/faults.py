"""Trouble on purpose: what stands between the stand-in's routes and the network may answer instead of them."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web


@dataclass(frozen=True, slots=True)
class Call:
    """A request about to be served. `name` as in `StandIn.calls`; `number`: calls of that name so far."""

    name: str
    number: int
    request: web.Request


Faults = Callable[[Call], Awaitable[web.StreamResponse | None]]
"""Answers None to let a call through, or the response to give instead; may sleep, raise or drop the connection.

An exception other than aiohttp's own becomes Immich's 500.
"""


def status(code: int, text: str = "upstream trouble", **headers: str) -> web.Response:
    """A proxy's answer: a status and plain text. `retry_after="2"` becomes the header Retry-After."""
    named = {name.replace("_", "-").title(): value for name, value in headers.items()}
    return web.Response(status=code, text=text, headers=named)


def dropped(request: web.Request) -> web.Response:
    """Reset the connection without a single byte of an answer."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def half_body(request: web.Request, body: bytes, content_type: str) -> web.StreamResponse:
    """Promise a whole body, send the first half of it, hang up."""
    response = web.StreamResponse(headers={"Content-Type": content_type, "Content-Length": str(len(body))})
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    if request.transport is not None:
        request.transport.close()
    return response
