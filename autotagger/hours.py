"""Hours of the day in which work is done: `22:00-07:00`."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Self

_WINDOW = re.compile(r"\s*([01]?\d|2[0-3]):([0-5]\d)\s*-\s*([01]?\d|2[0-3]):([0-5]\d)\s*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Hours:
    """Windows as (begin, end) in minutes of the day; one that ends before it begins goes over midnight. None at
    all is the whole day."""

    windows: tuple[tuple[int, int], ...] = ()

    @classmethod
    def read(cls, texts: Iterable[str]) -> Self:
        """Of `22:00-07:00` and the like. Raises ValueError, saying what is wrong."""
        return cls(tuple(map(_window, texts)))

    def hold(self, moment: datetime) -> bool:
        """Whether `moment` (local time) is in one of the windows; their ends are outside."""
        now = 60 * moment.hour + moment.minute
        return not self.windows or any(
            begin <= now < end if begin < end else now >= begin or now < end for begin, end in self.windows
        )


def _window(text: str) -> tuple[int, int]:
    found = _WINDOW.fullmatch(text)
    if not found:
        raise ValueError(f"{text!r} is no window like 22:00-07:00")
    hour, minute, end_hour, end_minute = map(int, found.groups())
    begin, end = 60 * hour + minute, 60 * end_hour + end_minute
    if begin == end:
        raise ValueError(f"{text!r} begins and ends at the same time; leave it out to work around the clock")
    return begin, end
