"""The gate: does the INT8 model give the user's pictures the tags that the original gives them, and is it faster?

What decides is tags, under the policy of today, not scores: a score that moved from 0.90 to 0.93 changes nothing.
The original's tags count as the truth.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from autotagger.errors import AssetFailed
from autotagger.policy.rules import TagPolicy
from autotagger.scores import SparseScores, pack, unpack
from autotagger.tagger.engine.protocol import Session
from autotagger.tagger.model import Model
from autotagger.tagger.preprocess import prepare

MIN_F1, MIN_SPEED_UP = 0.97, 1.3
WORST_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Counts:
    """Tags of both, of INT8 alone (`extra`), of the original alone (`missing`)."""

    both: int
    extra: int
    missing: int

    @property
    def precision(self) -> float:
        """Share of INT8's tags that the original gave too."""
        return self.both / (self.both + self.extra) if self.both + self.extra else 1.0

    @property
    def recall(self) -> float:
        """Share of the original's tags that INT8 gave too."""
        return self.both / (self.both + self.missing) if self.both + self.missing else 1.0

    @property
    def f1(self) -> float:
        """Harmonic mean of the two: 2 both / (2 both + extra + missing)."""
        every = 2 * self.both + self.extra + self.missing
        return 2 * self.both / every if every else 1.0


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture on which the two differ: its name, the labels that are extra and missing."""

    name: str
    f1: float
    extra: tuple[str, ...]
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Agreement:
    """Over `pictures`: by category, over all of them, and the worst ones first."""

    pictures: int
    by_category: dict[str, Counts]
    whole: Counts
    worst: tuple[Picture, ...]


@dataclass(frozen=True, slots=True)
class GateResult:
    """Whether the INT8 model may be used, and why not."""

    agreement: Agreement
    speed_up: float
    min_f1: float
    min_speed_up: float

    @property
    def reasons(self) -> tuple[str, ...]:
        """What speaks against it."""
        counts = self.agreement.whole
        found = []
        if not counts.both + counts.missing:
            found.append("the original gave the sample no tags at all, so nothing can be said")
        elif counts.f1 < self.min_f1:
            found.append(f"its tags agree with the original's by F1 {counts.f1:.4f}, {self.min_f1} is needed")
        if self.speed_up < self.min_speed_up:
            found.append(f"it is {self.speed_up:.2f} times as fast, {self.min_speed_up} is needed")
        return tuple(found)

    @property
    def passed(self) -> bool:
        return not self.reasons

    @property
    def advice(self) -> str:
        """What to try when the agreement is too low or the gain too small."""
        if self.agreement.whole.f1 < self.min_f1:
            return "try more calibration pictures (--calibrate 500), or the other method (--plain, or without it)"
        return "the processor gains little from INT8 (no AVX512-VNNI or AVX-VNNI?): keep the original"

    def as_dict(self) -> dict[str, Any]:
        """For a report in JSON: shares from 0 to 1, by category and for `all` of them, and the worst pictures."""
        agreement = self.agreement
        return {
            "passed": self.passed,
            "reasons": list(self.reasons),
            "f1": round(agreement.whole.f1, 5),
            "least_f1": self.min_f1,
            "speed_up": round(self.speed_up, 3),
            "least_speed_up": self.min_speed_up,
            "pictures": agreement.pictures,
            "categories": {
                name: {
                    "precision": round(one.precision, 5),
                    "recall": round(one.recall, 5),
                    "f1": round(one.f1, 5),
                }
                for name, one in {**agreement.by_category, "all": agreement.whole}.items()
            },
            "worst": [
                {"file": one.name, "f1": round(one.f1, 4), "extra": one.extra, "missing": one.missing}
                for one in agreement.worst
            ],
        }


def compare(
    policy: TagPolicy,
    original: Session,
    quantised: Session,
    model: Model,
    pictures: Iterable[tuple[str, bytes]],
) -> Agreement:
    """Run both on every picture (name, bytes); pictures that cannot be decoded are left out."""
    found: list[tuple[str, SparseScores, SparseScores]] = []
    for name, body in pictures:
        try:
            tensor = prepare(body, model.manifest.input)[None]
            # Packed, as in the ledger: the service's tags come from scores that went through it.
            pair = [unpack(pack(one.scores(tensor)[0], policy.always)) for one in (original, quantised)]
        except AssetFailed:
            continue
        found.append((name, *pair))  # type: ignore[arg-type]
    return agreement(policy, found)


def agreement(policy: TagPolicy, scored: Sequence[tuple[str, SparseScores, SparseScores]]) -> Agreement:
    """Of (name, the original's scores, INT8's scores) of every picture."""
    both, extra, missing = Counter[str](), Counter[str](), Counter[str]()
    differing: list[Picture] = []
    for name, original, quantised in scored:
        truth, given = _tagged(policy, original), _tagged(policy, quantised)
        for counter, rows in ((both, truth & given), (extra, given - truth), (missing, truth - given)):
            counter.update(policy.labels[row][1] for row in rows)
        if truth != given:
            counts = Counts(len(truth & given), len(given - truth), len(truth - given))
            names = [
                tuple(sorted(policy.labels[row][0] for row in rows)) for rows in (given - truth, truth - given)
            ]
            differing.append(Picture(name, counts.f1, *names))
    return Agreement(
        pictures=len(scored),
        by_category={
            category: Counts(both[category], extra[category], missing[category])
            for category in sorted({*both, *extra, *missing})
        },
        whole=Counts(both.total(), extra.total(), missing.total()),
        worst=tuple(sorted(differing, key=lambda picture: picture.f1)[:WORST_SHOWN]),
    )


def _tagged(policy: TagPolicy, scores: SparseScores) -> set[int]:
    decision = policy.decide(scores)
    return set(decision.rows[decision.kept].tolist())
