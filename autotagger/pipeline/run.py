"""One run from settings to summary: check the server, find the model, supervise."""

import asyncio
from collections.abc import Callable

from loguru import logger
from yarl import URL

from autotagger.config import Settings, api_key
from autotagger.errors import ServerRefused, Unreachable
from autotagger.immich.address import is_exposed
from autotagger.immich.client import ImmichClient
from autotagger.immich.dialect import connect
from autotagger.immich.types import Server
from autotagger.log import hide_secret
from autotagger.pipeline.summary import Summary
from autotagger.pipeline.supervisor import Supervisor
from autotagger.pipeline.view import Observe, unobserved
from autotagger.tagger.catalog import find_model


async def run_pipeline(
    settings: Settings,
    *,
    once: bool,
    limit: int | None = None,
    report: Callable[[Summary], None] = lambda _: None,
    observe: Observe = unobserved,
) -> Summary:
    """Tag the library. Returns when it is drained (`once`) or stopped by a signal.

    Raises Fatal (BadConfig, StartupFailed, ServerRefused) with one clear line and its exit code; nothing is
    half-written then.
    """
    key = api_key(settings.immich)
    hide_secret(key)
    server = await check_server(settings)
    model = await asyncio.to_thread(find_model, settings.model.name, settings.models_dir, download=True)
    identity = await asyncio.to_thread(lambda: model.identity)
    logger.info("model {} ({}), {} labels", model.name, identity[:12], len(model.labels))
    supervisor = Supervisor(settings, key, server, model, once=once, limit=limit, report=report, observe=observe)
    return await supervisor.run()


async def check_server(settings: Settings) -> Server:
    """Everything that must hold before a picture is touched. Raises ServerRefused."""
    try:
        async with ImmichClient(settings.immich, api_key(settings.immich)) as client:
            server = await connect(client, settings.immich)
            logger.info("Immich {} at {}", server.version, client.address)
            if is_exposed(URL(client.address)):
                logger.warning("the API key goes to {} unencrypted: use https", client.address)
            return server
    except Unreachable as error:
        raise ServerRefused(error.message, kind=error.kind) from None
