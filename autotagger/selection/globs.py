"""Patterns: of paths, where `*` stays within a folder and `**` does not, and of names."""

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from functools import lru_cache

_PARTS = re.compile(r"\*\*/|\*\*|\*|\?|[^*?]+")
_MEANINGS = {"**/": r"(?:.*/)?", "**": r".*", "*": r"[^/]*", "?": r"[^/]"}


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    parts = (_MEANINGS.get(part) or re.escape(part) for part in _PARTS.findall(pattern))
    return re.compile("".join(parts), re.DOTALL)


def fits_path(path: str, patterns: Iterable[str]) -> bool:
    """Whether a path fits one of the patterns: `*` and `?` are no slash, `**` is anything."""
    return any(_compiled(pattern).fullmatch(path) for pattern in patterns)


def has_wildcard(pattern: str) -> bool:
    """Whether a name is a pattern."""
    return "*" in pattern or "?" in pattern


def fits_name(name: str, pattern: str) -> bool:
    """Whether a name fits a pattern with `*` and `?`, upper and lower case being the same."""
    # A bracket is a bracket: albums are called "Art [2019]".
    return fnmatchcase(name.casefold(), pattern.casefold().replace("[", "[[]"))
