"""The stand-in's database: assets, tags, links, and the indexes that keep a listing of 100,000 assets fast.

Nothing here knows HTTP. Every change that a search could see moves one of the counters in `Versions`.
"""

import random
from bisect import insort
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from autotagger.demo.edits import Edit, edited
from autotagger.demo.library import ME, PARTNER, AssetSpec, Library, Media, Preview, id_of_name, uuid4_from

Clock = Callable[[], float]
#: Two writes this close to each other still get two times.
_INSTANT_MS = 1000


@dataclass(slots=True, eq=False)
class Row:
    """An asset as the server holds it. `xmp`: tag values in its sidecar file, None where there is no file.

    `edits`: what the user made of the picture, `rendered`: those that preview and thumbhash show already.
    `unwritable`: this one's .xmp cannot be written (law 17). `jobs`: background jobs that wait or run for it.
    `albums`, `people`: ids of what it is in, and whom it shows.
    `torn`, `coming_back` (to the .xmp), `returning` (from there), `came_back`: see `removals`.
    """

    spec: AssetSpec
    visibility: str
    updated_ms: int
    deleted_ms: int | None
    preview: Preview
    preview_ms: int
    extracted: bool = True
    preview_misses: int = 0
    tags: set[str] = field(default_factory=set)
    xmp: tuple[str, ...] | None = None
    edits: tuple[Edit, ...] = ()
    rendered: tuple[Edit, ...] = ()
    unwritable: bool = False
    jobs: int = 0
    torn: bool = False
    coming_back: set[str] = field(default_factory=set)
    returning: set[str] = field(default_factory=set)
    came_back: set[str] = field(default_factory=set)
    albums: set[str] = field(default_factory=set)
    people: set[str] = field(default_factory=set)
    favorite: bool = False

    @property
    def id(self) -> str:
        return self.spec.id

    @property
    def looks(self) -> Media:
        """The picture as the user sees it."""
        return edited(self.spec.media, self.rendered)

    @property
    def read_only(self) -> bool:
        """Whether Immich cannot write the .xmp."""
        return self.unwritable or self.spec.read_only

    @property
    def file_created_ms(self) -> int:
        return self.spec.file_created_ms


@dataclass(slots=True, eq=False)
class Tag:
    """A tag of one user, the `owner`.

    `in_closure` is False for one made by `POST /tags`: searches do not find it before a job has run.
    """

    id: str
    value: str
    created_ms: int
    updated_ms: int
    parent: "Tag | None" = None
    owner: str = ME
    in_closure: bool = True
    children: set[str] = field(default_factory=set)
    assets: set[Row] = field(default_factory=set)

    @property
    def name(self) -> str:
        return self.value.rpartition("/")[2]


@dataclass(slots=True)
class Versions:
    """Counters: `shape` of the library, `links`, and the `updated` times."""

    shape: int = 0
    links: int = 0
    updated: int = 0


