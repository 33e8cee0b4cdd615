"""Tag names to calls: as few as the pair limit allows, and exactly one per asset (docs/immich.md, law 1)."""

from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, slots=True)
class TagCall(Generic[K]):
    """Every tag of `tags` for every asset of `assets`, in one call."""

    assets: tuple[K, ...]
    tags: frozenset[str]


def plan_calls(assets: Iterable[tuple[K, frozenset[str]]], *, max_pairs: int) -> list[TagCall[K]]:
    """Group `assets` (each with all of its tags, the marker among them) into calls of at most `max_pairs` pairs.

    Assets with the very same tags share a call, in the order they come. Every asset is in exactly one call: the
    tags of one asset are never split, not even when they alone are more than `max_pairs`. Raises ValueError for
    an asset without tags, or one that is given twice with different tags.
    """
    tags_of: dict[K, frozenset[str]] = {}
    for asset, tags in assets:
        if not tags:
            raise ValueError(f"asset {asset} has no tags: the marker at least belongs to it")
        if tags_of.setdefault(asset, tags) != tags:
            raise ValueError(f"asset {asset} is given twice with different tags")
    sharing: dict[frozenset[str], list[K]] = {}
    for asset, tags in tags_of.items():
        sharing.setdefault(tags, []).append(asset)
    return [
        TagCall(chunk, tags)
        for tags, group in sharing.items()
        for chunk in _chunks(group, max(1, max_pairs // len(tags)))
    ]


def _chunks(group: list[K], size: int) -> Iterator[tuple[K, ...]]:
    for start in range(0, len(group), size):
        yield tuple(group[start : start + size])
