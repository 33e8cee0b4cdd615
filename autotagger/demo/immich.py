"""`StandIn`: an Immich server on a real socket, with the hands of a person who uses it while autotagger works.

async with StandIn(draw_library(40), dialect="3.0") as server:
    ...  # server.url, server.api_key
    await server.settle()
    server.links()
"""

import asyncio
import socket
import time
from collections import Counter
from collections.abc import Iterable
from email.utils import formatdate
from types import TracebackType
from typing import Self

from aiohttp import web

from autotagger.demo import edit_routes, gatherings, media_routes, routes
from autotagger.demo.backup import Backup, bring_back, dump
from autotagger.demo.faults import Faults
from autotagger.demo.gate import MAX_BODY_BYTES, Gate
from autotagger.demo.jobs import Jobs
from autotagger.demo.library import ME, Library
from autotagger.demo.person import Person
from autotagger.demo.removals import Removals
from autotagger.demo.store import Clock, Store
from autotagger.demo.wire import USERS, ApiError, Dialect, error_response, json_response
from autotagger.demo.world import ALL, World

KEEP_ALIVE_S = 5.0
"""Immich's own: a pooled connection that idles longer is closed, sometimes under a request."""
JOB_DELAY_S = 0.05
"""Longest time from a job's start to its end: an idle server needs up to 0.1 s for sidecar and extraction."""
WEB_PAGE = "<!doctype html><html><head><title>Immich</title></head><body>Loading</body></html>"