class Store:
    """All state of one server. Ids and values are looked up in dicts; the order of the library is kept sorted.

    `skew_s`: how far the database's clock is ahead of `clock` (law 12).
    """

    def __init__(self, library: Library, clock: Clock) -> None:
        self._clock = clock
        self.skew_s = 0.0
        self._random = random.Random(library.seed + 1)
        self.versions = Versions()
        self.rows: dict[str, Row] = {spec.id: _row(spec) for spec in library.assets}
        self.tags: dict[str, Tag] = {}
        self._tags_of: defaultdict[str, dict[str, Tag]] = defaultdict(dict)
        self._shown_to: defaultdict[str, frozenset[str]] = defaultdict(frozenset, {ME: frozenset({PARTNER})})
        self._albums: defaultdict[str, dict[str, str]] = defaultdict(dict)
        self._people: defaultdict[str, dict[str, str]] = defaultdict(dict)
        for row in self.rows.values():
            self._gather(row)
        self._newest_first = sorted(self.rows.values(), key=_newest_first)

    def _gather(self, row: Row) -> None:
        """Put a new asset into the albums, and among the people, that its specification names."""
        owner = row.spec.owner_id
        row.albums = {self.album(name, owner) for name in row.spec.albums}
        row.people = {
            self._people[owner].setdefault(name, id_of_name("person", owner, name)) for name in row.spec.people
        }

    def album(self, name: str, owner: str = ME) -> str:
        """The id of an owner's album, which is made where it is new."""
        return self._albums[owner].setdefault(name, id_of_name("album", owner, name))

    def albums_of(self, user: str) -> dict[str, str]:
        """Ids of a user's albums by name."""
        return self._albums[user]

    def people_of(self, user: str) -> dict[str, str]:
        """Ids of a user's people by name."""
        return self._people[user]

    def now_ms(self) -> int:
        """The database's time, which `createdAt` and `updatedAt` are made of."""
        return int((self._clock() + self.skew_s) * 1000)

    def new_id(self) -> str:
        return uuid4_from(self._random)

    def newest_first(self) -> list[Row]:
        """Every row, newest fileCreatedAt first, ties by id."""
        return self._newest_first

    def some(self, rows: list[Row], count: int) -> list[Row]:
        """At most `count` of the rows, drawn at random."""
        return self._random.sample(rows, min(count, len(rows)))

    # Assets

    def add(self, spec: AssetSpec) -> Row:
        row = _row(spec)
        self._gather(row)
        self.rows[spec.id] = row
        insort(self._newest_first, row, key=_newest_first)
        self.versions.shape += 1
        return row

    def remove(self, row: Row) -> None:
        """Delete for good, links included."""
        self.unlink(row, list(row.tags))
        del self.rows[row.id]
        self._newest_first.remove(row)
        self.versions.shape += 1

    def replace_all(self, rows: Iterable[Row], tags: Iterable[Tag], links: Mapping[str, Iterable[str]]) -> None:
        """Hold these rows and tags (without links of their own), and `links` (tag ids by asset id)."""
        self.rows = {row.id: row for row in rows}
        self._newest_first = sorted(self.rows.values(), key=_newest_first)
        self.tags = {tag.id: tag for tag in tags}
        self._tags_of.clear()
        for tag in self.tags.values():
            self._tags_of[tag.owner][tag.value] = tag
            if tag.parent is not None:
                tag.parent = self.tags[tag.parent.id]
                tag.parent.children.add(tag.id)
        for asset_id, tag_ids in links.items():
            self.link(self.rows[asset_id], tag_ids)
        self.versions.links += 1
        self.versions.updated += 1
        self.versions.shape += 1

    def touch(self, row: Row) -> None:
        """Move `updatedAt`, as every write to the asset's own record does (a link is not one)."""
        now_ms = self.now_ms()
        same_instant = abs(now_ms - row.updated_ms) < _INSTANT_MS
        row.updated_ms = max(now_ms, row.updated_ms + 1) if same_instant else now_ms
        self.versions.updated += 1

    def reshape(self, row: Row) -> None:
        """Say that visibility, trash or the like changed."""
        self.versions.shape += 1
        self.touch(row)

    def share(self, owner: str, viewer: str) -> None:
        """Make `owner` a partner who shares the timeline with `viewer`."""
        self._shown_to[viewer] |= {owner}
        self.versions.shape += 1

    def owners_seen_by(self, user: str) -> frozenset[str]:
        """The user and the partners who share their timelines with them."""
        return self._shown_to[user] | {user}

    def readable(self, asset_id: str, user: str) -> Row | None:
        """The row that `asset.read`, `asset.view` and `asset.download` reach: the user's and a partner's, not
        locked."""
        row = self.rows.get(asset_id)
        if row is None or row.visibility == "locked":
            return None
        if row.spec.owner_id == user:
            return row
        shared = (
            row.spec.owner_id in self._shown_to[user] and row.visibility == "timeline" and row.deleted_ms is None
        )
        return row if shared else None

    def writable(self, asset_ids: Iterable[str], user: str) -> list[Row]:
        """Those of the ids that `asset.update` reaches (the user's, not locked), each once, without the rest."""
        found = (self.rows.get(asset_id) for asset_id in dict.fromkeys(asset_ids))
        return [row for row in found if row and row.spec.owner_id == user and row.visibility != "locked"]

    # Tags

    @property
    def tags_by_value(self) -> dict[str, Tag]:
        """The tags of the owner of the first key."""
        return self.tags_of(ME)

    def tags_of(self, user: str) -> dict[str, Tag]:
        """A user's tags by value: two users' tags of one value are two tags."""
        return self._tags_of[user]

    def tag_of(self, user: str, tag_id: str) -> Tag | None:
        """The tag, if it is the user's."""
        tag = self.tags.get(tag_id)
        return tag if tag is not None and tag.owner == user else None

    def upsert(self, values: Iterable[str], owner: str = ME) -> list[Tag]:
        """The owner's leaf tag of each distinct value, parents made on the way (law 6); none for mere slashes."""
        leaves = (self._upsert_path(value, owner) for value in dict.fromkeys(values))
        return [leaf for leaf in leaves if leaf is not None]

    def create(self, value: str, parent: Tag | None, owner: str) -> Tag:
        tag = self._new_tag(value, parent, owner)
        tag.in_closure = False
        return tag

    def delete_tag(self, tag: Tag) -> None:
        """Delete a tag, its descendants and their links. Starts no job: the .xmp files keep the names (law 8)."""
        for child in [self.tags[child_id] for child_id in tag.children]:
            self.delete_tag(child)
        for row in tag.assets:
            row.tags.discard(tag.id)
        if tag.parent is not None:
            tag.parent.children.discard(tag.id)
        del self.tags[tag.id]
        del self._tags_of[tag.owner][tag.value]
        self.versions.links += 1

    def delete_empty_tags(self) -> int:
        """Immich's nightly clean-up: tags that neither themselves nor below hold an asset. Answers how many."""
        held = {tag.id for tag in self.tags.values() if any(each.assets for each in self.descendants(tag))}
        empty = [tag for tag in self.tags.values() if tag.id not in held]
        for tag in empty:
            if tag.id in self.tags:
                self.delete_tag(tag)
        return len(empty)

    def descendants(self, tag: Tag) -> Iterator[Tag]:
        """The tags whose links count as links of this one, itself included."""
        if tag.in_closure:
            yield tag
        for child_id in tag.children:
            yield from self.descendants(self.tags[child_id])

    def holders(self, tag_id: str) -> set[Row]:
        """Rows linked to the tag or below it; empty for an unknown one."""
        tag = self.tags.get(tag_id)
        return set().union(*(each.assets for each in self.descendants(tag))) if tag else set()

    # Links

    def link(self, row: Row, tag_ids: Iterable[str]) -> int:
        """Insert links; answers how many are new. Never touches `updatedAt`."""
        new = [self.tags[tag_id] for tag_id in tag_ids if tag_id not in row.tags]
        for tag in new:
            row.tags.add(tag.id)
            tag.assets.add(row)
        self.versions.links += bool(new)
        return len(new)

    def unlink(self, row: Row, tag_ids: Iterable[str]) -> None:
        for tag_id in tag_ids:
            row.tags.discard(tag_id)
            self.tags[tag_id].assets.discard(row)
        self.versions.links += 1

    def values(self, row: Row) -> list[str]:
        """The values of the asset's tags, in the order of the tag list."""
        return [tag.value for tag in self.tags_on(row)]

    def tags_on(self, row: Row) -> list[Tag]:
        """The asset's tags, in the order of the tag list."""
        return sorted((self.tags[tag_id] for tag_id in row.tags), key=lambda tag: tag.value)

    def _upsert_path(self, value: str, owner: str) -> Tag | None:
        tag: Tag | None = None
        for part in filter(None, value.split("/")):
            path = f"{tag.value}/{part}" if tag else part
            tag = self._upsert_one(path, tag, owner)
        return tag

    def _upsert_one(self, value: str, parent: Tag | None, owner: str) -> Tag:
        known = self._tags_of[owner].get(value)
        if known is None:
            return self._new_tag(value, parent, owner)
        known.updated_ms = self.now_ms()
        if not known.in_closure:
            known.in_closure = True
            self.versions.links += 1
        return known

    def _new_tag(self, value: str, parent: Tag | None, owner: str) -> Tag:
        now_ms = self.now_ms()
        tag = Tag(self.new_id(), value, now_ms, now_ms, parent, owner)
        if parent is not None:
            parent.children.add(tag.id)
        self.tags[tag.id] = self._tags_of[owner][value] = tag
        return tag


def _row(spec: AssetSpec) -> Row:
    return Row(
        spec=spec,
        visibility=spec.visibility,
        updated_ms=spec.created_ms + 60_000,
        deleted_ms=spec.created_ms + 90_000 if spec.trashed else None,
        preview=spec.preview,
        preview_ms=spec.created_ms + 30_000,
        favorite=spec.favorite,
    )


def _newest_first(row: Row) -> tuple[int, str]:
    return -row.spec.file_created_ms, row.spec.id
