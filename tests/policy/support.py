"""A small model with every category, and scores by label name."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from autotagger.policy.rules import TagPolicy
from autotagger.scores import SparseScores
from autotagger.settings import PolicySettings

LABELS = [
    ("general", "rating"),
    ("explicit", "rating"),
    ("1girl", "general"),
    ("hair", "general"),
    ("long_hair", "general"),
    ("very_long_hair", "general"),
    ("cat_ears", "general"),
    ("animal_ears", "general"),
    ("white_background", "general"),
    ("bra", "general"),
    ("no_bra", "general"),
    ("^_^", "general"),
    ("k/da", "general"),
    ("hatsune_miku", "character"),
    ("hatsune_miku_(append)", "character"),
    ("shiroko_(append)_(blue_archive)", "character"),
    ("saber_(fate/stay_night)", "character"),
]
DEFAULTS = {"general": 0.35, "character": 0.85}
MARKER = "auto:processed"


def policy(
    labels: Sequence[tuple[str, str]] = LABELS,
    marker: str = MARKER,
    series_map: Mapping[str, Sequence[str]] | None = None,
    **settings: Any,
) -> TagPolicy:
    """A policy with these settings; no ratings unless asked for."""
    return TagPolicy(labels, PolicySettings(**{"rating": False, **settings}), DEFAULTS, marker, series_map)


def scores(by_name: Mapping[str, float]) -> SparseScores:
    """Stored scores by label name, a rating's as `rating:<name>`."""
    names = [f"rating:{name}" if category == "rating" else name for name, category in LABELS]
    rows = sorted((names.index(name), value) for name, value in by_name.items())
    return SparseScores(
        np.array([row for row, _ in rows], np.uint32), np.array([value for _, value in rows], np.float32)
    )
