"""Why a picture has its tags: the policy's own decision, put into words."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from autotagger.policy.decision import Decision, Rule
from autotagger.policy.patterns import spoken
from autotagger.policy.rules import TagPolicy
from autotagger.policy.vocabulary import Vocabulary
from autotagger.scores import SCORE_FLOOR, SparseScores


@dataclass(frozen=True, slots=True)
class Explained:
    """What became of one label.

    `score`: None where the picture did not score on it and another tag implies it. `limit`: the lowest score
    that passes by itself; None for what is only implied. `kept`: whether it becomes tags. `tags`: the final names
    that it brings, none where a better label brought them already.
    """

    label: str
    category: str
    score: float | None
    limit: float | None
    rule: Rule
    reason: str
    tags: tuple[str, ...]

    @property
    def kept(self) -> bool:
        """Whether the label becomes a tag, be it one that another label has brought already."""
        return self.rule.keeps


_REASONS = {
    Rule.PASSED: "at or above the threshold",
    Rule.LIKELIEST: "the likeliest rating",
    Rule.MINIMUM: "below the threshold, taken for min_tags",
    Rule.IMPLIED: "implied by {}",
    Rule.SERIES: "series of {}",
    Rule.LOW: "below the threshold",
    Rule.UNLIKELIER: "another rating is likelier",
    Rule.BEYOND_TOP: "beyond the top of its category",
    Rule.HIDDEN: "hidden by {}",
    Rule.BEYOND_MAX: "beyond max_tags",
    Rule.BLACKLISTED: "blacklisted",
    Rule.NOT_WHITELISTED: "not whitelisted",
    Rule.MARKER: "is the marker",
    Rule.NO_RATINGS: "ratings are switched off",
    Rule.WITHHELD: "withheld by the vocabulary",
    Rule.TAKEN_OFF: "taken off by a person",
}


#: Admits every tag.
_ALL = Vocabulary(0, always=())


def explain(
    policy: TagPolicy,
    scores: SparseScores,
    vocabulary: Vocabulary = _ALL,
    taken_off: Callable[[str], bool] = lambda _: False,
) -> tuple[Explained, ...]:
    """Every label that scored `SCORE_FLOOR` or more, or became a tag; best first.

    The tags of all of them, in this order, are those of `policy.tags` that the `vocabulary` admits and that no
    person has `taken_off`.
    """
    decision = policy.decide(scores)
    brought: dict[str, str] = {}
    found = []
    for place in range(len(decision.rows)):
        score = float(decision.scores[place])
        rule = Rule(int(decision.rules[place]))
        if rule.keeps or score >= SCORE_FLOOR:
            found.append(_explained(policy, decision, place, vocabulary, taken_off, brought))
    return tuple(found)


def _explained(
    policy: TagPolicy,
    decision: Decision,
    place: int,
    vocabulary: Vocabulary,
    taken_off: Callable[[str], bool],
    brought: dict[str, str],
) -> Explained:
    row, rule = int(decision.rows[place]), Rule(int(decision.rules[place]))
    label, category = policy.labels[row]
    named = policy.names[row] if rule.keeps else ()
    names = tuple(name for name in named if not taken_off(name))
    admitted = vocabulary.allowed(names)
    if named and not admitted:
        rule = Rule.WITHHELD if names else Rule.TAKEN_OFF
    source = int(decision.because[place])
    reason = _REASONS[rule].format(spoken(*policy.labels[source]) if source >= 0 else "")
    for name in names if admitted else ():
        if name not in admitted:
            reason += f"; {name} is withheld by the vocabulary"
    tags = tuple(name for name in admitted if name not in brought)
    for name in admitted:
        if brought.setdefault(name, label) != label:
            reason += f"; {name} is there already, from {brought[name]}"
    return Explained(
        label, category, _number(decision.scores[place]), _number(decision.limits[place]), rule, reason, tags
    )


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
