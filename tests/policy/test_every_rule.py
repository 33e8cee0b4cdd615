"""Each rule of the policy alone, and where two of them meet."""

from pathlib import Path
from typing import Any

import pytest

from autotagger.errors import BadConfig
from tests.policy.support import LABELS, policy, scores

HAIR = {"very_long_hair": 0.9, "long_hair": 0.8, "hair": 0.7, "1girl": 0.6}


# -- thresholds -----------------------------------------------------------------------------------------------


def test_a_tag_s_own_threshold_goes_before_its_category_s_and_the_last_pattern_counts() -> None:
    of = policy(tag_threshold={"*hair": 0.75, "HAIR": 0.1, "regex:1(girl|boy)": 0.61})
    assert of.tags(scores(HAIR)) == ("very long hair", "long hair", "hair")


def test_mcut_cuts_at_the_largest_gap_and_never_below_its_floor() -> None:
    of = policy(mcut={"general": 0.15})
    assert of.tags(scores({"1girl": 0.3, "hair": 0.28, "bra": 0.1, "cat_ears": 0.09})) == ("1girl", "hair")
    assert of.tags(scores({"1girl": 0.14, "hair": 0.06})) == ()
    assert of.tags(scores({"1girl": 0.9})) == ("1girl",)
    assert of.tags(scores({"hatsune_miku": 0.5, "1girl": 0.9})) == ("1girl",), "of its own category alone"


def test_a_tag_s_own_threshold_goes_before_mcut() -> None:
    of = policy(mcut={"general": 0.1}, tag_threshold={"hair": 0.95, "bra": 0.1})
    assert of.tags(scores({"1girl": 0.9, "hair": 0.88, "bra": 0.12})) == ("1girl", "bra")


def test_top_takes_the_best_of_a_category() -> None:
    of = policy(top={"general": 2})
    assert of.tags(scores(HAIR | {"hatsune_miku": 0.86})) == ("very long hair", "hatsune miku", "long hair")
    assert policy(top={"general": 0}).tags(scores(HAIR | {"hatsune_miku": 0.86})) == ("hatsune miku",)


def test_min_tags_takes_what_is_nearest_to_its_threshold() -> None:
    low = scores({"1girl": 0.3, "hair": 0.1, "hatsune_miku": 0.4, "bra": 0.2})
    assert policy(min_tags=1).tags(low) == ("1girl",)
    assert policy(min_tags=2).tags(low) == ("1girl", "bra"), "0.2 of 0.35 is nearer than 0.4 of 0.85"
    assert policy(min_tags=9, blacklist=("bra",)).tags(low) == ("hatsune miku", "1girl", "hair")


def test_max_tags_takes_the_best_and_does_not_count_the_rating() -> None:
    of = policy(max_tags=2, rating=True)
    assert of.tags(scores(HAIR | {"rating:general": 0.5})) == ("very long hair", "long hair", "rating:general")


def test_ratings_by_threshold() -> None:
    of = policy(rating=True, rating_by="threshold", threshold={"rating": 0.4})
    assert of.tags(scores({"rating:general": 0.5, "rating:explicit": 0.45})) == (
        "rating:general",
        "rating:explicit",
    )
    assert of.tags(scores({"rating:general": 0.3, "rating:explicit": 0.2})) == ()


# -- lists ----------------------------------------------------------------------------------------------------


def test_the_whitelist_leaves_ratings_alone() -> None:
    of = policy(whitelist=("*_hair",), blacklist=("very_*",), rating=True)
    assert of.tags(scores(HAIR | {"rating:general": 0.5})) == ("long hair", "rating:general")


@pytest.mark.parametrize(
    "pattern", ["regex:(very )?long.hair", "regex:.*_HAIR", "regex:(very|not_so)?_?long_(hair)"]
)
def test_regular_expressions_fit_whole_names(pattern: str) -> None:
    assert policy(blacklist=(pattern, "1girl")).tags(scores(HAIR)) == ("hair",)
    assert len(policy(blacklist=("regex:long",)).tags(scores(HAIR))) == 4


# -- relations ------------------------------------------------------------------------------------------------


def test_a_tag_brings_what_it_implies_whatever_its_score() -> None:
    of = policy(implies={"cat_ears": ["animal_ears", "cat"], "cat": ["animal"]})
    assert of.tags(scores({"cat_ears": 0.5, "animal_ears": 0.2, "1girl": 0.4})) == (
        "cat ears",
        "animal ears",
        "cat",
        "animal",
        "1girl",
    )
    assert of.tags(scores({"cat_ears": 0.3, "animal_ears": 0.2})) == ()


