"""A meaning is one thing, however it is spelt."""

import pytest

from autotagger.meaning import meaning_of_label, meaning_of_tag


@pytest.mark.parametrize(
    ("label", "category", "meaning"),
    [
        ("simple_background", "general", "simple background"),
        ("Simple Background", "general", "simple background"),
        ("hatsune_miku", "character", "hatsune miku"),
        ("explicit", "rating", "rating:explicit"),
        ("rating:explicit", "rating", "rating:explicit"),
        ("rating_explicit", "general", "rating explicit"),
    ],
)
def test_the_meaning_of_a_label(label: str, category: str, meaning: str) -> None:
    assert meaning_of_label(label, category) == meaning


@pytest.mark.parametrize(
    ("tag", "meaning"),
    [("Simple Background", "simple background"), ("auto/general/simple_background", "simple background")],
)
def test_without_a_note_the_name_says_what_a_tag_means(tag: str, meaning: str) -> None:
    assert meaning_of_tag(tag) == meaning
