"""Scores to tags: thresholds, rating, blacklist, order; and what makes a policy another one."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotagger.errors import BadConfig
from autotagger.policy.rules import TagPolicy
from autotagger.scores import SparseScores, pack, unpack
from autotagger.settings import PolicySettings

RATINGS = [("general", "rating"), ("sensitive", "rating"), ("questionable", "rating"), ("explicit", "rating")]
LABELS = [
    *RATINGS,
    ("1girl", "general"),
    ("long_hair", "general"),
    ("white_background", "general"),
    ("^_^", "general"),
    ("k/da", "general"),
    ("general", "general"),
    ("hatsune_miku", "character"),
    ("artoria_(fate/stay_night)", "character"),
]
DEFAULTS = {"general": 0.35, "character": 0.85}
MARKER = "auto:processed"


def policy(labels: Sequence[tuple[str, str]] = LABELS, marker: str = MARKER, **settings: Any) -> TagPolicy:
    return TagPolicy(labels, PolicySettings(**settings), DEFAULTS, marker)


def scores(**by_name: float) -> SparseScores:
    names = [name if category != "rating" else f"rating_{name}" for name, category in LABELS]
    rows = sorted((names.index(name), value) for name, value in by_name.items())
    return SparseScores(
        np.array([row for row, _ in rows], np.uint32), np.array([value for _, value in rows], np.float32)
    )


def from_model(values: Sequence[float], of: TagPolicy) -> SparseScores:
    return unpack(pack(np.array(values, np.float32), of.always))


def test_best_first_and_the_rating_among_them() -> None:
    given_scores = scores(
        rating_general=0.7, rating_explicit=0.6, long_hair=0.9, hatsune_miku=0.86, **{"1girl": 0.5}
    )
    assert policy().tags(given_scores) == ("long hair", "hatsune miku", "rating:general", "1girl")


def test_each_category_has_its_own_threshold() -> None:
    given_scores = scores(long_hair=0.36, white_background=0.34, hatsune_miku=0.84)
    assert policy().tags(given_scores) == ("long hair",)
    assert policy(threshold={"character": 0.8, "general": 0.5}).tags(given_scores) == ("hatsune miku",)


@pytest.mark.parametrize("threshold", [0.05, 0.2614, 0.35, 0.5, 0.85, 0.9999, 1.0])
def test_the_threshold_itself_passes_before_and_after_it_is_stored(threshold: float) -> None:
    of = policy(threshold={"general": threshold}, rating=False)
    assert of.tags(scores(long_hair=threshold)) == ("long hair",)
    values = [0.0] * len(LABELS)
    values[5] = threshold
    assert of.tags(from_model(values, of)) == ("long hair",)
    if threshold > 0.05:
        values[5] = threshold - 2 / 65535
        assert of.tags(from_model(values, of)) == ()


def test_the_likeliest_rating_wins_at_any_score_and_the_first_one_of_equals() -> None:
    of = policy()
    assert of.tags(from_model([0.01, 0.012, 0.0, 0.0] + [0.0] * 8, of)) == ("rating:sensitive",)
    assert of.tags(from_model([0.3, 0.3, 0.1, 0.3] + [0.0] * 8, of)) == ("rating:general",)
    assert of.always.tolist() == [0, 1, 2, 3]


def test_ratings_can_be_left_out_or_given_a_threshold() -> None:
    sure, unsure = scores(rating_explicit=0.9, rating_general=0.2), scores(rating_explicit=0.4, rating_general=0.2)
    assert policy(rating=False).tags(sure) == ()
    assert policy(rating=False).always.tolist() == [0, 1, 2, 3]  # stored all the same
    assert policy(threshold={"rating": 0.5}).tags(sure) == ("rating:explicit",)
    assert policy(threshold={"rating": 0.5}).tags(unsure) == ()


def test_the_general_rating_is_not_the_tag_general() -> None:
    both = scores(rating_general=0.9, general=0.8)
    assert policy().tags(both) == ("rating:general", "general")
    assert policy(blacklist=("general",)).tags(both) == ("rating:general",)
    assert policy(blacklist=("rating:*",)).tags(both) == ("general",)


@pytest.mark.parametrize(
    ("pattern", "gone"),
    [
        ("*_background", {"white background"}),
        ("* background", {"white background"}),
        ("WHITE?BACKGROUND", {"white background"}),
        ("long_hair", {"long hair"}),
        ("long hair", {"long hair"}),
        ("hair", set()),
        ("^_^", {"^_^"}),
        ("k/da", {"k∕da"}),  # noqa: RUF001
        ("*fate/*", {"artoria (fate∕stay night)"}),  # noqa: RUF001
        ("[kl]*", set()),
        ("*", {"white background", "long hair", "^_^", "k∕da", "artoria (fate∕stay night)", "rating:general"}),  # noqa: RUF001
    ],
)
def test_blacklist(pattern: str, gone: set[str]) -> None:
    values = dict.fromkeys(("long_hair", "white_background", "^_^", "k/da", "artoria_(fate/stay_night)"), 0.9)
    all_of_them = scores(rating_general=0.9, **values)
    assert set(policy().tags(all_of_them)) - set(policy(blacklist=(pattern,)).tags(all_of_them)) == gone


def test_a_blacklisted_rating_gives_no_other_rating() -> None:
    assert policy(blacklist=("rating:explicit",)).tags(scores(rating_explicit=0.9, rating_general=0.5)) == ()


def test_never_the_marker() -> None:
    assert policy(marker="long hair").tags(scores(long_hair=0.9)) == ()


def test_labels_of_one_name_give_one_tag_at_the_better_score() -> None:
    labels = [("a_b", "general"), ("x", "general"), ("a b", "character")]
    of = policy(labels)
    assert of.collisions == {"a b": ("a_b", "a b")}
    assert of.tags(from_model([0.4, 0.6, 0.9], of)) == ("a b", "x")
    assert of.tags(from_model([0.4, 0.6, 0.5], of)) == ("x", "a b")
    assert not policy().collisions


def test_an_unknown_category_names_the_nearest() -> None:
    with pytest.raises(BadConfig, match=r"charakter: did you mean character\? .*character, general, rating"):
        policy(threshold={"charakter": 0.5})


def test_a_category_that_only_the_defaults_name_is_known() -> None:
    assert policy([*RATINGS, ("x", "general")], threshold={"character": 0.9}).tags(scores()) == ()


def test_a_category_without_any_threshold_is_an_error() -> None:
    with pytest.raises(BadConfig, match="copyright: set it"):
        policy([("fate", "copyright")])
    assert policy([("fate", "copyright")], threshold={"copyright": 0.5}).tags(scores()) == ()


def test_a_bad_slash_is_a_configuration_error() -> None:
    with pytest.raises(BadConfig, match="slash"):
        policy(slash="&")


def test_scores_of_another_model_are_refused() -> None:
    with pytest.raises(ValueError, match="another model"):
        policy().tags(SparseScores(np.array([99], np.uint32), np.array([0.9], np.float32)))


def test_identity_changes_with_what_decides_and_with_nothing_else() -> None:
    same = {
        policy().identity,
        policy(threshold={"general": 0.35}).identity,
        policy(blacklist=("no_such",)).identity,
    }
    assert len(same) == 1
    others = [
        policy(threshold={"general": 0.36}),
        policy(blacklist=("long_hair",)),
        policy(rating=False),
        policy(slash="-"),
        policy(marker="m"),
        policy(LABELS[:-1]),
        policy([*LABELS[:-1], ("artoria", "character")]),
    ]
    assert len({of.identity for of in others} | same) == len(others) + 1


score_lists = st.lists(st.floats(0.0, 1.0, width=32), min_size=len(LABELS), max_size=len(LABELS))


@given(score_lists)
def test_there_is_always_exactly_one_rating(values: list[float]) -> None:
    of = policy()
    assert sum(tag.startswith("rating:") for tag in of.tags(from_model(values, of))) == 1


def test_the_models_threshold_of_a_label_goes_before_its_categorys_and_behind_the_settings() -> None:
    own = {("1girl", "general"): 0.6, ("hatsune_miku", "character"): 0.3}

    def kept(**settings: Any) -> tuple[str, ...]:
        of = TagPolicy(LABELS, PolicySettings(rating=False, **settings), DEFAULTS, MARKER, label_defaults=own)
        return of.tags(scores(**{"1girl": 0.5}, long_hair=0.4, hatsune_miku=0.35))

    assert kept() == ("long hair", "hatsune miku")
    assert kept(threshold={"general": 0.45}) == ("1girl", "hatsune miku")
    assert kept(tag_threshold={"1girl": 0.5, "*_miku": 0.9}) == ("1girl", "long hair")