def test_what_is_implied_can_be_blacklisted_and_is_never_twice() -> None:
    of = policy(implies={"cat_ears": ["animal_ears"], "1girl": ["animal_ears"]}, blacklist=("cat_ears",))
    assert of.tags(scores({"cat_ears": 0.9, "animal_ears": 0.2})) == ()
    assert of.tags(scores({"1girl": 0.9, "animal_ears": 0.95})) == ("animal ears", "1girl")
    of = policy(implies={"cat_ears": ["animal_ears"]}, blacklist=("animal ears",))
    assert of.tags(scores({"cat_ears": 0.9, "animal_ears": 0.99})) == ("cat ears",)


def test_a_rating_can_imply_a_tag_but_no_tag_a_rating() -> None:
    of = policy(rating=True, implies={"rating:explicit": ["nsfw"]})
    assert of.tags(scores({"rating:explicit": 0.6})) == ("rating:explicit", "nsfw")
    with pytest.raises(BadConfig, match=r"implies.* 1girl: a rating"):
        policy(implies={"1girl": ["rating:general"]})


def test_a_tag_hides_others_but_only_when_it_is_there() -> None:
    of = policy(hides={"very_long_hair": ["long_hair"], "1girl": ["hair"]})
    assert of.tags(scores(HAIR)) == ("very long hair", "1girl")
    assert of.tags(scores(HAIR | {"very_long_hair": 0.3})) == ("long hair", "1girl")


def test_overlapping_tags_are_dropped_but_not_behind_a_no() -> None:
    of = policy(drop_overlapping=True)
    assert of.tags(scores(HAIR)) == ("very long hair", "1girl")
    assert of.tags(scores({"bra": 0.5, "no_bra": 0.6})) == ("no bra", "bra")


@pytest.mark.parametrize("table", ["implies", "hides"])
def test_tables_that_go_round_in_a_circle_are_refused(table: str) -> None:
    with pytest.raises(BadConfig, match=rf"policy.{table}\] goes round in a circle: hair -> 1girl -> hair"):
        policy(**_setting(table, {"hair": ["1girl"], "1girl": ["hair"]}))


def _setting(name: str, value: Any) -> dict[str, Any]:
    return {name: value}


def test_the_table_goes_before_the_words_of_a_tag() -> None:
    of = policy(drop_overlapping=True, hides={"hair": ["long_hair"]})
    assert of.tags(scores({"long_hair": 0.9, "hair": 0.8})) == ("hair",)


def test_series_come_from_the_last_brackets_that_tell_no_variant() -> None:
    of = policy(series=True)
    found = {
        "hatsune_miku_(append)": 0.9,
        "shiroko_(append)_(blue_archive)": 0.88,
        "saber_(fate/stay_night)": 0.86,
    }
    assert of.tags(scores(found)) == (
        "hatsune miku (append)",
        "shiroko (append) (blue archive)",
        "blue archive",
        "saber (fate∕stay night)",  # noqa: RUF001
        "fate∕stay night",  # noqa: RUF001
    )
    assert of.tags(scores({"saber_(fate/stay_night)": 0.8})) == ()


def test_series_of_the_model_s_own_map_go_before_the_brackets() -> None:
    series = {"hatsune_miku": ("vocaloid", "project_diva"), "saber_(fate/stay_night)": ("fate",)}
    of = policy(series_map=series, series=True)
    assert of.tags(scores({"hatsune_miku": 0.9, "saber_(fate/stay_night)": 0.86})) == (
        "hatsune miku",
        "project diva",
        "vocaloid",
        "saber (fate∕stay night)",  # noqa: RUF001
        "fate",
    )


# -- names ----------------------------------------------------------------------------------------------------


def test_templates_make_hierarchies_but_labels_never_do() -> None:
    of = policy(
        rating=True,
        series=True,
        template={
            "general": "{name}",
            "character": "character:{name}",
            "copyright": "anime/{category}/{name}",
            "rating": "safety/{name}",
        },
    )
    found = scores({"saber_(fate/stay_night)": 0.9, "k/da": 0.5, "rating:general": 0.4})
    assert of.tags(found) == (
        "character:saber (fate∕stay night)",  # noqa: RUF001
        "anime/copyright/fate∕stay night",  # noqa: RUF001
        "k∕da",  # noqa: RUF001
        "safety/general",
    )


