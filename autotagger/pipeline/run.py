"""One run from settings to summary: check the server, find the model, supervise."""

import asyncio
from collections.abc import Callable

from loguru import logger

from autotagger.errors import Fatal, StartupFailed
from autotagger.ledger.reader import LedgerReader
from autotagger.pipeline.accounts import check_accounts
from autotagger.pipeline.control.pause import is_paused
from autotagger.pipeline.ipc.messages import Operation
from autotagger.pipeline.selecting import identity_of
from autotagger.pipeline.supervisor.status import Observe, unobserved
from autotagger.pipeline.supervisor.summary import Summary
from autotagger.pipeline.supervisor.supervisor import REPORT_S, Supervisor
from autotagger.settings import DEFAULT_ACCOUNT_NAME, Settings
from autotagger.tagger.catalog import find_model
from autotagger.tagger.model import Model


async def run_pipeline(
    settings: Settings,
    *,
    once: bool,
    limit: int | None = None,
    scoring_only: bool = False,
    report: Callable[[Summary], None] = lambda _: None,
    report_s: float = REPORT_S,
    observe: Observe = unobserved,
) -> Summary:
    """Tag the library until it is drained (`once`) or stopped by a signal. `scoring_only`:
    pictures are only scored.
    `report` is told the run so far every `report_s` seconds.

    Raises Fatal (BadConfig, StartupFailed, ServerRefused; `paused` where `once` finds a pause) with one clear line
    and its exit code; nothing is half-written then.
    """
    if once and not scoring_only and is_paused(settings.state_dir):
        raise Fatal("paused: nothing was done; `autotagger resume` ends the pause", kind="paused", exit_code=1)
    accounts = await check_accounts(settings)
    model = await load_model(settings)
    supervisor = Supervisor(
        settings,
        accounts,
        model,
        once=once,
        limit=limit,
        scoring_only=scoring_only,
        report=report,
        report_s=report_s,
        observe=observe,
    )
    return await supervisor.run()


async def run_operation(
    settings: Settings, operation: Operation, *, report: Callable[[Summary], None] = lambda _: None
) -> Summary:
    """Do an operation, and nothing else. Returns when Immich holds what is meant, or at a signal; begun again, it
    continues. Raises what `run_pipeline` raises, and StartupFailed where there is no ledger."""
    with LedgerReader(settings.ledger_path) as ledger:
        if operation.selection.unselected:
            _check_selection(settings, ledger)
    accounts = await check_accounts(settings)
    model = await load_model(settings) if operation.kind == "retag" else None
    return await Supervisor(settings, accounts, model, once=True, operation=operation, report=report).run()


def _check_selection(settings: Settings, ledger: LedgerReader) -> None:
    """Raises StartupFailed where the ledger was never compared with the selection of today's settings."""
    known = ledger.selections()
    for name in [account.name for account in settings.account] or [DEFAULT_ACCOUNT_NAME]:
        if known.get(name) != identity_of(settings.selected_by(name)):
            raise StartupFailed(
                "[select] has changed since the library was last listed: let `autotagger plan` or "
                "`autotagger run` list it first",
                kind="selection-unknown",
            )


async def load_model(settings: Settings) -> Model:
    """The model of the settings, downloaded where it has to be. Raises StartupFailed."""
    model = await asyncio.to_thread(find_model, settings.model.name, settings.models_dir, download=True)
    identity = await asyncio.to_thread(lambda: model.identity)
    logger.info("model {} ({}), {} labels", model.name, identity[:12], len(model.labels))
    return model
