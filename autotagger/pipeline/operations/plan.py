"""A dry run: list the library, score a few pictures, and tell what would be done. Immich is only read."""

from dataclasses import replace

from loguru import logger

from autotagger.config import api_keys
from autotagger.errors import StartupFailed
from autotagger.immich.client import ImmichClient
from autotagger.ledger.rows import AssetFilter
from autotagger.ledger.store import Ledger
from autotagger.pipeline.decider import tag_policy
from autotagger.pipeline.operations.planned_changes import Outlook, look_ahead
from autotagger.pipeline.run import load_model, run_pipeline
from autotagger.pipeline.vocabulary import Namer
from autotagger.settings import Settings

EVERYTHING = AssetFilter()


async def plan_library(
    settings: Settings, *, score: int, chosen: AssetFilter = EVERYTHING, account: str | None = None
) -> Outlook:
    """What run and retag would change with the chosen assets of one account, or of all.

    At most `score` pictures without scores are scored for it first, chosen or not; where another run is under way,
    it is planned from what that has scored so far. Raises Fatal, and AssetFailed where one asset is chosen that
    the ledger does not know."""
    if score:
        try:
            await run_pipeline(settings, once=True, limit=score, dry=True)
        except StartupFailed as error:
            if error.kind != "ledger-locked":
                raise
            logger.info("a run is under way: planned from what it has scored so far")
    model = await load_model(settings)
    in_immich: set[str] = set()
    for key in api_keys(settings).values():
        async with ImmichClient(settings.immich, key) as client:
            in_immich |= {tag.value for tag in await client.tags()}
    with Ledger(settings.ledger_path, writable=False) as ledger:
        if account is not None:
            chosen = replace(chosen, account=ledger.account_named(account))
        if chosen.asset_id is not None:
            ledger.known(chosen.asset_id)
        known = ledger.model_id(model.identity)
        if known is None:
            return Outlook(unscored=ledger.unscored(-1, chosen))
        policy = tag_policy(model, settings)
        namer = Namer(ledger, policy, model=known, cap=settings.policy.vocabulary, marker=settings.marker)
        return look_ahead(
            ledger,
            namer,
            known,
            marker=settings.marker,
            in_immich=in_immich,
            batch_size=settings.immich.batch_size,
            chosen=chosen,
        )
