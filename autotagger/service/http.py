"""Health, metrics and status over HTTP, for this machine alone unless the settings say otherwise.

| path | answer |
|---|---|
| `/health` | 200 when live and ready, else 503; JSON says which and why |
| `/health/live`, `/health/ready` | the same body; the status of one of the two |
| `/metrics` | Prometheus' text format |
| `/status` | the run in numbers, JSON |
"""

import socket
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any

import orjson
from aiohttp import web

from autotagger import __version__
from autotagger.errors import StartupFailed
from autotagger.service.doorkeeper import Answer, Doorkeeper, is_known
from autotagger.service.metrics import CONTENT_TYPE, exposition, registry_of, resident_bytes
from autotagger.service.observer import Observer
from autotagger.service.words import run_stats


@asynccontextmanager
async def answered(
    observer: Observer, host: str, port: int, allowed_hosts: Iterable[str] = ()
) -> AsyncIterator[int]:
    """Answer while the block runs; gives the port (port 0 takes a free one). `allowed_hosts`: see `doorkeeper`.
    Raises StartupFailed."""
    doorkeeper = Doorkeeper(answer_of(observer, (host, socket.gethostname(), *allowed_hosts)))
    runner = web.ServerRunner(doorkeeper, shutdown_timeout=1.0)
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


def answer_of(observer: Observer, allowed_hosts: Collection[str]) -> Answer:
    """What is answered to a request: one of the paths above, to whoever asks by a known name. Every answer ends
    its connection."""
    registry = registry_of(observer)
    paths: dict[str, Callable[[], web.Response]] = {
        "/health": lambda: _json(health_document(observer), ok=observer.health.healthy),
        "/health/live": lambda: _json(health_document(observer), ok=observer.health.live),
        "/health/ready": lambda: _json(health_document(observer), ok=observer.health.ready),
        "/metrics": lambda: web.Response(body=exposition(registry), headers={"Content-Type": CONTENT_TYPE}),
        "/status": lambda: _json(status_document(observer), ok=True),
    }

    async def answer(request: web.BaseRequest) -> web.Response:
        found = paths.get(request.path)
        if not all(is_known(host, allowed_hosts) for host in request.headers.getall("Host", [])):
            response = _refusal(403, "autotagger is not known by this name: see [service] allowed_hosts")
        elif request.method not in ("GET", "HEAD"):
            response = _refusal(405, "only GET and HEAD")
        else:
            response = found() if found else _refusal(404, f"there is only {', '.join(paths)}")
        response.force_close()
        return response

    return answer


def health_document(observer: Observer) -> dict[str, Any]:
    found = observer.health
    return {
        "live": found.live,
        "ready": found.ready,
        "reasons": list(found.reasons),
        "warnings": list(found.warnings),
    }


def status_document(observer: Observer) -> dict[str, Any]:
    """Health, and once the run has begun its numbers, processes and places."""
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
        "run": run_stats(status.summary, observer.pace),
        "under_way": status.jobs,
        "slots": {"free": status.free_slots, "used": status.slots - status.free_slots},
        "processes": [asdict(one) | {"resident_bytes": resident_bytes(one.pid)} for one in status.processes],
    }


def _refusal(status: int, text: str) -> web.Response:
    return web.Response(status=status, text=f"{text}\n")


def _json(document: dict[str, Any], *, ok: bool) -> web.Response:
    return web.Response(
        body=orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE),
        status=200 if ok else 503,
        content_type="application/json",
    )
