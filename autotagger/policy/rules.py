"""Scores to tag names. All that depends on a label alone is worked out once; a picture costs microseconds."""

import fnmatch
import hashlib
import json
import re
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from autotagger.config import PolicySettings
from autotagger.errors import BadConfig
from autotagger.policy.names import check_slash, safe_name
from autotagger.policy.thresholds import RATING, as_stored, resolve
from autotagger.scores import SparseScores

#: Part of a policy's identity: raise it when the same names and thresholds would give other tags.
_RULES_VERSION = 1


class TagPolicy:
    """The tags of a picture by its scores.

    General and other tags whose score is at least (`>=`) their category's threshold, and the likeliest rating
    as `rating:<name>`, less what is blacklisted. The same scores give the same tags in the same order.

    `always`: rows of the rating labels, to be passed to `scores.pack`; the likeliest can only be told when
    every candidate is there.
    `identity`: SHA-256 in hex over all that decides the outcome; equal identities give equal tags.
    `collisions`: labels whose names come out the same, by that name; the better score counts.
    """

    always: NDArray[np.intp]
    identity: str
    collisions: Mapping[str, tuple[str, ...]]

    def __init__(
        self,
        labels: Sequence[tuple[str, str]],
        settings: PolicySettings,
        defaults: Mapping[str, float],
        marker: str,
    ) -> None:
        """`labels`: (name, category) in the order of the scores. `defaults`: the model's own thresholds.

        `marker`: never among the tags. Raises BadConfig for a setting that does not fit the model.
        """
        try:
            check_slash(settings.slash)
        except ValueError as error:
            raise BadConfig(f"[policy] slash: {error}") from None
        limits = resolve({category for _, category in labels}, settings.threshold, defaults)
        self._names = [_tag_name(name, category, settings.slash) for name, category in labels]
        ratings = np.array([category == RATING for _, category in labels], dtype=bool)
        banned = _Blacklist(settings.blacklist)
        allowed = [
            tag != marker and not banned.matches(name, category, tag)
            for (name, category), tag in zip(labels, self._names, strict=True)
        ]
        self._allowed = np.array(allowed, dtype=bool)
        self._is_rating = ratings
        self._rate = settings.rating
        self._limits = as_stored([limits[category] for _, category in labels])
        self.always = np.flatnonzero(ratings)
        self.collisions = _collisions(labels, self._names)
        self.identity = self._fingerprint(marker)

    def tags(self, scores: SparseScores) -> tuple[str, ...]:
        """The final names, each once, best score first; of equal scores the one higher up in the label file.

        Raises ValueError when the scores name a row that the model does not have: they are another model's.
        """
        rows, values = scores.labels.astype(np.intp), scores.values
        if len(rows) and int(rows.max()) >= len(self._names):
            raise ValueError(
                f"scores name label {int(rows.max())} of {len(self._names)}: they are another model's"
            )
        is_rating = self._is_rating[rows]
        keep = (values >= self._limits[rows]) & self._allowed[rows]
        keep &= self._likeliest(rows, values, is_rating) if self._rate else ~is_rating
        rows, values = rows[keep], values[keep]
        order = np.lexsort((rows, -values))
        return tuple(dict.fromkeys(self._names[row] for row in rows[order]))

    def _likeliest(
        self, rows: NDArray[np.intp], values: NDArray[np.float32], is_rating: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """Everything but the ratings that are not the likeliest."""
        keep = ~is_rating
        candidates = np.flatnonzero(is_rating)
        if len(candidates):
            keep[candidates[np.lexsort((rows[candidates], -values[candidates]))[0]]] = True
        return keep

    def _fingerprint(self, marker: str) -> str:
        deciding = [
            _RULES_VERSION,
            marker,
            self._rate,
            self._names,
            self._limits.tolist(),
            self._allowed.tolist(),
            self.always.tolist(),
        ]
        return hashlib.sha256(json.dumps(deciding).encode()).hexdigest()


class _Blacklist:
    """Patterns with `*` and `?`, case ignored, matched against a label's name and against the tag's.

    A rating is only ever `rating:<name>`: the plain word `general` may be a tag of its own.
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        # fnmatch also knows [sets], which would be a trap in names like `fate_(series)[1]`
        parts = [fnmatch.translate(pattern.casefold().replace("[", "[[]")) for pattern in patterns]
        self._pattern = re.compile("|".join(parts)) if parts else None

    def matches(self, name: str, category: str, tag: str) -> bool:
        if self._pattern is None:
            return False
        label = f"{RATING}:{name}" if category == RATING else name
        return any(self._pattern.match(text.casefold()) for text in (label, tag))


def _tag_name(name: str, category: str, slash: str) -> str:
    return safe_name(f"{RATING}:{name}" if category == RATING else name, slash)


def _collisions(labels: Sequence[tuple[str, str]], names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    by_tag: dict[str, list[str]] = {}
    for (label, _), tag in zip(labels, names, strict=True):
        by_tag.setdefault(tag, []).append(label)
    return {tag: tuple(group) for tag, group in by_tag.items() if len(group) > 1}
