"""A fault that hits every picture must not fill the disk with one line each: how often a place may log."""

from dataclasses import dataclass

#: Lines of one place in the code, at one level, in one window.
MOST = 20
WINDOW_S = 60.0

#: A place in the code and the level of its line.
Place = tuple[str | None, int, str]


@dataclass(slots=True)
class _Window:
    began_s: float
    seen: int = 0


class Repetition:
    """Lets the first `MOST` lines of a place through, counts the others, and starts afresh after `WINDOW_S`."""

    def __init__(self) -> None:
        self._windows: dict[Place, _Window] = {}

    def admit(self, place: Place, now_s: float) -> str | None:
        """What to add to the line (mostly nothing), or None where it is left out. `now_s`: any clock."""
        window = self._windows.get(place)
        left_out = 0
        # A clock that was set back starts afresh too.
        if window is None or not 0 <= now_s - window.began_s < WINDOW_S:
            left_out = max(0, window.seen - MOST) if window else 0
            window = self._windows[place] = _Window(now_s)
        window.seen += 1
        if window.seen > MOST:
            return None
        note = f" (and {left_out:,} more lines like it before)" if left_out else ""
        if window.seen == MOST:
            note += (
                f" (more lines like it are only counted for the next {window.began_s + WINDOW_S - now_s:.0f} s)"
            )
        return note
