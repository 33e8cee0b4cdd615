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
from autotagger.ledger.store import Ledger
from autotagger.log import hide_secret
from autotagger.pipeline.messages import Errand
from autotagger.pipeline.summary import Summary
from autotagger.pipeline.supervisor import REPORT_S, Supervisor
from autotagger.pipeline.view import Observe, unobserved
from autotagger.tagger.catalog import Model, find_model


async def run_pipeline(
    settings: Settings,
    *,
    once: bool,
    limit: int | None = None,
    dry: bool = False,
    report: Callable[[Summary], None] = lambda _: None,
    report_s: float = REPORT_S,
    observe: Observe = unobserved,
) -> Summary:
    """Tag the library until it is drained (`once`) or stopped by a signal. `dry`: pictures are only scored.
    `report` is told the run so far every `report_s` seconds.

    Raises Fatal (BadConfig, StartupFailed, ServerRefused) with one clear line and its exit code; nothing is
    half-written then.
    """
    key = api_key(settings.immich)
    hide_secret(key)
    server = await check_server(settings)
    model = await load_model(settings)
    supervisor = Supervisor(
        *(settings, key, server, model),
        once=once,
        limit=limit,
        dry=dry,
        report=report,
        report_s=report_s,
        observe=observe,
    )
    return await supervisor.run()


async def run_errand(
    settings: Settings, errand: Errand, *, report: Callable[[Summary], None] = lambda _: None
) -> Summary:
    """See to an errand, and to nothing else. Returns when Immich holds what is meant, or at a signal: begun again
    it goes on. Raises what `run_pipeline` raises, and StartupFailed where there is no ledger."""
    Ledger(settings.ledger_path, writable=False).close()
    key = api_key(settings.immich)
    hide_secret(key)
    server = await check_server(settings)
    model = await load_model(settings) if errand.kind == "retag" else None
    return await Supervisor(settings, key, server, model, once=True, errand=errand, report=report).run()


async def load_model(settings: Settings) -> Model:
    """The model of the settings, downloaded where it has to be. Raises StartupFailed."""
    model = await asyncio.to_thread(find_model, settings.model.name, settings.models_dir, download=True)
    identity = await asyncio.to_thread(lambda: model.identity)
    logger.info("model {} ({}), {} labels", model.name, identity[:12], len(model.labels))
    return model


async def check_server(settings: Settings) -> Server:
    """Everything that must hold before a picture is touched. Raises ServerRefused."""
    try:
        async with ImmichClient(settings.immich, api_key(settings.immich)) as client:
            server = await connect(client, settings.immich)
            _check_rating_action(settings, server)
            logger.info("Immich {} at {}", server.version, client.address)
            if is_exposed(URL(client.address)):
                logger.warning("the API key goes to {} unencrypted: use https", client.address)
            return server
    except Unreachable as error:
        raise ServerRefused(error.message, kind=error.kind) from None


def _check_rating_action(settings: Settings, server: Server) -> None:
    if settings.policy.rating_action and not server.may("asset.update"):
        raise ServerRefused(
            "the API key lacks the permission asset.update, which [policy.rating_action] needs: add it "
            "(Immich: Account Settings > API Keys), or take rating_action out"
        )
