"""Patterns of the settings: names with wildcards, or regular expressions; against a label's name and the tag's."""

import fnmatch
import re
from collections.abc import Iterable

from autotagger.policy.thresholds import RATING
from autotagger.settings import REGEX


class Patterns:
    """Any of some patterns, case ignored; a pattern has to fit the whole name.

    A rating is only ever `rating:<name>`: the plain word `general` may be a tag of its own.
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        patterns = tuple(patterns)
        wildcards = [_wildcard(pattern) for pattern in patterns if not pattern.startswith(REGEX)]
        expressions = [pattern.removeprefix(REGEX) for pattern in patterns if pattern.startswith(REGEX)]
        joined = ["|".join(wildcards)] if wildcards else []  # a regex of its own numbers its own groups
        self._patterns = [re.compile(part, re.IGNORECASE) for part in (*joined, *expressions)]

    def __bool__(self) -> bool:
        return bool(self._patterns)

    def matches(self, label: str, category: str, tags: Iterable[str]) -> bool:
        """Whether a pattern fits the `label` or one of the `tags` that it becomes."""
        if not self._patterns:
            return False
        texts = {spoken(label, category), *tags}
        texts |= {text.casefold() for text in texts}
        return any(pattern.fullmatch(text) for pattern in self._patterns for text in texts)


def spoken(label: str, category: str) -> str:
    """How a person names a label in the settings: ratings with their prefix, everything else as it is."""
    return f"{RATING}:{label}" if category == RATING else label


def _wildcard(pattern: str) -> str:
    # fnmatch also knows [sets], which would be a trap in names like `fate_(series)[1]`
    return fnmatch.translate(pattern.casefold().replace("[", "[[]"))
