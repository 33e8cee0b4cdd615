"""The bodies of searches: by flat fields before 3.2, by `filter` since, where flat fields will go away (law 20).

A field that a server does not know is ignored without a word, and everything comes back (law 4): which of the two
a server understands is found out by `dialect`, by effect.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

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


class Search(Protocol):
    """`flat_search` or `filter_search`."""

    def __call__(
        self,
        *,
        visibility: str,
        kind: Kind | None = None,
        tag_id: str | None = None,
        updated_after_ms: int | None = None,
        created_after_ms: int | None = None,
        with_exif: bool = False,
        within: Narrowing = ANYWHERE,
        size: int = PAGE_SIZE,
    ) -> dict[str, Any]: ...


def flat_search(
    *,
    visibility: str,
    kind: Kind | None = None,
    tag_id: str | None = None,
    updated_after_ms: int | None = None,
    created_after_ms: int | None = None,
    with_exif: bool = False,
    within: Narrowing = ANYWHERE,
    size: int = PAGE_SIZE,
) -> dict[str, Any]:
    """The body of a search by flat fields, up to 3.x; trash is excluded by Immich itself.

    `visibility` is always sent: the default set holds hidden motion parts. `kind` None is every type. `tag_id`:
    only what holds this tag. `updated_after_ms`, `created_after_ms`: only what was updated, or taken in, then or
    later, on the database's clock. `with_exif`: only what Immich has read the metadata of, told with it. `within`:
    what else it has.
    """
    body: dict[str, Any] = {"size": size, "page": 1, "visibility": visibility}
    if kind is not None:
        body["type"] = kind
    lists = {"albumIds": within.album_ids, "personIds": within.person_ids, "tagIds": _tags(within, tag_id)}
    times = {
        "updatedAfter": updated_after_ms,
        "createdAfter": _later(created_after_ms, within.created_after_ms),
        "createdBefore": within.created_before_ms,
        "takenAfter": within.taken_after_ms,
        "takenBefore": within.taken_before_ms,
    }
    body |= {name: list(ids) for name, ids in lists.items() if ids}
    body |= {name: ms_iso(moment_ms) for name, moment_ms in times.items() if moment_ms is not None}
    if within.library_id is not None:
        body["libraryId"] = within.library_id
    if within.favorite:
        body["isFavorite"] = True
    if with_exif:
        body["withExif"] = True
    return body


def filter_search(
    *,
    visibility: str,
    kind: Kind | None = None,
    tag_id: str | None = None,
    without_tag_id: str | None = None,
    updated_after_ms: int | None = None,
    created_after_ms: int | None = None,
    with_exif: bool = False,
    within: Narrowing = ANYWHERE,
    size: int = PAGE_SIZE,
) -> dict[str, Any]:
    """The same as a search of 3.2 and later, which also knows `without_tag_id`: only what does not hold this tag.

    Trash must be excluded by name.
    """
    wanted: dict[str, Any] = {"visibility": {"eq": visibility}, "trashedAt": {"eq": None}}
    if kind is not None:
        wanted["type"] = {"eq": kind}
    lists = {"albumIds": within.album_ids, "personIds": within.person_ids, "tagIds": _tags(within, tag_id)}
    wanted |= {name: {"all": list(ids)} for name, ids in lists.items() if ids}
    if without_tag_id is not None:
        wanted.setdefault("tagIds", {})["none"] = [without_tag_id]
    created_after_ms = _later(created_after_ms, within.created_after_ms)
    times = {
        "updatedAt": {"gte": updated_after_ms},
        "createdAt": {"gte": created_after_ms, "lte": within.created_before_ms},
        "takenAt": {"gte": within.taken_after_ms, "lte": within.taken_before_ms},
    }
    for name, ends in times.items():
        if known := {end: ms_iso(moment_ms) for end, moment_ms in ends.items() if moment_ms is not None}:
            wanted[name] = known
    if within.library_id is not None:
        wanted["libraryId"] = {"eq": within.library_id}
    if within.favorite:
        wanted["isFavorite"] = {"eq": True}
    return {"size": size, "filter": wanted} | ({"withExif": True} if with_exif else {})


def _tags(within: Narrowing, tag_id: str | None) -> tuple[str, ...]:
    """All the tags to be held, each once: Immich counts them, and doubles match nothing."""
    return tuple(dict.fromkeys((*within.tag_ids, *((tag_id,) if tag_id is not None else ()))))


def _later(one_ms: int | None, other_ms: int | None) -> int | None:
    return max((moment_ms for moment_ms in (one_ms, other_ms) if moment_ms is not None), default=None)


def search_by(filters: bool) -> Search:
    """The kind of search for a server that knows `filter`, or does not."""
    return filter_search if filters else flat_search


def random_search(size: int, *, filters: bool) -> dict[str, Any]:
    """The body for pictures of the timeline by chance, at most `size` (1..1000)."""
    body = search_by(filters)(visibility="timeline", kind="IMAGE", size=size)
    return {name: value for name, value in body.items() if name != "page"}


def following(body: Mapping[str, Any], page: Page) -> dict[str, Any] | None:
    """The body for the page after `page`, None after the last one."""
    if "filter" in body:
        return {**body, "cursor": page.next_cursor} if page.next_cursor else None
    return {**body, "page": page.next_page} if page.next_page else None


def totals(body: Mapping[str, Any]) -> dict[str, Any]:
    """A search's body without its paging: what `search/statistics` understands."""
    return {name: value for name, value in body.items() if name not in ("size", "page")}
