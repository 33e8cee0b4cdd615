"""The cap on different tags: who gets in, and that nobody is put out again."""

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from autotagger.policy.vocabulary import Vocabulary


def test_everything_is_allowed_without_a_cap() -> None:
    vocabulary = Vocabulary(0, always=())
    assert vocabulary.admit([["a"]]) is False
    assert vocabulary.allowed(["a", "b"]) == ("a", "b")


def test_the_most_frequent_get_in_and_the_last_place_is_told() -> None:
    vocabulary = Vocabulary(2, always=["rating:general"])
    assets = [["rare", "common"], ["common", "often"], ["often", "common", "rating:general"]]
    for tags in assets:
        vocabulary.see(tags)
    assert vocabulary.admit(assets) is True
    assert [vocabulary.allowed(tags) for tags in assets] == [
        ("common",),
        ("common", "often"),
        ("often", "common", "rating:general"),
    ]


def test_the_less_room_the_more_often_a_tag_must_have_occurred() -> None:
    vocabulary = Vocabulary(4, always=(), admitted=["a", "b"])
    vocabulary.see(["new"])
    assert vocabulary.admit([["new"]]) is False
    assert vocabulary.allowed(["new", "a"]) == ("a",)
    vocabulary.see(["new"])
    vocabulary.admit([["new"]])
    assert vocabulary.allowed(["new"]) == ("new",), "twice, half full"
    for _ in range(3):
        vocabulary.see(["last"])
    vocabulary.admit([["last"]])
    assert vocabulary.allowed(["last"]) == ()
    vocabulary.see(["last"])
    assert vocabulary.admit([["last"]]) is True


def test_what_was_admitted_stays_even_above_a_lowered_cap() -> None:
    vocabulary = Vocabulary(1, always=["m"], admitted=["a", "b", "m"])
    vocabulary.see(["c"] * 100)
    assert vocabulary.admit([["c"]]) is False
    assert vocabulary.allowed(["a", "b", "c", "m"]) == ("a", "b", "m")


def test_on_a_library_like_a_real_one_it_is_the_frequent_tags_that_get_in() -> None:
    """Zipf: the tag of rank n occurs 1/n as often as the first; 3,000 assets of 20 tags, a cap of 100 of 2,000."""
    rng = random.Random(1)
    names = [f"t{rank}" for rank in range(1, 2_001)]
    weights = [1 / rank for rank in range(1, 2_001)]
    library = [list(dict.fromkeys(rng.choices(names, weights, k=20))) for _ in range(3_000)]
    vocabulary = Vocabulary(100, always=())
    for start in range(0, len(library), 25):
        batch = library[start : start + 25]
        for tags in batch:
            vocabulary.see(tags)
        vocabulary.admit(batch)
    occurred = Counter(tag for tags in library for tag in tags)
    frequent = {tag for tag, _ in occurred.most_common(100)}
    admitted = set(vocabulary.allowed(names))
    assert len(admitted) <= 100
    assert {tag for tag, _ in occurred.most_common(40)} <= admitted
    assert len(admitted & frequent) > 60


@given(st.integers(1, 6), st.lists(st.lists(st.sampled_from("abcdefghij"), max_size=5, unique=True), max_size=20))
def test_never_more_than_the_cap_and_never_put_out(cap: int, library: list[list[str]]) -> None:
    vocabulary, again = (Vocabulary(cap, always=["j"]) for _ in range(2))
    before: set[str] = set()
    for tags in library:
        for each in (vocabulary, again):
            each.see(tags)
            each.admit([reversed(tags)] if each is again else [tags])
        now = set(vocabulary.allowed("abcdefghij"))
        assert before <= now
        assert len(now - {"j"}) <= cap
        assert now == set(again.allowed("abcdefghij"))
        before = now


@given(
    st.integers(1, 6),
    st.lists(st.lists(st.sampled_from("abcdefghij"), max_size=5, unique=True), max_size=20),
    st.randoms(use_true_random=False),
)
def test_what_is_chosen_at_last_depends_on_no_order(
    cap: int, library: list[list[str]], chance: random.Random
) -> None:
    chosen = []
    for assets in (library, chance.sample(library, len(library))):
        vocabulary = Vocabulary(cap, always=["j"])
        for tags in assets:
            vocabulary.see(tags)
            vocabulary.admit([tags])
        chosen.append((vocabulary.choose(), vocabulary.allowed("abcdefghij"), vocabulary.withheld))
    assert chosen[0] == chosen[1]
    counts = Counter(tag for tags in library for tag in tags if tag != "j")
    _, allowed, withheld = chosen[0]
    assert len(set(allowed) - {"j"}) == min(cap, len(counts))
    assert all(counts[tag] >= count for tag in set(allowed) - {"j"} for count in withheld.values())