class StandIn(Person):
    """A stand-in Immich over one library. The library itself is never changed; two servers may share it.

    `dialect`: 2.7, 3.0, 3.2 or 4. `port`: 0 for any free one. `tag_losing_jobs`: False for jobs that lose nothing.
    `jobs_per_s`: most background jobs started a second (each tagged asset costs two); None for no limit.
    `job_delay_s`: the most that a job takes on an idle server, seconds. `preview_after`: previews that come later
    are made after so many requests for them; None: only by `generate_previews`. `webp_previews`: WebP instead of
    JPEG, as an admin may choose. `clock`: epoch seconds, of all times that the server tells.
    `job_clock`: seconds, for tests that move the jobs' time themselves (`jobs.catch_up`); None: real time.
    `proxy_skew_s`, `database_skew_s`: how far the clock of a proxy (the `Date` header) and the database's
    (`createdAt`, `updatedAt`) are ahead of `clock`; both are attributes that may be set at any time (law 12).
    `removals_come_back`: share of removals in quick succession that come back once; `parallel_removals_lose`:
    share of assets that lose all links to parallel removals (law 13; `removals.come_back`, `removals.lose` later).
    `tags_enabled`: the user's switch for tags (law 21).
    """

    def __init__(
        self,
        library: Library,
        dialect: str = "3.0",
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        tag_losing_jobs: bool = True,
        jobs_per_s: float | None = None,
        job_delay_s: float = JOB_DELAY_S,
        preview_after: int | None = None,
        webp_previews: bool = False,
        faults: Faults | None = None,
        clock: Clock = time.time,
        job_clock: Clock | None = None,
        proxy_skew_s: float = 0.0,
        database_skew_s: float = 0.0,
        removals_come_back: float = 0.0,
        parallel_removals_lose: float = 0.0,
        tags_enabled: bool = True,
    ) -> None:
        self.library = library
        self.dialect = Dialect.named(dialect)
        self.store = Store(library, clock)
        self._clock = clock
        self.proxy_skew_s = proxy_skew_s
        self.database_skew_s = database_skew_s
        self.jobs = Jobs(
            self.store,
            delay_s=job_delay_s,
            jobs_per_s=jobs_per_s,
            losing=tag_losing_jobs,
            seed=library.seed,
            clock=job_clock,
        )
        self.removals = Removals(
            self.store, library.seed, come_back=removals_come_back, lose=parallel_removals_lose
        )
        self.world = World(
            library, self.dialect, self.store, self.jobs, self.removals, preview_after, webp_previews, tags_enabled
        )
        self._gate = Gate(self.world, faults)
        self._host = host
        self._port = port
        self._place: socket.socket | None = None
        self._runner: web.AppRunner | None = None
        self.api_key = self.add_key([ALL])

    # Life

    async def __aenter__(self) -> Self:
        self.jobs.start()
        await self.come_up()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.go_down()
        if self._place is not None:
            self._place.close()
        await self.jobs.stop()
        self.world.media.close()

    async def come_up(self) -> None:
        """Listen. After `go_down`, on the same port, with everything that was stored."""
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        for route in (*routes.ROUTES, *media_routes.ROUTES, *edit_routes.ROUTES, *gatherings.ROUTES):
            if self.dialect in route.dialects:
                self._gate.add(app, route)
        app.on_response_prepare.append(self._stamp)
        app.router.add_get("/demo/state", self._state)
        app.router.add_get("/demo/settled", self._settled)
        app.router.add_route("*", "/{path:.*}", self._elsewhere)
        self._runner = web.AppRunner(
            app, access_log=None, keepalive_timeout=KEEP_ALIVE_S, shutdown_timeout=1.0, handle_signals=False
        )
        await self._runner.setup()
        if self._place is None:
            # Never listened on: it keeps the port ours while the server is down.
            self._place = await self._bound()
            self._port = self._place.getsockname()[1]
        await web.SockSite(self._runner, await self._bound()).start()

    async def _bound(self) -> socket.socket:
        found = await asyncio.get_running_loop().getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        family, kind, protocol, _, address = found[0]
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind(address)
        except OSError:
            bound.close()
            raise
        return bound

    async def go_down(self) -> None:
        """Hang up on everybody and refuse connections, as when the database takes the process with it."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @property
    def url(self) -> str:
        """`http://127.0.0.1:40123`, without /api."""
        return f"http://{self._host}:{self._port}"

    @property
    def port(self) -> int:
        return self._port

    # What tests read

    @property
    def calls(self) -> Counter[str]:
        """Requests received, by call: `search`, `preview`, `thumbnail`, `original`, `asset`, `upsert_tags`,
        `tag_assets`, `untag_assets`... Refused and injected-fault ones count too."""
        return self.world.calls

    def links(self) -> dict[str, frozenset[str]]:
        """Every asset's tag values as the database holds them now; assets without tags are there too."""
        return {row.id: frozenset(self.store.values(row)) for row in self.store.rows.values()}

    @property
    def settled(self) -> bool:
        """No background job waits or runs."""
        return self.jobs.idle

    async def settle(self) -> None:
        """Let the background jobs finish, without waiting for their delays. Raises RuntimeError while paused."""
        await self.jobs.settle()

    # What tests set

    @property
    def database_skew_s(self) -> float:
        """Seconds that the database's clock is ahead."""
        return self.store.skew_s

    @database_skew_s.setter
    def database_skew_s(self, seconds: float) -> None:
        self.store.skew_s = seconds

    @property
    def tags_enabled(self) -> bool:
        """Whether Immich's pages show tags to the user."""
        return self.world.tags_enabled

    @tags_enabled.setter
    def tags_enabled(self, enabled: bool) -> None:
        self.world.tags_enabled = enabled

    def make_sidecar_unwritable(self, asset_id: str, unwritable: bool = True) -> None:
        """Let the .xmp of this one asset be impossible to write, or possible again (law 17)."""
        self.store.rows[asset_id].unwritable = unwritable

    def backup(self) -> Backup:
        """A dump of the database as it is now."""
        return dump(self.store)

    def restore_backup(self, backup: Backup) -> None:
        """Bring a dump back (law 15): jobs are forgotten, the .xmp files stay as they are now."""
        self.jobs.forget()
        bring_back(self.store, backup)

    @property
    def faults(self) -> Faults | None:
        return self._gate.faults

    @faults.setter
    def faults(self, faults: Faults | None) -> None:
        self._gate.faults = faults

    def add_key(self, permissions: Iterable[str], user: str = ME) -> str:
        """A further API key, with just these permissions, of the user of `api_key` or of another one.

        Raises KeyError for a user whom the server does not have.
        """
        if user not in USERS:
            raise KeyError(user)
        return self.world.add_key(permissions, user).secret

    def share(self, owner: str, viewer: str) -> None:
        """Let a user see another's timeline from now on, as Immich's partner sharing does."""
        self.store.share(owner, viewer)

    def revoke_key(self, secret: str) -> None:
        del self.world.keys[secret]

    # Beside Immich's own routes

    async def _state(self, request: web.Request) -> web.Response:
        """For another process: counts, and with `?links=1` every asset's tag values."""
        body: dict[str, object] = {
            "calls": dict(self.calls),
            "assets": sum(row.spec.owner_id == ME for row in self.store.rows.values()),
            "tags": len(self.store.tags),
            "settled": self.settled,
        }
        if request.query.get("links") == "1":
            body["links"] = {row.id: self.store.values(row) for row in self.store.rows.values()}
        return json_response(body)

    async def _stamp(self, _request: web.Request, response: web.StreamResponse) -> None:
        """The Date header by Immich's clock, or by that of the proxy before it."""
        response.headers["Date"] = formatdate(int(self._clock() + self.proxy_skew_s), usegmt=True)

    async def _settled(self, _request: web.Request) -> web.Response:
        return json_response({"settled": self.settled})

    async def _elsewhere(self, request: web.Request) -> web.Response:
        """Unknown API paths are a JSON 404; any other page is the web app, so a wrong base URL seems to work."""
        if request.method == "GET" and not (request.path == "/api" or request.path.startswith("/api/")):
            return web.Response(text=WEB_PAGE, content_type="text/html")
        return error_response(ApiError(404, f"Cannot {request.method} {request.path}"), self.dialect)
