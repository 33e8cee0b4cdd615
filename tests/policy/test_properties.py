"""What holds of every policy and every picture.

That a higher threshold only takes tags away is a matter of plain thresholds. Four settings break it on purpose:
`mcut` does not look at the threshold, `top` and `max_tags` give the place of a tag that falls to the next one,
`min_tags` refills, and what a falling tag hid comes to light.
"""

from typing import Any

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from autotagger.policy.decision import Rule
from autotagger.policy.explain import explain
from autotagger.policy.names import UNNAMED, verbatim
from autotagger.policy.patterns import Patterns
from autotagger.policy.rules import TagPolicy
from autotagger.scores import SparseScores, pack, unpack
from tests.policy.support import LABELS, MARKER, policy

NAMES = [name for name, category in LABELS if category != "rating"]
PATTERNS = ["*hair", "regex:.*girl", "hatsune*", "^_^", "rating:*", "animal ears", "k/da", "*:*"]
shares = st.floats(0.0, 1.0, width=32)
by_category = st.sampled_from(["general", "character"])
one_way = st.dictionaries(  # from names to later ones: no circles
    st.integers(0, len(NAMES) - 2), st.lists(st.integers(1, 5), max_size=2), max_size=4
).map(
    lambda table: {
        NAMES[at]: [*{NAMES[min(at + step, len(NAMES) - 1)] for step in steps}] for at, steps in table.items()
    }
)
templates = st.sampled_from(
    ["{name}", "x:{name}", "anime/{category}/{name}", "{name}_", "true/{name}", "<{name}>"]
)
odd_names = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(
    ["1.0", "null", "&lt", "a/b"]
)

plain = {
    "blacklist": st.lists(st.sampled_from(PATTERNS), max_size=3),
    "whitelist": st.lists(st.sampled_from(PATTERNS), max_size=3),
    "threshold": st.dictionaries(by_category, shares),
    "tag_threshold": st.dictionaries(st.sampled_from(PATTERNS), shares, max_size=2),
    "rating": st.booleans(),
    "implies": one_way,
    "series": st.booleans(),
    "rename": st.dictionaries(st.sampled_from(NAMES), odd_names, max_size=3),
    "template": st.dictionaries(st.sampled_from(["general", "character", "rating", "copyright"]), templates),
    "case": st.sampled_from(["keep", "lower", "upper", "title"]),
    "spaces": st.booleans(),
    "slash": st.sampled_from(["∕", "-", "|"]),  # noqa: RUF001
}
not_monotone = {
    "mcut": st.dictionaries(by_category, shares),
    "top": st.dictionaries(by_category, st.integers(0, 4)),
    "min_tags": st.integers(0, 6),
    "max_tags": st.integers(0, 6),
    "hides": one_way,
    "drop_overlapping": st.booleans(),
}
plain_settings = st.fixed_dictionaries({}, optional=plain)
all_settings = st.fixed_dictionaries({}, optional=plain | not_monotone)
pictures = st.lists(shares, min_size=len(LABELS), max_size=len(LABELS))


def stored(values: list[float]) -> SparseScores:
    return unpack(pack(np.array(values, np.float32), np.array([0, 1])))


def safe(tag: str, of: TagPolicy, slash: str) -> bool:
    return bool(tag) and all(part and verbatim(part, slash) == part for part in tag.split("/"))


@given(all_settings, pictures)
@settings(max_examples=100)
def test_tags_are_unique_safe_allowed_and_never_the_marker(chosen: dict[str, Any], values: list[float]) -> None:
    of = policy(marker="1girl", **chosen)
    tags = of.tags(stored(values))
    assert len(set(tags)) == len(tags)
    assert all(safe(tag, of, chosen.get("slash", "∕")) for tag in tags)  # noqa: RUF001
    banned = Patterns(chosen.get("blacklist", ()))
    assert not any(banned.matches(tag, "", ()) for tag in tags)
    assert "1girl" not in tags
    assert len(tags) <= chosen.get("max_tags", 0) + 1 or not chosen.get("max_tags")
    assert all(tag.count("/") <= 2 for tag in tags), "only a template's slashes"


@given(all_settings, pictures, st.randoms(use_true_random=False))
@settings(max_examples=60)
def test_the_same_scores_in_any_order_give_the_same_tags(
    chosen: dict[str, Any], values: list[float], rng: Any
) -> None:
    scores = stored(values)
    order = list(range(len(scores.labels)))
    rng.shuffle(order)
    of, again = policy(**chosen), policy(**chosen)
    assert of.identity == again.identity
    assert of.tags(scores) == again.tags(SparseScores(scores.labels[order], scores.values[order]))


@given(plain_settings, by_category, shares, shares, pictures)
@settings(max_examples=60)
def test_a_higher_threshold_only_takes_tags_away(
    chosen: dict[str, Any], category: str, one: float, other: float, values: list[float]
) -> None:
    low, high = (
        policy(**chosen | {"threshold": {**chosen.get("threshold", {}), category: limit}})
        for limit in sorted((one, other))
    )
    assert set(high.tags(stored(values))) <= set(low.tags(stored(values)))


@given(all_settings, pictures)
@settings(max_examples=100)
def test_the_explanation_and_the_tags_agree(chosen: dict[str, Any], values: list[float]) -> None:
    of, scores = policy(**chosen), stored(values)
    lines = explain(of, scores)
    assert tuple(tag for line in lines for tag in line.tags) == of.tags(scores)
    shown = {(line.label, line.category) for line in lines}
    assert {LABELS[row] for row, value in zip(scores.labels, scores.values, strict=True) if value >= 0.05} <= shown
    for line in lines:
        assert line.kept == line.rule.keeps
        assert line.reason
        if line.rule is Rule.LOW:
            assert line.score is not None
            assert line.limit is not None
            assert line.score < line.limit
        if line.rule is Rule.PASSED:
            assert line.score is not None
            assert line.limit is not None
            assert line.score >= line.limit


@given(all_settings, pictures, all_settings)
@settings(max_examples=60)
def test_policies_of_one_identity_give_the_same_tags(
    chosen: dict[str, Any], values: list[float], others: dict[str, Any]
) -> None:
    one, other = policy(**chosen), policy(**others)
    assume(one.tags(stored(values)) != other.tags(stored(values)))
    assert one.identity != other.identity


def test_a_name_of_which_nothing_is_left() -> None:
    of = policy(rename={"hair": "\x00/"}, slash=" ")
    assert of.names[3] == (UNNAMED,)
    assert MARKER not in {name for names in of.names for name in names}
