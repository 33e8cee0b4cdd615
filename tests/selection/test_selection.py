"""The predicate, the patterns, the names, and the searches that find candidates: pure, without Immich."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotagger.days import Days
from autotagger.errors import BadConfig
from autotagger.selection.globs import fits_name, fits_path
from autotagger.selection.names import rules_of
from autotagger.selection.rules import UPLOADS, Candidate, Either, Rules
from autotagger.selection.searches import MAX_SEARCHES, Term, plan_searches
from autotagger.settings import SelectSettings

EVERYTHING = Rules(frozenset({"IMAGE", "VIDEO"}), frozenset({"timeline", "archive"}))
PICTURE = Candidate("IMAGE", "timeline", path="/data/a.jpg", taken_ms=0, uploaded_ms=0)
A, B, C = (f"{number:08x}-0000-4000-8000-000000000000" for number in (1, 2, 3))
KNOWN = {
    "albums": [(A, "Anime"), (B, "Art 2019"), (C, "Family")],
    "people": [(A, "Anna"), (B, "")],
    "tags": [(A, "anime")],
    "libraries": [(A, "art")],
}


@pytest.mark.parametrize(
    ("path", "pattern", "fits"),
    [
        ("/mnt/art/a.png", "/mnt/art/**", True),
        ("/mnt/art/deep/er/a.png", "/mnt/art/**", True),
        ("/mnt/artists/a.png", "/mnt/art/**", False),
        ("/mnt/art/a.png", "/mnt/art/*", True),
        ("/mnt/art/deep/a.png", "/mnt/art/*", False),
        ("/x/Screenshots/a.png", "**/Screenshots/**", True),
        ("Screenshots/a.png", "**/Screenshots/**", True),
        ("/x/MyScreenshots/a.png", "**/Screenshots/**", False),
        ("/x/a.png", "/?/a.png", True),
        ("/x/a.png", "/x?a.png", False),
        ("/x/[1].png", "/x/[1].png", True),
    ],
)
def test_a_path_and_a_pattern(path: str, pattern: str, fits: bool) -> None:
    assert fits_path(path, [pattern]) is fits


def test_names_have_no_case_and_brackets_are_brackets() -> None:
    assert fits_name("ART 2019", "art*")
    assert fits_name("Art [1]", "art [1]")
    assert not fits_name("Art 1", "art [1]")


@pytest.mark.parametrize(
    ("rules", "fitting", "misfit"),
    [
        ({"kinds": frozenset({"VIDEO"})}, {"kind": "VIDEO"}, "types"),
        ({"visibilities": frozenset({"archive"})}, {"visibility": "archive"}, "visibilities"),
        ({"albums": Either(frozenset({A, B}))}, {"albums": frozenset({B})}, "albums"),
        ({"people": Either(frozenset({A}))}, {"people": frozenset({A})}, "people"),
        ({"tags": Either(frozenset({A}))}, {"tags": frozenset({A})}, "tags"),
        ({"libraries": Either(frozenset({A}))}, {"library": A}, "libraries"),
        ({"paths": ("/mnt/**",)}, {"path": "/mnt/x"}, "paths"),
        ({"favorites_only": True}, {"favorite": True}, "favorites_only"),
        ({"taken": Days.read("2015")}, {"taken_ms": 1_430_000_000_000}, "taken"),
        ({"uploaded": Days.read("2015..")}, {"uploaded_ms": 1_430_000_000_000}, "uploaded"),
        ({"camera": "only"}, {"make": "Canon"}, "camera"),
    ],
)
def test_each_key_asks_for_something(rules: Any, fitting: Any, misfit: str) -> None:
    asked = replace(EVERYTHING, **rules)
    assert asked.misfit(PICTURE) == misfit
    assert asked.misfit(replace(PICTURE, **fitting)) == ""
    assert EVERYTHING.misfit(PICTURE) == ""


@pytest.mark.parametrize(
    ("rules", "unwanted"),
    [
        ({"albums": Either(None, frozenset({A}))}, {"albums": frozenset({A, B})}),
        ({"people": Either(None, frozenset({A}))}, {"people": frozenset({A})}),
        ({"tags": Either(None, frozenset({A}))}, {"tags": frozenset({A})}),
        ({"libraries": Either(None, frozenset({A}))}, {"library": A}),
        ({"exclude_paths": ("**/Screenshots/**",)}, {"path": "/a/Screenshots/b"}),
        ({"exclude_paths": ("**/Screenshots/**",)}, {"path": None}),
        ({"camera": "skip"}, {"make": "Canon"}),
    ],
)
def test_each_key_leaves_something_out(rules: Any, unwanted: Any) -> None:
    asked = replace(EVERYTHING, **rules)
    assert asked.misfit(PICTURE) == ""
    assert asked.misfit(replace(PICTURE, **unwanted))


def test_names_become_ids() -> None:
    select = SelectSettings(
        albums=("anime", "Art*"), exclude_albums=(C,), people=("Anna",), libraries=("uploads", B), tags=("Anime",)
    )
    rules = rules_of(select, KNOWN)
    assert rules.albums == Either(frozenset({A, B}), frozenset({C}))
    assert rules.people.wanted == rules.tags.wanted == frozenset({A})
    assert rules.libraries.wanted == frozenset({UPLOADS, B})


@pytest.mark.parametrize(
    ("select", "says"),
    [
        ({"albums": ("Anmie",)}, "albums: Immich has no Anmie: did you mean Anime?"),
        ({"exclude_people": ("Ana",)}, "exclude_people: Immich has no Ana: did you mean Anna?"),
        ({"tags": ("manga*",)}, "nothing would be tagged"),
        ({"libraries": ("arts",)}, "did you mean art?"),
    ],
)
def test_an_unknown_name_is_an_error_with_the_nearest(select: Any, says: str) -> None:
    with pytest.raises(BadConfig) as caught:
        rules_of(SelectSettings(**select), KNOWN)
    assert says in caught.value.message


def test_a_pattern_that_excludes_nothing_is_none() -> None:
    assert rules_of(SelectSettings(exclude_albums=("Holiday*",)), KNOWN).albums == Either()


IDS = st.frozensets(st.sampled_from([str(number) for number in range(8)]), min_size=1)
EITHERS = st.builds(
    lambda w, u: Either(None if w is None else w - u, u), st.none() | IDS, st.just(frozenset()) | IDS
)


@given(
    albums=EITHERS,
    people=EITHERS,
    tags=EITHERS,
    held=st.tuples(*(st.frozensets(st.sampled_from("01234567")),) * 3),
)
def test_the_searches_find_every_candidate(
    albums: Either, people: Either, tags: Either, held: tuple[frozenset[str], ...]
) -> None:
    """Whatever fits is found by one of the searches, and what they do not see to can be looked up."""
    rules = replace(EVERYTHING, albums=albums, people=people, tags=tags)
    plan = plan_searches(rules)
    asset = replace(PICTURE, albums=held[0], people=held[1], tags=held[2])
    has = {Term("albums", one) for one in held[0]} | {Term("people", one) for one in held[1]}
    has |= {Term("tags", one) for one in held[2]}
    found = any(set(terms) <= has for terms in plan.searches)
    if rules.misfit(asset) == "":
        assert found
    for key, rule in (("albums", albums), ("people", people), ("tags", tags)):
        listed = {term.id for term in plan.listings if term.key == key}
        assert rule.unwanted <= listed or not plan.searches
        assert rule.wanted is None or key in plan.covered or rule.wanted <= listed or not plan.searches
    assert len(plan.searches) <= max(MAX_SEARCHES, 8)
