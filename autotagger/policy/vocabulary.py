"""How many different tags there are in Immich: a cap on request, and which tags get in under it.

A model knows some ten thousand labels, and most of them are seen once in a library. Who wants a short list of tags
in Immich caps it; without a cap a picture's tags depend on nothing but the picture.
"""

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping


class Vocabulary:
    """The tags that may be used.

    In a run, what was admitted once stays: the same asset gets the same tags again. While scores come in, nobody
    knows yet which tags will be frequent, so the less room is left, the more often a tag must have occurred:
    `cap / room` times, that is once in an empty vocabulary, twice when it is half full, ten times when nine tenths
    are taken. And where more different tags have been seen than fit, a tag must be among the `cap` most frequent.
    So what a run admits depends on the order of its work. A retag counts everything and lets `choose` say, which
    depends on the counts alone. Ratings and the marker are `always` admitted and not counted.

    `cap`: maximum number of tags; 0 is no limit. `admitted`: those in use already.
    """

    def __init__(self, cap: int, *, always: Collection[str], admitted: Iterable[str] = ()) -> None:
        self.cap = cap
        self._always = frozenset(always)
        self._admitted = set(admitted) - self._always
        self._seen: Counter[str] = Counter()

    @property
    def seen(self) -> Mapping[str, int]:
        """How many assets each tag was counted on."""
        return self._seen

    @property
    def withheld(self) -> dict[str, int]:
        """Of the tags seen, those that may not be used."""
        allowed = set(self.allowed(self._seen))
        return {tag: count for tag, count in self._seen.items() if tag not in allowed}

    @property
    def room(self) -> int:
        """How many more tags fit; 0 also when there are more than the cap, from before it was lowered."""
        return max(0, self.cap - len(self._admitted))

    def see(self, tags: Iterable[str]) -> None:
        """Count the tags of one asset."""
        self._seen.update(tag for tag in tags if tag not in self._always)

    def admit(self, assets: Iterable[Iterable[str]]) -> bool:
        """Admit what may come in of the tags of some assets, the most frequent first, then by name.

        Returns whether this took the last place.
        """
        if not self.cap or not self.room:
            return False
        fresh = {tag for tags in assets for tag in tags} - self._admitted - self._always
        rank = self._rank()
        for tag in sorted(fresh, key=lambda tag: (-self._seen[tag], tag)):
            if self._seen[tag] < max(rank, self.cap // self.room):
                break  # and so are all that follow
            self._admitted.add(tag)
            if not self.room:
                return True
        return False

    def forget(self) -> None:
        """Count anew. What is admitted stays until `choose`."""
        self._seen.clear()

    def choose(self) -> str:
        """Admit the most frequent of the tags seen and nothing else, of equals the first by name.

        Returns 16 hex digits that stand for this choice.
        """
        best = sorted(self._seen, key=lambda tag: (-self._seen[tag], tag))[: self.cap]
        self._admitted = set(best)
        return hashlib.sha256("\0".join(sorted(best)).encode()).hexdigest()[:16]

    def allowed(self, tags: Iterable[str]) -> tuple[str, ...]:
        """Those of `tags` that may be used, in their order."""
        if not self.cap:
            return tuple(tags)
        return tuple(tag for tag in tags if tag in self._admitted or tag in self._always)

    def _rank(self) -> int:
        """How often the last of the `cap` most frequent tags occurred."""
        if len(self._seen) <= self.cap:
            return 1
        return sorted(self._seen.values(), reverse=True)[self.cap - 1]
