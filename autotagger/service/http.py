"""Health, metrics and status over HTTP, for this machine alone unless the settings say otherwise.

| path | answer |
|---|---|
| `/health` | 200 when live and ready, else 503; JSON says which and why |
| `/health/live`, `/health/ready` | the same body; the status of one of the two |
| `/metrics` | Prometheus' text format |
| `/status` | the run in figures, JSON |
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any

import orjson
from aiohttp import web

from autotagger import __version__
from autotagger.errors import StartupFailed
from autotagger.service.metrics import CONTENT_TYPE, exposition, registry_of, resident_bytes
from autotagger.service.observer import Observer
from autotagger.service.words import figures


@asynccontextmanager
async def answered(observer: Observer, host: str, port: int) -> AsyncIterator[int]:
    """Answer while the block runs; gives the port (port 0 takes a free one). Raises StartupFailed."""
    # No access log: a look every few seconds is no event.
    runner = web.AppRunner(application(observer), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise StartupFailed(
                f"cannot serve health and metrics on {host} port {port} ({error.strerror or error}): "
                "set [service] listen_port to a free port, or to 0 to turn them off",
                kind="listen",
            ) from None
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def application(observer: Observer) -> web.Application:
    """The routes above."""
    registry = registry_of(observer)

    async def health(_: web.Request) -> web.Response:
        found = observer.health
        return _json(health_document(observer), ok=found.healthy)

    async def live(_: web.Request) -> web.Response:
        return _json(health_document(observer), ok=observer.health.live)

    async def ready(_: web.Request) -> web.Response:
        return _json(health_document(observer), ok=observer.health.ready)

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=exposition(registry), headers={"Content-Type": CONTENT_TYPE})

    async def status(_: web.Request) -> web.Response:
        return _json(status_document(observer), ok=True)

    app = web.Application()
    app.add_routes(
        [
            web.get("/health", health),
            web.get("/health/live", live),
            web.get("/health/ready", ready),
            web.get("/metrics", metrics),
            web.get("/status", status),
        ]
    )
    return app


def health_document(observer: Observer) -> dict[str, Any]:
    found = observer.health
    return {
        "live": found.live,
        "ready": found.ready,
        "reasons": list(found.reasons),
        "warnings": list(found.warnings),
    }


def status_document(observer: Observer) -> dict[str, Any]:
    """Health, and once the run has begun its figures, processes and places."""
    document = {**health_document(observer), "version": __version__, "immich_reachable": observer.reachable}
    if (status := observer.status) is None:
        return document
    return {
        **document,
        "immich": status.server_version,
        "model": status.model,
        "model_identity": status.model_identity,
        "listing": status.listing,
        "paused": status.paused,
        "rest": status.idle_reason or None,
        "stopping": status.stopping,
        "run": figures(status.summary, observer.pace),
        "under_way": status.jobs,
        "slots": {"free": status.free_slots, "used": status.slots - status.free_slots},
        "processes": [asdict(one) | {"resident_bytes": resident_bytes(one.pid)} for one in status.processes],
    }


def _json(document: dict[str, Any], *, ok: bool) -> web.Response:
    return web.Response(
        body=orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE),
        status=200 if ok else 503,
        content_type="application/json",
    )
