"""Retag beside a running service: the service does it, between its other work."""

from autotagger.errors import StartupFailed
from autotagger.ledger.reader import LedgerReader
from autotagger.pipeline.control.mailbox import Mailbox
from autotagger.pipeline.decider import TagDecider, base_identity
from autotagger.settings import Settings
from autotagger.tagger.model import Model


def hand_over(settings: Settings, model: Model) -> int:
    """Ask the running service to bring everything to today's model and policy; returns how many assets that
    concerns at least. Raises StartupFailed where it still uses other settings."""
    policy = TagDecider.of_model(model, settings).identity
    with LedgerReader(settings.ledger_path) as ledger:
        newest = ledger.newest_rules()
        if newest is None or (newest[0], base_identity(newest[1])) != (model.identity, policy):
            raise StartupFailed(
                "the running service was started with another model or policy: restart it, then retag",
                kind="other-rules",
            )
        known = ledger.model_id(model.identity)
        assert known is not None, "a model that runs is in the ledger"
        concerned = ledger.outdated(known, policy)
    Mailbox(settings.state_dir).post("retag", model=model.identity, policy=policy)
    return concerned
