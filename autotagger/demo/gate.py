"""Between the socket and the routes: counting, injected faults, parsing, keys, permissions, error bodies.

In the order of the real server: the body's parser refuses before anyone asks for the key, the key is checked
before the permission, the permission before the fields.
"""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from aiohttp import web

from autotagger.demo.faults import Call, Faults
from autotagger.demo.wire import ApiError, Dialect, Json, error_response
from autotagger.demo.world import Key, World

MAX_BODY_BYTES = 10 << 20


@dataclass(frozen=True, slots=True)
class Visit:
    """One request that got through the gate. `key` is None on routes that need none."""

    request: web.Request
    body: Json
    key: Key | None

    @property
    def user(self) -> str:
        """Id of the user who asks. Only on routes that need a key."""
        assert self.key is not None
        return self.key.user


Handler = Callable[[World, Visit], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Route:
    """`name`: under which it is counted. `permission`: what the key must have; empty: any key; None: no key.

    `dialects`: where there is this route.
    """

    method: str
    path: str
    name: str
    permission: str | None
    handler: Handler
    dialects: frozenset[Dialect] = field(default=frozenset(Dialect))


class Gate:
    """Turns routes into aiohttp handlers. `faults` may be replaced at any time."""

    def __init__(self, world: World, faults: Faults | None) -> None:
        self._world = world
        self.faults = faults

    def add(self, app: web.Application, route: Route) -> None:
        async def serve(request: web.Request) -> web.StreamResponse:
            return await self._serve(route, request)

        app.router.add_route(route.method, route.path, serve)

    async def _serve(self, route: Route, request: web.Request) -> web.StreamResponse:
        name = self._name(route, request)
        self._world.calls[name] += 1
        try:
            instead = await self._fault(Call(name, self._world.calls[name], request))
            if instead is not None:
                return instead
            body = await self._body(request)
            key = self._key(request, route.permission)
            return await route.handler(self._world, Visit(request, body, key))
        except ApiError as error:
            return error_response(error, self._world.dialect)

    async def _fault(self, call: Call) -> web.StreamResponse | None:
        """What an injected fault answers; whatever it raises is Immich's own trouble to the client."""
        try:
            return None if self.faults is None else await self.faults(call)
        except (ApiError, web.HTTPException, ConnectionError):
            raise
        except Exception:
            raise ApiError(500, "Internal server error") from None

    @staticmethod
    def _name(route: Route, request: web.Request) -> str:
        """`thumbnail` serves preview, thumbnail and full size: each counts for itself."""
        return request.query.get("size", route.name) if route.name == "thumbnail" else route.name

    @staticmethod
    async def _body(request: web.Request) -> Json:
        """The JSON object in the body; empty for another content type, which Immich does not even look at."""
        try:
            raw = await request.read()
        except web.HTTPRequestEntityTooLarge:
            raise ApiError(500, "Internal server error") from None
        if not raw or request.content_type != "application/json":
            return {}
        try:
            parsed = json.loads(raw)
        except UnicodeDecodeError:
            raise ApiError(400, "Unexpected token in JSON", parser=True) from None
        except json.JSONDecodeError as error:
            text = raw.decode()
            cut = error.pos >= len(text.rstrip())
            reason = "Unexpected end of JSON input" if cut else f"Unexpected token in JSON at position {error.pos}"
            raise ApiError(400, reason, parser=True) from None
        return parsed if isinstance(parsed, dict) else {}

    def _key(self, request: web.Request, permission: str | None) -> Key | None:
        """The request's key. A session (a cookie or a Bearer token) comes before the key and is never known."""
        if permission is None:
            return None
        if "Cookie" in request.headers or request.headers.get("Authorization", "").startswith("Bearer "):
            raise ApiError(401, "Invalid user token")
        secret = request.headers.get("x-api-key") or request.query.get("apiKey")
        if not secret:
            raise ApiError(401, "Authentication required")
        key = self._world.keys.get(secret)
        if key is None:
            raise ApiError(401, "Invalid API key")
        if permission and not key.may(permission):
            raise ApiError(403, f"Missing required permission: {permission}")
        return key
