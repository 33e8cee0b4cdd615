"""A run together with what watches it."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from loguru import logger

from autotagger.config import api_keys
from autotagger.errors import AutotaggerError
from autotagger.immich.client import ImmichClient
from autotagger.lines import hide_secret
from autotagger.pipeline.run import run_pipeline
from autotagger.pipeline.supervisor.summary import Summary
from autotagger.resources import told
from autotagger.service.notify import Notifier
from autotagger.service.observer import Observer
from autotagger.settings import ServiceSettings, Settings

#: Immich's ping costs it nothing; a minute without it would be a long time for somebody who looks.
PING_EVERY_S = 15.0
PING_TIMEOUT_S = 10.0


async def run_service(
    settings: Settings,
    *,
    once: bool,
    limit: int | None = None,
    report: Callable[[Summary], None] = lambda _: None,
) -> Summary:
    """`run_pipeline` with health, metrics, systemd and the lines that sum it up. Raises what that raises, and
    StartupFailed when the port cannot be had."""
    for key in api_keys(settings).values():
        hide_secret(key)
    notifier = Notifier.take_from(os.environ)
    observer = Observer(notifier, settings.service.summary_interval_s)
    async with AsyncExitStack() as around:
        listens = _listens(settings.service, once=once)
        if listens:
            # Only who is to answer pays for the server and the metrics library.
            from autotagger.service.http import answered

            service = settings.service
            around_it = answered(observer, service.listen_host, service.listen_port, service.allowed_hosts)
            port = await around.enter_async_context(around_it)
            logger.info("health and metrics at http://{}:{}/health", service.listen_host, port)
        if listens or notifier:
            await around.enter_async_context(_pinged(settings, observer))
        observer.begin()
        summary = await run_pipeline(settings, once=once, limit=limit, report=report, observe=observer.observe)
        observer.end(summary)
        return summary


def _listens(service: ServiceSettings, *, once: bool) -> bool:
    return bool(service.listen_port) and (service.listen_once or not once)


@asynccontextmanager
async def _pinged(settings: Settings, observer: Observer) -> AsyncIterator[None]:
    pinging = asyncio.create_task(_ping(settings, observer))
    try:
        yield
    finally:
        pinging.cancel()
        await asyncio.wait([pinging])


async def _ping(settings: Settings, observer: Observer) -> None:
    """Keep `observer.reachable` true to life: between two listings nobody else may talk to Immich for an hour."""
    key = next(iter(api_keys(settings).values()))  # a ping needs none: any will do
    async with ImmichClient(settings.immich, key) as client:
        while True:
            try:
                async with asyncio.timeout(PING_TIMEOUT_S):
                    observer.reachable = await client.ping()
            except (TimeoutError, AutotaggerError):  # the certificate may have ended meanwhile
                observer.reachable = False
            except MemoryError as error:  # of ours: it says nothing about Immich
                logger.warning("cannot ping Immich: {}", told(error))
            await asyncio.sleep(PING_EVERY_S)
