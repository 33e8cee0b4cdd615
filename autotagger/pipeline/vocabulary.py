"""The vocabulary of a run: begun from the ledger, asked for every batch of plans."""

from collections.abc import Iterable

from loguru import logger

from autotagger.ledger.rows import ScoredAsset
from autotagger.ledger.store import Ledger
from autotagger.policy.rules import TagPolicy
from autotagger.policy.vocabulary import Vocabulary, warning
from autotagger.scores import unpack

#: Stored scores looked at when a run begins, evenly spread: some two seconds' work, and plenty to tell frequent
#: tags from rare ones.
SAMPLE = 20_000


class Namer:
    """From scored assets to the tags that they get: what the policy says, as far as the vocabulary admits it.

    What was ever planned for an asset (the ledger's tags) counts as admitted.
    """

    def __init__(self, ledger: Ledger, policy: TagPolicy, *, model: int, cap: int, marker: str) -> None:
        ratings = {name for row in policy.always.tolist() for name in policy.names[row]}
        known = ledger.tag_names()
        self._policy = policy
        self._cap = cap
        self._vocabulary = Vocabulary(cap, always={marker, *ratings}, admitted=known)
        self._counted: set[int] = set()
        if warned := warning(cap, len(policy.possible), len(policy.possible & set(known))):
            logger.warning("{}", warned)
        for key, packed in ledger.stored_scores(model, most=SAMPLE) if cap else ():
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
