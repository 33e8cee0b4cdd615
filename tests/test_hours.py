"""Windows of the day, over midnight and several."""

from datetime import datetime

import pytest

from autotagger.hours import Hours


def at(clock: str) -> datetime:
    return datetime.fromisoformat(f"2026-11-25T{clock}")


@pytest.mark.parametrize(
    ("clock", "inside"),
    [
        ("21:59:59", False),
        ("22:00:00", True),
        ("00:00:00", True),
        ("06:59:59", True),
        ("07:00:00", False),
        ("12:29:00", False),
        ("12:30:00", True),
        ("13:30:00", False),
    ],
)
def test_several_windows_one_over_midnight(clock: str, inside: bool) -> None:
    assert Hours.read(("22:00-07:00", "12:30 - 13:30")).hold(at(clock)) is inside


def test_no_window_is_the_whole_day() -> None:
    assert Hours.read(()).hold(at("03:00"))


@pytest.mark.parametrize("text", ["22-7", "24:00-07:00", "22:00-07:60", "", "07:00-07:00", "٢٢:00-07:00"])
def test_what_is_no_window_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no window like|begins and ends"):
        Hours.read((text,))
