"""Bad weather between autotagger and the stand-in: every way in which an answer can go wrong."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

from aiohttp import web

from autotagger.demo import StandIn, routes
from autotagger.demo.faults import Call, dropped, half_body, status
from autotagger.demo.gate import Visit

Answer = Callable[[Call, random.Random], Awaitable[web.StreamResponse]]

PAGE = "<!doctype html><html><body>502 Bad Gateway</body></html>"


async def error(call: Call, draw: random.Random) -> web.StreamResponse:
    """A server's or a proxy's error, sometimes with a wish for patience."""
    code = draw.choice((429, 500, 502, 503, 504))
    patience = {"retry_after": draw.choice(("0", "1", "soon"))} if code in (429, 503) else {}
    return status(code, **patience)


async def immich_error(call: Call, draw: random.Random) -> web.StreamResponse:
    return web.json_response({"message": "Internal server error", "statusCode": 500}, status=500)


async def html(call: Call, draw: random.Random) -> web.StreamResponse:
    """A login page of something in between, with 200 or an error."""
    return web.Response(status=draw.choice((200, 404, 502)), text=PAGE, content_type="text/html")


async def empty(call: Call, draw: random.Random) -> web.StreamResponse:
    return web.Response(body=b"", content_type="application/json")


async def nonsense(call: Call, draw: random.Random) -> web.StreamResponse:
    """JSON of the wrong shape."""
    return web.json_response(draw.choice((None, [], {}, 5, "x", [None], {"assets": None}, {"count": "9"})))


async def half(call: Call, draw: random.Random) -> web.StreamResponse:
    return await half_body(call.request, b'{"count": 26, "assets": {"items": []}}', "application/json")


async def drip(call: Call, draw: random.Random) -> web.StreamResponse:
    """A byte now and then, and in the end no whole answer."""
    response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": "100"})
    await response.prepare(call.request)
    for _ in range(5):
        await response.write(b" ")
        await asyncio.sleep(0.1)
    return dropped(call.request)


async def reset(call: Call, draw: random.Random) -> web.StreamResponse:
    return dropped(call.request)


KINDS: tuple[Answer, ...] = (error, immich_error, html, empty, nonsense, half, drip, reset)
#: What may answer for a picture: an empty body and half of one are the fetcher's to notice, JSON is no picture.
CALLS = ("search", "statistics", "asset", "preview", "thumbnail", "tags", "upsert_tags", "tag_assets", "ping")


class Weather:
    """Spoils a `share` of the calls called `names`, `most` of them in all.

    What happens to the tenth preview depends on the seed and on nothing else, so that a seed tells the same story
    again, as far as the processes' own timing lets it.
    """

    def __init__(
        self, seed: str, *, kinds: Sequence[Answer], names: Sequence[str] = CALLS, share: float, most: int
    ) -> None:
        self.kinds = kinds
        self._seed, self._names = seed, names
        self._share, self._left = share, most
        self.spoilt: Counter[str] = Counter()

    def __str__(self) -> str:
        kinds = ", ".join(kind.__name__ for kind in self.kinds)
        return f"{self._share:.0%} of {', '.join(self._names)} answered with {kinds}, at most {self._left}"

    async def __call__(self, call: Call) -> web.StreamResponse | None:
        draw = random.Random(f"{self._seed}/{call.name}/{call.number}")
        if not self._left or call.name not in self._names or draw.random() >= self._share:
            return None
        self._left -= 1
        self.spoilt[call.name] += 1
        return await draw.choice(self.kinds)(call, draw)


async def applied_and_lost(server: StandIn, call: Call, draw: random.Random) -> web.StreamResponse:
    """Immich does what a tag call says, and the answer never arrives."""
    body = json.loads(await call.request.read())
    if key := server.world.keys.get(call.request.headers.get("x-api-key", "")):  # else it was revoked meanwhile
        await routes.tag_assets(server.world, Visit(call.request, body, key))
    return await draw.choice((error, html, half, reset))(call, draw)
