"""How many different tags there are in Immich: a cap, and which tags get in under it.

A model knows some ten thousand labels, and most of them are seen once in a library. Immich lists all tags in one
page, and each costs it a row and a path; the rare ones are what nobody searches for.
"""

from collections import Counter
from collections.abc import Collection, Iterable

#: So many tags and more are worth a warning before they are made.
MANY = 2_000


class Vocabulary:
    """The tags that may be used. What was admitted once stays: the same asset gets the same tags again.

    While scores come in, nobody knows yet which tags will be frequent, so the less room is left, the more often
    a tag must have occurred: `cap / room` times, that is once in an empty vocabulary, twice when it is half full,
    ten times when nine tenths are taken. And where more different tags have been seen than fit, a tag must be
    among the `cap` most frequent. The last word is `admit`'s; ratings and the marker are `always` admitted and
    not counted.

    `cap`: most tags; 0 is no limit. `admitted`: those of earlier runs.
    """

    def __init__(self, cap: int, *, always: Collection[str], admitted: Iterable[str] = ()) -> None:
        self._cap = cap
        self._always = frozenset(always)
        self._admitted = set(admitted) - self._always
        self._seen: Counter[str] = Counter()

    @property
    def room(self) -> int:
        """How many more tags fit; 0 also when there are more than the cap, from before it was lowered."""
        return max(0, self._cap - len(self._admitted))

    def see(self, tags: Iterable[str]) -> None:
        """Count the tags of one asset."""
        self._seen.update(tag for tag in tags if tag not in self._always)

    def admit(self, assets: Iterable[Iterable[str]]) -> bool:
        """Admit what may come in of the tags of some assets, the most frequent first, then by name.

        Returns whether this took the last place.
        """
        if not self._cap or not self.room:
            return False
        fresh = {tag for tags in assets for tag in tags} - self._admitted - self._always
        rank = self._rank()
        for tag in sorted(fresh, key=lambda tag: (-self._seen[tag], tag)):
            if self._seen[tag] < max(rank, self._cap // self.room):
                break  # and so are all that follow
            self._admitted.add(tag)
            if not self.room:
                return True
        return False

    def allowed(self, tags: Iterable[str]) -> tuple[str, ...]:
        """Those of `tags` that may be used, in their order."""
        if not self._cap:
            return tuple(tags)
        return tuple(tag for tag in tags if tag in self._admitted or tag in self._always)

    def _rank(self) -> int:
        """How often the last of the `cap` most frequent tags occurred."""
        if len(self._seen) <= self._cap:
            return 1
        return sorted(self._seen.values(), reverse=True)[self._cap - 1]


def warning(cap: int, possible: int, admitted: int) -> str | None:
    """What to tell before a run that may make thousands of tags: `possible` by the policy, less what is there."""
    most = min(cap, possible) if cap else possible
    if most - admitted < MANY:
        return None
    limit = f"[policy] vocabulary is {cap}" if cap else "[policy] vocabulary is without limit"
    return f"this run may make up to {most - admitted} new tags in Immich ({limit}; 1500 is the default)"
