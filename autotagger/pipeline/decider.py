"""From scores to tags: the only place that makes a `TagPolicy`, and where the vocabulary is applied.

Everything that decides tags asks a `TagDecider`: a run, a plan, `policy test`, `tag FILE`, the gate of `quantize`.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Self

from loguru import logger

from autotagger.ledger.reader import LedgerReader
from autotagger.ledger.rows import AssetFilter, ScoredAsset
from autotagger.ledger.writer import LedgerWriter
from autotagger.policy.explain import Explained, explain
from autotagger.policy.rules import TagPolicy
from autotagger.policy.vocabulary import Vocabulary
from autotagger.scores import SparseScores, unpack
from autotagger.settings import Settings
from autotagger.tagger.catalog import catalogue, find_model
from autotagger.tagger.model import Model

#: Stored scores looked at when a run begins, evenly spread: some two seconds' work, and plenty to tell frequent
#: tags from rare ones.
SAMPLE = 20_000
#: Assets counted in one go: the event loop has its turn after some tens of milliseconds.
_WINDOW = 500


class TagDecider:
    """The tags of pictures: what the policy says, as far as the vocabulary admits it.

    `policy`: what the settings make of a single picture.
    `identity`: what the ledger keeps of the rules that decided; equal identities give equal tags.
    `model`: the ledger's id of the model, 0 without a ledger.
    `origin`: the ledger's id of what links come from, 0 for who only reads.
    """

    def __init__(
        self, policy: TagPolicy, settings: Settings, *, ledger: LedgerReader | None = None, model: int = 0
    ) -> None:
        """Without a `ledger` there is no vocabulary: it is about a library, not about a picture."""
        self.policy = policy
        self.identity = policy.identity
        self.model = model
        self.origin = 0
        self._settings = settings.policy
        self._ledger = ledger
        self._put_origin: Callable[[], int] | None = None
        self._put_meanings: Callable[[Mapping[str, frozenset[str]]], None] | None = None
        self._noted: set[str] = set()
        self._recount_due = False
        self._counted: set[int] = set()
        cap = settings.policy.vocabulary if ledger else 0
        ratings = {name for row in policy.always.tolist() for name in policy.names[row]}
        always = {settings.marker, *ratings}
        in_use = ledger.tags_in_use() if ledger and cap else ()
        self._vocabulary = Vocabulary(cap, always=always, admitted=in_use)
        for key, packed in ledger.stored_scores(model, limit=SAMPLE) if ledger and cap else ():
            self._count(key, policy.tags(unpack(packed)))

    # -- who makes one ------------------------------------------------------------------------------------

    @classmethod
    def of_model(cls, model: Model, settings: Settings) -> Self:
        """For pictures that no ledger knows. Raises BadConfig for a setting that does not fit the model."""
        return cls(_policy_of(model, settings), settings)

    @classmethod
    def of_library(cls, ledger: LedgerReader, model: Model, settings: Settings) -> Self:
        """For who reads what `model` scored. Raises BadConfig."""
        return cls(
            _policy_of(model, settings), settings, ledger=ledger, model=ledger.model_id(model.identity) or 0
        )

    @classmethod
    def of_stored(cls, ledger: LedgerReader, model: int, settings: Settings) -> Self:
        """For who reads scores by the ledger's `model`: their labels are in the ledger, the thresholds with the
        model or in its manifest. Raises BadConfig, and StartupFailed where the model's files are needed and not
        there."""
        name = next(row.name for row in ledger.models() if row.id == model)
        policy = _stored_policy(ledger.labels(model), name, settings)
        return cls(policy, settings, ledger=ledger, model=model)

    @classmethod
    def of_run(cls, ledger: LedgerWriter, model: Model, settings: Settings, run: int) -> Self:
        """For the `run` that writes the ledger: model and origin are put there. Raises BadConfig."""
        policy = _policy_of(model, settings)
        for tag, names in policy.collisions.items():
            logger.warning("the labels {} become one tag: {}", " and ".join(names), tag)
        labels = [(label.name, label.category) for label in model.labels]
        known = ledger.model(model.identity, model.name, labels)
        decider = cls(policy, settings, ledger=ledger, model=known)
        decider._put_origin = lambda: ledger.origin(
            model=known, policy=decider.identity, settings=settings.policy.model_dump_json(), run=run
        )
        decider._note_origin()
        decider._put_meanings = ledger.record_meanings
        ledger.record_meanings(policy.meanings, known_only=True)  # used by a version that did not write it down
        return decider

    # -- deciding -----------------------------------------------------------------------------------------

    def tags(self, scored: Iterable[ScoredAsset]) -> list[tuple[ScoredAsset, tuple[str, ...]]]:
        """Each asset with its tags, the marker not among them."""
        decided = [(asset, self.policy.tags(unpack(asset.packed))) for asset in scored]
        for asset, tags in decided:
            self._count(asset.key, tags)
        if self._vocabulary.admit(tags for _, tags in decided):
            logger.warning(
                "the vocabulary of {} tags is full: new tags are left out from now on ([policy] vocabulary)",
                self._settings.vocabulary,
            )
        unwanted = self._ledger.taken_off([asset.key for asset, _ in decided]) if self._ledger else {}
        named = []
        for asset, tags in decided:
            off = unwanted.get(asset.key, frozenset())
            admitted = self._vocabulary.allowed(tags)
            named.append((asset, tuple(name for name in admitted if not self._is_off(name, off))))
        self._note_meanings({name for _, tags in named for name in tags})
        return named

    def explain(self, scores: SparseScores, key: int | None = None) -> tuple[Explained, ...]:
        """Every label that scored or became a tag, with the rule that decided on it; `key`: the asset that it is
        about, of which a person may have taken tags off."""
        unwanted = self._ledger.taken_off([key]) if self._ledger and key is not None else {}
        off = frozenset[str]().union(*unwanted.values())
        return explain(self.policy, scores, self._vocabulary, lambda name: self._is_off(name, off))

    def withheld(self) -> Counter[str]:
        """Tags that the policy gives and the vocabulary does not admit, with the number of assets: of all that
        was counted, which is an estimate where the ledger holds scores of more than `SAMPLE` assets."""
        self._vocabulary.admit([self._vocabulary.seen])
        share = 1.0
        if self._ledger and self._counted:
            stored = next((row.scores for row in self._ledger.models() if row.id == self.model), 0)
            share = max(1.0, stored / len(self._counted))
        return Counter({tag: round(count * share) for tag, count in self._vocabulary.withheld.items()})

    # -- a vocabulary that no order decides ---------------------------------------------------------------

    def expect_recount(self) -> None:
        """A retag begins: its vocabulary is to come from everything that is scored."""
        self._recount_due = bool(self._vocabulary.cap)

    async def recount(self) -> None:
        """Once after `expect_recount`: the vocabulary becomes the most frequent tags of all that is scored.

        From then on the identity says which vocabulary that is, so that what another one decided is outdated.
        """
        if not self._recount_due or self._ledger is None:
            return
        self._recount_due = False
        self._vocabulary.forget()
        self._counted.clear()
        after = 0
        while window := self._ledger.taggable(self.model, _WINDOW, AssetFilter(after=after)):
            for asset in window:
                self._count(asset.key, self.policy.tags(unpack(asset.packed)))
            after = window[-1].key
            await asyncio.sleep(0)
        self.identity = f"{self.policy.identity}:{self._vocabulary.choose()}"
        self._note_origin()

    # -- inside -------------------------------------------------------------------------------------------

    def _count(self, key: int, tags: Sequence[str]) -> None:
        if key not in self._counted and self._vocabulary.cap:
            self._counted.add(key)
            self._vocabulary.see(tags)

    def _is_off(self, name: str, off: frozenset[str]) -> bool:
        """Whether a tag says what a person took off, under whatever name (docs/immich.md, law 16)."""
        return bool(off) and not off.isdisjoint(self.policy.meanings[name])

    def _note_meanings(self, names: set[str]) -> None:
        """What tags mean is written down before they are used: later policies give other names."""
        if self._put_meanings is not None and (new := names - self._noted):
            self._put_meanings({name: self.policy.meanings[name] for name in new})
            self._noted |= new

    def _note_origin(self) -> None:
        if self._put_origin is not None:
            self.origin = self._put_origin()


def base_identity(identity: str) -> str:
    """The policy's own part of an identity that a `TagDecider` put into the ledger."""
    return identity.partition(":")[0]


def _policy_of(model: Model, settings: Settings) -> TagPolicy:
    labels = [(label.name, label.category) for label in model.labels]
    return TagPolicy(
        *(labels, settings.policy, model.manifest.thresholds, settings.marker, model.series),
        label_defaults={(name, category): limit for (name, category), limit in model.thresholds.items()},
    )


def _stored_policy(labels: list[tuple[str, str]], name: str, settings: Settings) -> TagPolicy:
    manifest = catalogue().get(name)
    if manifest is None or manifest.labels.threshold or manifest.labels.series:
        found = find_model(name if manifest else settings.model.name, settings.models_dir, download=False)
        if [tuple(label) for label in found.labels] == labels:
            return _policy_of(found, settings)
        manifest = found.manifest
    # Else the files have nothing to add, and finding them checks their hashes, which takes seconds.
    return TagPolicy(labels, settings.policy, manifest.thresholds, settings.marker)
