"""The bodies of searches: by flat fields before 3.2, by `filter` since, where flat fields will go away (law 20).

A field that a server does not know is ignored without a word, and everything comes back (law 4): which of the two
a server understands is found out by `dialect`, by effect.
"""

from collections.abc import Mapping
from typing import Any, Protocol

from autotagger.immich.parsing import ms_iso
from autotagger.immich.types import Kind, Page

#: Immich's largest page.
PAGE_SIZE = 1000


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
        trash: bool = False,
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
    trash: bool = False,
    size: int = PAGE_SIZE,
) -> dict[str, Any]:
    """The body of a search by flat fields, up to 3.x; trash is excluded by Immich itself.

    `visibility` is always sent: the default set holds hidden motion parts. `kind` None is every type. `tag_id`:
    only what holds this tag. `updated_after_ms`, `created_after_ms`: only what was updated, or taken in, then or
    later, on the database's clock. `with_exif`: only what Immich has read the metadata of.
    `trash`: also what is in the trash.
    """
    body: dict[str, Any] = {"size": size, "page": 1, "visibility": visibility}
    if kind is not None:
        body["type"] = kind
    if tag_id is not None:
        body["tagIds"] = [tag_id]
    if updated_after_ms is not None:
        body["updatedAfter"] = ms_iso(updated_after_ms)
    if created_after_ms is not None:
        body["createdAfter"] = ms_iso(created_after_ms)
    if with_exif:
        body["withExif"] = True
    if trash:
        body["withDeleted"] = True
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
    trash: bool = False,
    size: int = PAGE_SIZE,
) -> dict[str, Any]:
    """The same as a search of 3.2 and later, which also knows `without_tag_id`: only what does not hold this tag.

    Trash must be excluded by name.
    """
    wanted: dict[str, Any] = {"visibility": {"eq": visibility}}
    if not trash:
        wanted["trashedAt"] = {"eq": None}
    if kind is not None:
        wanted["type"] = {"eq": kind}
    if tag_id is not None:
        wanted["tagIds"] = {"all": [tag_id]}
    if without_tag_id is not None:
        wanted.setdefault("tagIds", {})["none"] = [without_tag_id]
    if updated_after_ms is not None:
        wanted["updatedAt"] = {"gte": ms_iso(updated_after_ms)}
    if created_after_ms is not None:
        wanted["createdAt"] = {"gte": ms_iso(created_after_ms)}
    return {"size": size, "filter": wanted} | ({"withExif": True} if with_exif else {})


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
