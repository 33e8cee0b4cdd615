"""A database dump and its return (law 15): what happened since is forgotten, the .xmp files stay as they are."""

from dataclasses import dataclass, replace

from autotagger.demo.store import Row, Store, Tag


@dataclass(frozen=True, slots=True)
class Backup:
    """A dump of one stand-in's database. `links`: tag ids by asset id."""

    rows: tuple[Row, ...]
    tags: tuple[Tag, ...]
    links: dict[str, frozenset[str]]


def dump(store: Store) -> Backup:
    """Copy the database as it is now."""
    return Backup(
        tuple(replace(row, albums=set(row.albums), people=set(row.people)) for row in store.rows.values()),
        tuple(replace(tag) for tag in store.tags.values()),
        {row.id: frozenset(row.tags) for row in store.rows.values()},
    )


def bring_back(store: Store, backup: Backup) -> None:
    """Make the database what it was. Assets and tags of later days are gone, deleted ones are back, and the .xmp
    files hold what they held just now."""
    sidecars = {row.id: row.xmp for row in store.rows.values()}
    rows = [
        replace(
            row,
            xmp=sidecars.get(row.id, row.xmp),
            jobs=0,
            torn=False,
            tags=set(),
            albums=set(row.albums),
            people=set(row.people),
            coming_back=set(),
            returning=set(),
            came_back=set(row.came_back),
        )
        for row in backup.rows
    ]
    store.replace_all(rows, [replace(tag, children=set(), assets=set()) for tag in backup.tags], backup.links)
