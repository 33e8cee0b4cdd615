"""Today's rules: the model and the policy of a run as the ledger knows them, and the names that they give."""

from loguru import logger

from autotagger.ledger.store import Ledger
from autotagger.pipeline.vocabulary import Namer
from autotagger.pipeline.writer.rating_actions import actions_of
from autotagger.policy.rules import TagPolicy
from autotagger.settings import Settings
from autotagger.tagger.model import Model


def tag_policy(model: Model, settings: Settings) -> TagPolicy:
    """The policy of `settings` over the labels of `model`."""
    labels = [(label.name, label.category) for label in model.labels]
    return TagPolicy(
        *(labels, settings.policy, model.manifest.thresholds, settings.marker, model.series),
        label_defaults={(name, category): limit for (name, category), limit in model.thresholds.items()},
    )


class Rules:
    """`model`: the ledger's id of the model; `origin`: what the links that these rules bring about carry.
    `actions`: what the tags of ratings do to an asset's visibility. Raises BadConfig."""

    def __init__(self, ledger: Ledger, model: Model, settings: Settings, run: int) -> None:
        self.policy = tag_policy(model, settings)
        for tag, names in self.policy.collisions.items():
            logger.warning("the labels {} become one tag: {}", " and ".join(names), tag)
        self.actions = actions_of(self.policy, settings.policy.rating_action)
        labels = [(label.name, label.category) for label in model.labels]
        self.model = ledger.model(model.identity, model.name, labels)
        self.origin = ledger.origin(
            model=self.model,
            policy=self.policy.identity,
            settings=settings.policy.model_dump_json(),
            run=run,
        )
        self.namer = Namer(
            ledger, self.policy, model=self.model, cap=settings.policy.vocabulary, marker=settings.marker
        )
