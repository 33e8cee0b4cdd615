"""From scores to tags: the model and the policy of a run as the ledger knows them, and which tags are admitted."""

from collections.abc import Iterable

from loguru import logger

from autotagger.ledger.reader import LedgerReader
from autotagger.ledger.rows import ScoredAsset
from autotagger.ledger.writer import LedgerWriter
from autotagger.pipeline.writer.rating_actions import actions_of
from autotagger.policy.rules import TagPolicy
from autotagger.policy.vocabulary import Vocabulary, warning
from autotagger.scores import unpack
from autotagger.settings import Settings
from autotagger.tagger.model import Model

#: Stored scores looked at when a run begins, evenly spread: some two seconds' work, and plenty to tell frequent
#: tags from rare ones.
SAMPLE = 20_000


class Namer:
    """From scored assets to the tags that they get: what the policy says, as far as the vocabulary admits it.

    What was ever planned for an asset (the ledger's tags) counts as admitted.
    """

    def __init__(self, ledger: LedgerReader, policy: TagPolicy, *, model: int, cap: int, marker: str) -> None:
        ratings = {name for row in policy.always.tolist() for name in policy.names[row]}
        known = ledger.tag_names()
        self._policy = policy
        self._cap = cap
        self._vocabulary = Vocabulary(cap, always={marker, *ratings}, admitted=known)
        self._counted: set[int] = set()
        if warned := warning(cap, len(policy.possible), len(policy.possible & set(known))):
            logger.warning("{}", warned)
        for key, packed in ledger.stored_scores(model, limit=SAMPLE) if cap else ():
            self._vocabulary.see(policy.tags(unpack(packed)))
            self._counted.add(key)

    def tags(self, scored: Iterable[ScoredAsset]) -> list[tuple[ScoredAsset, tuple[str, ...]]]:
        """Each asset with its tags, the marker not among them."""
        decided = [(asset, self._policy.tags(unpack(asset.packed))) for asset in scored]
        for asset, tags in decided:
            if asset.key not in self._counted:
                self._vocabulary.see(tags)
        if self._vocabulary.admit(tags for _, tags in decided):
            logger.warning(
                "the vocabulary of {} tags is full: tags that are not in it yet are left out from now on "
                "([policy] vocabulary)",
                self._cap,
            )
        return [(asset, self._vocabulary.allowed(tags)) for asset, tags in decided]


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

    def __init__(self, ledger: LedgerWriter, model: Model, settings: Settings, run: int) -> None:
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