@pytest.mark.parametrize(
    ("settings", "tags"),
    [
        ({"spaces": False}, ("very_long_hair", "^_^", "hatsune_miku")),
        ({"case": "title"}, ("Very Long Hair", "^_^", "Hatsune Miku")),
        ({"case": "upper", "spaces": False}, ("VERY_LONG_HAIR", "^_^", "HATSUNE_MIKU")),
        (
            {"case": "lower", "template": {"character": "Who: {name}"}},
            ("very long hair", "^_^", "Who: hatsune miku"),
        ),
        ({"rename": {"very_long_hair": "mop_Of/hair"}}, ("mop_Of∕hair", "^_^", "hatsune miku")),  # noqa: RUF001
        ({"template": {"general": "tag:{name}"}}, ("tag:very long hair", "tag:^_^", "hatsune miku")),
    ],
)
def test_style(settings: dict[str, Any], tags: tuple[str, ...]) -> None:
    assert policy(**settings).tags(scores({"very_long_hair": 0.99, "^_^": 0.95, "hatsune_miku": 0.9})) == tags


def test_names_in_a_second_language(tmp_path: Path) -> None:
    path = tmp_path / "ja.csv"
    path.write_text("hatsune_miku,初音ミク\nlong_hair,ロング/ヘア,comment\n\nno_such,x\n", encoding="utf-8")
    found = scores({"hatsune_miku": 0.9, "long_hair": 0.8, "hair": 0.5})
    assert policy(second_names=path).tags(found) == (
        "hatsune miku",
        "初音ミク",
        "long hair",
        "ロング∕ヘア",  # noqa: RUF001
        "hair",
    )
    of = policy(second_names=path, second_names_mode="replace", template={"character": "who:{name}"})
    assert of.tags(found) == ("who:初音ミク", "ロング∕ヘア", "hair")  # noqa: RUF001
    assert policy(second_names=path, blacklist=("初音*",)).tags(found)[0] == "long hair"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot read"),
        (b"\xff,x\n", "not UTF-8"),
        (b"hair\n", "line 1: hair has no second name"),
        (b"hair,a\nhair,b\n", "line 2: hair has two second names, a and b"),
    ],
)
def test_second_names_that_cannot_be_used(content: bytes | None, says: str, tmp_path: Path) -> None:
    path = tmp_path / "names.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadConfig, match=says) as caught:
        policy(second_names=path)
    assert str(path) in caught.value.message
    assert "second_names" in caught.value.message


def test_labels_that_become_one_tag_are_told_unless_one_is_kept_out() -> None:
    rename = {"long_hair": "hair"}
    of = policy(rename=rename)
    assert of.collisions == {"hair": ("hair", "long_hair")}
    assert of.tags(scores({"hair": 0.4, "long_hair": 0.9, "1girl": 0.5})) == ("hair", "1girl")
    assert not policy(rename=rename, blacklist=("long_hair",)).collisions


# -- mistakes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"mcut": {"charakter": 0.1}}, r"\[policy.mcut\] charakter: did you mean character\?"),
        ({"mcut": {"rating": 0.1}}, r"\[policy.mcut\] rating: .*categories are character, general"),
        ({"top": {"generl": 3}}, r"\[policy.top\] generl: did you mean general\?"),
        ({"template": {"charakter": "{name}"}}, r"\[policy.template\] charakter: did you mean character\?"),
        ({"template": {"general": "auto:processed/{name}"}}, r"\[policy.template\] general: .*below the marker"),
    ],
)
def test_a_setting_that_does_not_fit_the_model_is_named(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(BadConfig, match=says):
        policy(**settings)


def test_the_identity_changes_with_every_setting_that_could_change_a_tag(tmp_path: Path) -> None:
    names = tmp_path / "names.csv"
    names.write_text("hair,x\n")
    different: list[dict[str, Any]] = [
        {},
        {"tag_threshold": {"hair": 0.5}},
        {"tag_threshold": {"hair": 0.35}, "mcut": {"general": 0.1}},
        {"mcut": {"general": 0.1}},
        {"mcut": {"general": 0.2}},
        {"top": {"general": 3}},
        {"min_tags": 1},
        {"max_tags": 1},
        {"rating": True},
        {"rating": True, "rating_by": "threshold", "threshold": {"rating": 0.0}},
        {"implies": {"hair": ["1girl"]}},
        {"implies": {"hair": ["head"]}},
        {"hides": {"hair": ["1girl"]}},
        {"drop_overlapping": True},
        {"series": True},
        {"rename": {"hair": "x"}},
        {"second_names": names},
        {"second_names": names, "second_names_mode": "replace", "rename": {"1girl": "y"}},
        {"template": {"general": "x:{name}"}},
        {"case": "upper"},
        {"spaces": False},
        {"slash": "-"},
        {"whitelist": ("hair",)},
        {"blacklist": ("hair",)},
        {"vocabulary": 3},
    ]
    assert len({policy(**settings).identity for settings in different}) == len(different)
    assert policy(LABELS[:-1]).identity != policy().identity
