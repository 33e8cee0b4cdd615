"""Calls: every asset once, all of its tags in it, never more pairs than Immich can take."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotagger.policy.batching import plan_calls

tag_sets = st.frozensets(st.sampled_from("abcdefgh"), min_size=1, max_size=8)
batches = st.dictionaries(st.integers(0, 300), tag_sets, max_size=80)


@given(batches, st.integers(1, 60))
def test_every_asset_is_in_one_call_with_all_of_its_tags(batch: dict[int, frozenset[str]], most: int) -> None:
    calls = plan_calls(batch.items(), max_pairs=most)
    planned = [(asset, call.tags) for call in calls for asset in call.assets]
    assert len(planned) == len(batch)
    assert dict(planned) == batch
    for call in calls:
        assert call.assets
        assert len(call.assets) == 1 or len(call.assets) * len(call.tags) <= most


@given(batches)
def test_equal_tags_share_a_call(batch: dict[int, frozenset[str]]) -> None:
    assert len(plan_calls(batch.items(), max_pairs=5_000)) == len(set(batch.values()))


@given(batches, st.integers(1, 60))
def test_no_call_could_be_saved(batch: dict[int, frozenset[str]], most: int) -> None:
    calls = plan_calls(batch.items(), max_pairs=most)
    for tags in set(batch.values()):
        group = [call for call in calls if call.tags == tags]
        fit = max(1, most // len(tags))
        assert len(group) == -(-sum(len(call.assets) for call in group) // fit)


def test_a_library_of_equal_pictures() -> None:
    assets = ((number, frozenset({"m", "white background"})) for number in range(6000))
    calls = plan_calls(assets, max_pairs=5_000)
    assert [len(call.assets) for call in calls] == [2500, 2500, 1000]
    assert calls[0].assets[:2] == (0, 1)


def test_the_same_asset_again_is_planned_once() -> None:
    assert len(plan_calls([("a", frozenset("x")), ("a", frozenset("x"))], max_pairs=9)[0].assets) == 1


def test_contradictions_are_refused() -> None:
    with pytest.raises(ValueError, match="twice with different tags"):
        plan_calls([("a", frozenset("x")), ("a", frozenset("y"))], max_pairs=9)
    with pytest.raises(ValueError, match="no tags"):
        plan_calls([("a", frozenset())], max_pairs=9)
