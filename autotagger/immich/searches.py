"""The bodies of searches: by flat fields before 3.2, by `filter` since, where flat fields will go away (law 20).

A field that a server does not know is ignored without a word, and everything comes back (law 4): which of the two
a server understands is found out by `dialect`, by effect.
"""

from collections.abc import Mapping
from typing import Any

from autotagger.immich.parsing import ms_iso
from autotagger.immich.types import Kind, Page

#: Immich's largest page.
PAGE_SIZE = 1000


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
    trash: bool = False,
    size: int = PAGE_SIZE,
) -> dict[str, Any]:
    """The body of a search: by `filters` as of 3.2, or by the flat fields before.

    `visibility` is always sent: the default set holds hidden motion parts. `kind` None is every type. `tag_id`:
    only what holds this tag; `without_tag_id`, by filters alone: only what does not. `updated_after_ms`,
    `created_after_ms`: only what was updated, or taken in, then or later, on the database's clock. `with_exif`:
    only what Immich has read the metadata of. `trash`: also what is in
    there; a flat search excludes it by itself, the other by name.
    """
    assert filters or without_tag_id is None, "flat fields cannot ask for what lacks a tag"
    moments = (("updated", updated_after_ms), ("created", created_after_ms))
    after = {name: ms_iso(moment_ms) for name, moment_ms in moments if moment_ms is not None}
    extra = {"withExif": True} if with_exif else {}
    if not filters:
        flat = {"type": kind, "tagIds": tag_id and [tag_id], "withDeleted": trash or None} | {
            f"{name}After": text for name, text in after.items()
        }
        given = {name: value for name, value in flat.items() if value is not None}
        return {"size": size, "page": 1, "visibility": visibility, **given, **extra}
    tags = {name: [tag] for name, tag in (("all", tag_id), ("none", without_tag_id)) if tag is not None}
    wanted: dict[str, Any] = {"visibility": {"eq": visibility}}
    wanted |= {} if trash else {"trashedAt": {"eq": None}}
    wanted |= {"type": {"eq": kind}} if kind is not None else {}
    wanted |= {"tagIds": tags} if tags else {}
    wanted |= {f"{name}At": {"gte": text} for name, text in after.items()}
    return {"size": size, "filter": wanted, **extra}


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
