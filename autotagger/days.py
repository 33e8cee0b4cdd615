"""Spans of days as a setting writes them: `2015-01-01..2019-12-31`, `2015..`, `..2019-06`, `2015`."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

_DAY = re.compile(r"(\d{4})(?:-(\d\d)(?:-(\d\d))?)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Days:
    """From `first_ms` (included) to `end_ms` (excluded), epoch milliseconds at midnight UTC; None: no limit."""

    first_ms: int | None = None
    end_ms: int | None = None

    @classmethod
    def read(cls, text: str) -> Self:
        """Raises ValueError for what is no span. Empty text is all time."""
        first, dots, last = (part.strip() for part in text.partition(".."))
        if not first and not last:
            if dots:
                raise ValueError("a span of days needs a day: 2015-01-01.. or ..2019-12-31")
            return cls()
        span = cls(
            _parsed(first)[0] if first else None,
            _parsed(last)[1] if last else None if dots else _parsed(first)[1],
        )
        if span.first_ms is not None and span.end_ms is not None and span.end_ms <= span.first_ms:
            raise ValueError(f"{text} ends before it begins")
        return span

    def hold(self, moment_ms: int) -> bool:
        """Whether a moment lies in the span."""
        return (self.first_ms is None or moment_ms >= self.first_ms) and (
            self.end_ms is None or moment_ms < self.end_ms
        )

    @property
    def always(self) -> bool:
        """Whether there is no limit at all."""
        return self.first_ms is None and self.end_ms is None


ALWAYS = Days()


def _parsed(text: str) -> tuple[int, int]:
    """Where a day, month or year begins, and where the next one does."""
    found = _DAY.fullmatch(text)
    try:
        if found is None:
            raise ValueError
        year, month, day = (int(part) if part else None for part in found.groups())
        assert year is not None
        begins = datetime(year, month or 1, day or 1, tzinfo=UTC)
        if day:
            ends = begins + timedelta(days=1)
        elif month:
            ends = datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC)
        else:
            ends = datetime(year + 1, 1, 1, tzinfo=UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"{text} is no day: write 2015-01-31, 2015-01 or 2015") from None
    return int(begins.timestamp() * 1000), int(ends.timestamp() * 1000)
