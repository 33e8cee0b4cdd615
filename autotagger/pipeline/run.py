"""One run from settings to summary: check the server, find the model, supervise."""

import asyncio
from collections.abc import Callable

from loguru import logger

from autotagger.config import Settings
from autotagger.pipeline.accounts import check_accounts
from autotagger.pipeline.summary import Summary
from autotagger.pipeline.supervisor import Supervisor
from autotagger.tagger.catalog import find_model


async def run_pipeline(
    settings: Settings,
    *,
    once: bool,
    limit: int | None = None,
    report: Callable[[Summary], None] = lambda _: None,
) -> Summary:
    """Tag the library. Returns when it is drained (`once`) or stopped by a signal.

    Raises Fatal (BadConfig, StartupFailed, ServerRefused) with one clear line and its exit code; nothing is
    half-written then.
    """
    household = await check_accounts(settings)
    model = await asyncio.to_thread(find_model, settings.model.name, settings.models_dir, download=True)
    identity = await asyncio.to_thread(lambda: model.identity)
    logger.info("model {} ({}), {} labels", model.name, identity[:12], len(model.labels))
    return await Supervisor(settings, household, model, once=once, limit=limit, report=report).run()
