"""Tag names: as people write them, and such that Immich leaves them alone."""

import csv
import hashlib
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from autotagger.policy.names import KAOMOJI, MAX_LENGTH, UNNAMED, check_slash, safe_name

SLASH = "\u2215"  # the default of [policy] slash
WD_LABELS = Path(__file__).parents[3] / "shared" / "data" / "wd-v3-selected_tags.csv"

any_name = st.text(st.characters(), max_size=400) | st.text("_/&;#xamp39 0.1e-+tTrueE\u202e\x00\n", max_size=20)


@pytest.mark.parametrize(
    ("label", "tag"),
    [
        ("long_hair", "long hair"),
        ("hatsune_miku_(append)", "hatsune miku (append)"),
        ("fate/stay_night", f"fate{SLASH}stay night"),
        (":/", f":{SLASH}"),
        (r"\m/", rf"\m{SLASH}"),
        ("rating:general", "rating:general"),
        ("  spaced  ", "spaced"),
        ("two\nlines\there", "two lines here"),
        ("abc\u202edef\u200b", "abcdef"),
        ("nul\x00byte", "nulbyte"),
        ("half\ud800surrogate", "halfsurrogate"),
        ("AT&amp;T", "AT&T"),
        ("it&#39;s", "it's"),
        ("&amp;amp;lt;", "<"),
        ("a&#47;b", f"a{SLASH}b"),
        ("heckler_&_koch", "heckler & koch"),
        ("&unknown;", "&unknown;"),
        ("", UNNAMED),
        ("__", UNNAMED),
        ("\u202e", UNNAMED),
    ],
)
def test_what_a_label_becomes(label: str, tag: str) -> None:
    assert safe_name(label, SLASH) == tag


@pytest.mark.parametrize(
    "name",
    [
        "1.0",
        "1.10",
        "0.50",
        "1e5",
        "-0",
        "1E+2",
        "123456789012345678901",
        "9" * 300,
        "True",
        "FALSE",
        "true",
        "null",
        "NULL",
        "undefined",
        "0.0000001",
    ],
)
def test_names_that_immich_would_rewrite_are_quoted(name: str) -> None:
    assert safe_name(name, SLASH) == f"“{name[:298]}”"


@pytest.mark.parametrize(
    "name",
    [":3", "<3", ">:)", "=", "==", '"quoted"', "'single'", "a,b;c|d", "back\\slash",
     "#1", "@home", "100%20",
     "初音ミク", "🎀👨‍👩‍👧", "2023", "007", "00", "0", "69", "1.5", "-3", "auto:1girl", "!", "...", "+++",
     "x" * 300,
     "truely", "1.0.0", "v1.0", "1,000", "NaN", *sorted(KAOMOJI)],
)  # fmt: skip
def test_names_that_survive_are_left_alone(name: str) -> None:
    assert safe_name(name, SLASH) == name


def test_long_names_are_cut() -> None:
    assert safe_name("x" * 299 + "_y", SLASH) == "x" * 299
    assert len(safe_name("1" * 400, SLASH)) == MAX_LENGTH


@given(any_name, st.sampled_from([SLASH, " ", "-", "_", "\u29f8", ".", "p", "o", ";"]))
@example("&am/;", "p")
@example("1/0", ".")
@example(">/o", "_")
@example("&#x26;amp;#47;", SLASH)
def test_always_safe_and_stable(name: str, slash: str) -> None:
    safe = safe_name(name, slash)
    assert safe_name(safe, slash) == safe
    assert safe == safe.strip()
    assert 0 < len(safe) <= MAX_LENGTH
    assert "/" not in safe
    assert not any(ord(letter) < 32 or letter in "\u202e\ufeff\u2066" for letter in safe)
    assert "_" not in safe or safe in KAOMOJI
    safe.encode("utf-8")


@pytest.mark.parametrize("slash", ["", "/", "a/b", "&#47;", "&", "\n", "\u202e"])
def test_a_slash_that_would_not_stay_is_refused(slash: str) -> None:
    with pytest.raises(ValueError, match="stands for /"):
        check_slash(slash)


@pytest.mark.skipif(not WD_LABELS.is_file(), reason="the real label file is not here")
def test_the_real_labels() -> None:
    assert hashlib.md5(WD_LABELS.read_bytes()).hexdigest() == "f0685d0293aa3eb28244e50a97c85662"
    with WD_LABELS.open(encoding="utf-8", newline="") as file:
        labels = [row["name"] for row in csv.DictReader(file) if row["category"] != "9"]
    names = {label: safe_name(label, SLASH) for label in labels}
    assert sum("/" in label for label in labels) == 19
    assert not any("/" in name for name in names.values())
    assert {name for name in names.values() if "_" in name} == set(labels) & KAOMOJI
    assert len(set(names.values())) == len(labels) == 10_857
    assert names["shampoo_(ranma_1/2)"] == f"shampoo (ranma 1{SLASH}2)"
    assert not [name for name in names.values() if name.startswith("“")]
