"""What a policy makes of a whole library, from stored scores: no inference, no Immich."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autotagger.policy.decision import Rule
from autotagger.policy.rules import TagPolicy
from autotagger.scores import SparseScores

#: A score so far from the threshold or less is near it.
NEAR = 0.05


@dataclass(frozen=True, slots=True)
class TagStats:
    """One tag. `assets`: that get it. `just_in`, `just_out`: scores within `NEAR` above and below the threshold.
    `gained`, `lost`: assets that another policy would give it, or would not."""

    tag: str
    assets: int
    just_in: int
    just_out: int
    gained: int
    lost: int


@dataclass(frozen=True, slots=True)
class PolicyStats:
    """A library under a policy. `links`: tags on assets; `per_asset`: how many assets have so many tags;
    `changed`: assets that another policy would give other tags; `tags`: most frequent first."""

    assets: int
    links: int
    changed: int
    per_asset: dict[int, int]
    tags: tuple[TagStats, ...]

    def quantile(self, share: float) -> int:
        """So many tags have at most `share` (0..1) of the assets; 0 for an empty library."""
        passed = 0
        for count in sorted(self.per_asset):
            passed += self.per_asset[count]
            if passed >= share * self.assets:
                return count
        return 0


def collect(policy: TagPolicy, stored: Iterable[SparseScores], other: TagPolicy | None = None) -> PolicyStats:
    """Count what `policy` makes of the `stored` scores, and what `other` would change.

    Some 0.2 ms an asset; scores are read one asset at a time. Raises ValueError for another model's scores.
    """
    tags: Counter[str] = Counter()
    gained: Counter[str] = Counter()
    lost: Counter[str] = Counter()
    per_asset: Counter[int] = Counter()
    just_in, just_out = np.zeros(len(policy.labels), np.intp), np.zeros(len(policy.labels), np.intp)
    changed = 0
    for scores in stored:
        decision = policy.decide(scores)
        found = policy.tags_of(decision)
        tags.update(found)
        per_asset[len(found)] += 1
        distance = decision.scores - decision.limits
        just_in[decision.rows[(decision.rules == int(Rule.PASSED)) & (distance < NEAR)]] += 1
        just_out[decision.rows[(decision.rules == int(Rule.LOW)) & (distance >= -NEAR)]] += 1
        if other is not None:
            others = set(other.tags(scores))
            gained.update(others.difference(found))
            lost.update(set(found) - others)
            changed += others != set(found)
    ins, outs = _by_tag(policy, just_in), _by_tag(policy, just_out)
    every = sorted({*tags, *gained, *ins, *outs}, key=lambda tag: (-tags[tag], tag))
    return PolicyStats(
        assets=per_asset.total(),
        links=tags.total(),
        changed=changed,
        per_asset=dict(per_asset),
        tags=tuple(TagStats(tag, tags[tag], ins[tag], outs[tag], gained[tag], lost[tag]) for tag in every),
    )


def _by_tag(policy: TagPolicy, counts: NDArray[np.intp]) -> Counter[str]:
    found: Counter[str] = Counter()
    for row in np.flatnonzero(counts).tolist():
        for tag in policy.names[row]:
            found[tag] += int(counts[row])
    return found
