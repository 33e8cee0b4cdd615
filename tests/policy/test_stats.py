"""Counting what a policy makes of stored scores."""

from autotagger.policy.stats import TagStats, collect
from tests.policy.support import policy, scores

STORED = [
    scores({"1girl": 0.9, "long_hair": 0.36}),
    scores({"1girl": 0.8, "long_hair": 0.33}),
    scores({"1girl": 0.2}),
]


def test_tags_are_counted_and_what_is_near_the_threshold() -> None:
    found = collect(policy(), STORED)
    assert (found.assets, found.links, found.changed) == (3, 3, 0)
    assert found.per_asset == {2: 1, 1: 1, 0: 1}
    assert found.tags == (
        TagStats("1girl", assets=2, just_in=0, just_out=0, gained=0, lost=0),
        TagStats("long hair", assets=1, just_in=1, just_out=1, gained=0, lost=0),
    )
    assert [found.quantile(share) for share in (0.1, 0.5, 0.95)] == [0, 1, 2]


def test_another_threshold_gains_and_loses() -> None:
    lower = collect(policy(), STORED, policy(threshold={"general": 0.2}))
    assert {tag.tag: (tag.gained, tag.lost) for tag in lower.tags} == {"1girl": (1, 0), "long hair": (1, 0)}
    assert lower.changed == 2
    higher = collect(policy(), STORED, policy(threshold={"general": 0.85}))
    assert {tag.tag: (tag.gained, tag.lost) for tag in higher.tags} == {"1girl": (0, 1), "long hair": (0, 1)}


def test_an_empty_library() -> None:
    found = collect(policy(), [])
    assert (found.assets, found.tags, found.quantile(0.5)) == (0, (), 0)
