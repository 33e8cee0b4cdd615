"""The bodies of searches: by flat fields before 3.2, by `filter` since, where flat fields will go away (law 20).

A field that a server does not know is ignored without a word, and everything comes back (law 4): which of the two
a server understands is found out by `dialect`, by effect.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autotagger.immich.parsing import ms_iso
from autotagger.immich.types import Kind, Page

#: Immich's largest page.
PAGE_SIZE = 1000


@dataclass(frozen=True, slots=True)
class Narrowing:
    """What all that a search finds has: every one of the albums, people and tags (by id), the library, the user's
    star, and times in epoch milliseconds, both ends included; a default narrows nothing."""

    album_ids: tuple[str, ...] = ()
    person_ids: tuple[str, ...] = ()
    tag_ids: tuple[str, ...] = ()
    library_id: str | None = None
    favorite: bool = False
    taken_after_ms: int | None = None
    taken_before_ms: int | None = None
    created_after_ms: int | None = None
    created_before_ms: int | None = None


ANYWHERE = Narrowing()


def search_body(
    *,
    filters: bool,
    visibility: str,
    kind: Kind | None = None,
    tag_id: str | None = None,
    without_tag_id: str | None = None,
    updated_after_ms: int | None = None,
    created_after_ms: int | None = None,
    with_exif: bool = False,
    within: Narrowing = ANYWHERE,
    trash: bool = False,
    size: int = PAGE_SIZE,
) -> dict[str, Any]:
    """The body of a search: by `filters` as of 3.2, or by the flat fields before.

    `visibility` is always sent: the default set holds hidden motion parts. `kind` None is every type. `tag_id`:
    only what holds this tag; `without_tag_id`, by filters alone: only what does not. `updated_after_ms`,
    `created_after_ms`: only what was updated, or taken in, then or later, on the database's clock. `with_exif`:
    only what Immich has read the metadata of, told with it. `within`: what else it has. `trash`: also what is in
    there; a flat search excludes it by itself, the other by name.
    """
    assert filters or without_tag_id is None, "flat fields cannot ask for what lacks a tag"
    extra = {"withExif": True} if with_exif else {}
    created_after_ms = _later(created_after_ms, within.created_after_ms)
    lists = {"albumIds": within.album_ids, "personIds": within.person_ids, "tagIds": _tags(within, tag_id)}
    if not filters:
        times = {
            "updatedAfter": updated_after_ms,
            "createdAfter": created_after_ms,
            "createdBefore": within.created_before_ms,
            "takenAfter": within.taken_after_ms,
            "takenBefore": within.taken_before_ms,
        }
        flat = {
            "type": kind,
            "withDeleted": trash or None,
            "libraryId": within.library_id,
            "isFavorite": within.favorite or None,
            **{name: list(ids) or None for name, ids in lists.items()},
            **{name: _iso(moment_ms) for name, moment_ms in times.items()},
        }
        given = {name: value for name, value in flat.items() if value is not None}
        return {"size": size, "page": 1, "visibility": visibility, **given, **extra}
    none = {"none": [without_tag_id]} if without_tag_id is not None else {}
    conditions: dict[str, dict[str, Any]] = {
        "type": {"eq": kind},
        "updatedAt": {"gte": _iso(updated_after_ms)},
        "createdAt": {"gte": _iso(created_after_ms), "lte": _iso(within.created_before_ms)},
        "takenAt": {"gte": _iso(within.taken_after_ms), "lte": _iso(within.taken_before_ms)},
        "libraryId": {"eq": within.library_id},
        "isFavorite": {"eq": within.favorite or None},
        **{name: {"all": list(ids) or None} for name, ids in lists.items()},
    }
    conditions["tagIds"] |= none
    wanted: dict[str, Any] = {"visibility": {"eq": visibility}} | ({} if trash else {"trashedAt": {"eq": None}})
    for name, asked in conditions.items():
        if known := {operator: value for operator, value in asked.items() if value is not None}:
            wanted[name] = known
    return {"size": size, "filter": wanted, **extra}


def _iso(moment_ms: int | None) -> str | None:
    return None if moment_ms is None else ms_iso(moment_ms)


def _tags(within: Narrowing, tag_id: str | None) -> tuple[str, ...]:
    """All the tags to be held, each once: Immich counts them, and doubles match nothing."""
    return tuple(dict.fromkeys((*within.tag_ids, *((tag_id,) if tag_id is not None else ()))))


def _later(one_ms: int | None, other_ms: int | None) -> int | None:
    return max((moment_ms for moment_ms in (one_ms, other_ms) if moment_ms is not None), default=None)


def random_search(size: int, *, filters: bool) -> dict[str, Any]:
    """The body for pictures of the timeline by chance, at most `size` (1..1000)."""
    body = search_body(filters=filters, visibility="timeline", kind="IMAGE", size=size)
    return {name: value for name, value in body.items() if name != "page"}


def following(body: Mapping[str, Any], page: Page) -> dict[str, Any] | None:
    """The body for the page after `page`, None after the last one."""
    if "filter" in body:
        return {**body, "cursor": page.next_cursor} if page.next_cursor else None
    return {**body, "page": page.next_page} if page.next_page else None


def totals(body: Mapping[str, Any]) -> dict[str, Any]:
    """A search's body without its paging: what `search/statistics` understands."""
    return {name: value for name, value in body.items() if name not in ("size", "page")}
