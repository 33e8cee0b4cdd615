"""Search bodies into queries: the flat fields of every dialect but 4, and the `filter` of 3.2 and 4.

Fields that the stand-in's pictures never have (cities, ratings) are checked and then match
nothing, or everything where they ask for absence. Unknown flat fields are ignored, as on real servers (law 4).
"""

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from autotagger.demo.search import Query, TagTest, Test, query_key
from autotagger.demo.store import Row
from autotagger.demo.validation import Checker, Path
from autotagger.demo.wire import ApiError, Dialect, Json

TYPES = ("IMAGE", "VIDEO", "AUDIO", "OTHER")
VISIBILITIES = ("archive", "timeline", "hidden", "locked")
MAX_SIZE = 1000
DEFAULT_SIZE = 250

_TIMES: dict[str, Callable[[Row], int | None]] = {
    "created": lambda row: row.spec.created_ms,
    "updated": lambda row: row.updated_ms,
    "trashed": lambda row: row.deleted_ms,
    "taken": lambda row: row.spec.file_created_ms,
}
_FLAGS: dict[str, Test] = {
    "isFavorite": lambda row: row.favorite,
    "isOffline": lambda _row: False,
    "isEncoded": lambda row: row.spec.media.kind == "VIDEO",
    "isMotion": lambda row: row.spec.motion_video_id is not None,
}
_PLACES = ("city", "state", "country", "make", "model", "lensModel")
_SEARCHED_TEXTS: dict[str, Callable[[Row], str]] = {
    "originalFileName": lambda row: row.spec.file_name,
    "originalPath": lambda row: row.spec.original_path,
    "description": lambda _row: "",
}
_FILTER_VALUES: dict[str, Callable[[Row], Any]] = {
    "id": lambda row: row.id,
    "libraryId": lambda row: row.spec.library_id,
    "type": lambda row: row.spec.media.kind,
    "visibility": lambda row: row.visibility,
    "takenAt": _TIMES["taken"],
    "createdAt": _TIMES["created"],
    "updatedAt": _TIMES["updated"],
    "trashedAt": _TIMES["trashed"],
    "checksum": lambda row: base64.b64encode(row.spec.checksum).decode(),
    "rating": lambda _row: None,
    "fileSizeInBytes": lambda _row: None,
    "encodedVideoPath": lambda _row: None,
    **_SEARCHED_TEXTS,
    **_FLAGS,
    **dict.fromkeys(_PLACES, lambda _row: None),
    "make": lambda row: row.spec.make,
    "hasTags": lambda row: bool(row.tags),
    "hasAlbums": lambda row: bool(row.albums),
    "hasPeople": lambda row: bool(row.people),
}
_MEMBERS: dict[str, Callable[[Row], set[str]]] = {
    "albumIds": lambda row: row.albums,
    "personIds": lambda row: row.people,
}
_ID_LISTS = ("tagIds", "personIds", "albumIds")
_FILTER_KEYS = (*_FILTER_VALUES, *_ID_LISTS, "ocr")
_PAGING_WITH_FILTER = ("size", "cursor", "filter", "order", "withExif", "withPeople", "withStacked")
_FLAT_KEYS = (
    *(
        "libraryId",
        "type",
        "visibility",
        "tagIds",
        "personIds",
        "albumIds",
        "id",
        "checksum",
        "page",
        "withDeleted",
    ),
    *(f"{time}{end}" for time in _TIMES for end in ("Before", "After")),
    *(*_FLAGS, *_PLACES, *_SEARCHED_TEXTS, "rating", "isNotInAlbum", "ocr"),
)


class Asked:
    """One search body, checked: the `query`, and the page of it that is wanted.

    `owners`: ids of the users whose assets the one who asks can see.
    """

    def __init__(self, body: Json, dialect: Dialect, owners: frozenset[str]) -> None:
        """Raises ApiError: 400 for what Immich refuses, 401 for the locked folder."""
        self._check = Checker(dialect)
        if dialect is Dialect.V4:  # law 20: what is gone is ignored, like everything unknown (law 4)
            body = {name: value for name, value in body.items() if name in _PAGING_WITH_FILTER}
        self._body = body
        self._owners = owners
        self.by_filter = dialect is Dialect.V4 or (
            dialect is Dialect.V3_2 and ("filter" in body or "cursor" in body)
        )
        self.with_exif = bool(self._optional("withExif", self._check.boolean))
        self.size = self._number("size", MAX_SIZE) or DEFAULT_SIZE
        self.query = self._filtered() if self.by_filter else self._flat()
        page = 1 if self.by_filter else self._number("page", None) or 1
        self.offset = (page - 1) * self.size
        if self.by_filter and body.get("cursor") is not None:
            self.offset = self._cursor(body["cursor"])
        self._check.finish()
        if self.with_exif:
            self.query.tests.append(lambda row: row.extracted)
            self.query.reads_updated = True
        self.query.key = query_key(_without_paging(body), self.by_filter, sorted(owners))

    def next_page(self, dialect: Dialect, more: bool) -> dict[str, str | None]:
        """How the answer says where to go on: a page number as text, or 3.2's cursor (an encoded offset)."""
        after = self.offset + self.size
        page = str(after // self.size + 1) if more and not self.by_filter else None
        if not dialect.filters:
            return {"nextPage": page}
        cursor = base64.urlsafe_b64encode(orjson.dumps({"offset": after})).decode().rstrip("=")
        return {"nextPage": page, "nextCursor": cursor if more and self.by_filter else None}

    # The flat fields

    def _flat(self) -> Query:
        query = Query(tests=[_listed(self._owners)])
        order = self._optional("order", lambda value, path: self._check.choice(value, path, ("asc", "desc")))
        query.ascending = order == "asc"
        self._flat_choices(query)
        self._flat_ids(query)
        self._flat_times(query)
        self._flat_absences(query)
        return query

    def _flat_choices(self, query: Query) -> None:
        kind = self._optional("type", lambda value, path: self._check.choice(value, path, TYPES))
        if kind is not None:
            query.tests.append(lambda row: row.spec.media.kind == kind)
        visibility = self._optional(
            "visibility", lambda value, path: self._check.choice(value, path, VISIBILITIES)
        )
        _refuse_locked(visibility)
        if visibility is not None:
            query.tests.append(lambda row: row.visibility == visibility)
        for name, holds in _FLAGS.items():
            wanted = self._optional(name, self._check.boolean)
            if wanted is not None:
                query.tests.append(_where(holds, wanted))

    def _flat_ids(self, query: Query) -> None:
        if "tagIds" in self._body:
            self._flat_tags(query, self._body["tagIds"])
        for name in ("id", "libraryId"):
            wanted = self._optional(name, self._check.uuid)
            if wanted is not None:
                query.tests.append(_where(_FILTER_VALUES[name], wanted))

    def _flat_tags(self, query: Query, tag_ids: Any) -> None:
        if tag_ids is None:
            query.untagged = True
        elif wanted := self._check.uuids(tag_ids, ["tagIds"]):
            query.tags.append(TagTest("all", tuple(wanted)))

    def _flat_times(self, query: Query) -> None:
        deleted_too = (
            bool(self._optional("withDeleted", self._check.boolean)) or self._body.get("isOffline") is True
        )
        for name, of in _TIMES.items():
            earliest = self._optional(f"{name}After", self._check.time_ms)
            latest = self._optional(f"{name}Before", self._check.time_ms)
            if earliest is None and latest is None:
                continue
            query.tests.append(_between(of, earliest, latest))
            query.reads_updated |= name == "updated"
            deleted_too |= name == "trashed"
        if not deleted_too:
            query.tests.append(lambda row: row.deleted_ms is None)

    def _flat_absences(self, query: Query) -> None:
        """What no asset here has: wanting it finds nothing, wanting its absence (null) finds everything."""
        for name in _PLACES:
            if self._body.get(name) is not None:
                self._check.text(self._body[name], [name])
                query.tests.append(_where(_FILTER_VALUES[name], self._body[name]))
        if self._body.get("rating") is not None or self._body.get("ocr"):
            query.tests.append(lambda _row: False)
        for name, held in _MEMBERS.items():
            if wanted := self._optional(name, self._check.uuids):
                query.tests.append(_members(held, "all", wanted))
        for name, of in _SEARCHED_TEXTS.items():
            part = (self._optional(name, self._check.text) or "").strip().lower()
            if part:
                query.tests.append(_where(of, part, "like"))
        if checksum := self._optional("checksum", self._check.text):
            query.tests.append(
                lambda row: checksum in (row.spec.checksum.hex(), base64.b64encode(row.spec.checksum).decode())
            )

    # 3.2's filter

    def _filtered(self) -> Query:
        flat = [name for name in _FLAT_KEYS if name in self._body]
        if flat:
            self._check.custom(f"filter and cursor cannot be combined with: {', '.join(flat)}", [])
        if "cursor" in self._body and "filter" not in self._body:
            self._check.custom("cursor needs a filter", ["cursor"])
        query = self._branch(self._body.get("filter", {}), ["filter"], (*_FILTER_KEYS, "or"))
        query.tests.append(_listed(self._owners))
        query.ascending = self._direction() == "asc"
        branches = self._body["filter"].get("or") if isinstance(self._body.get("filter"), dict) else None
        if branches is not None:
            if not isinstance(branches, list) or not branches:
                self._check.custom("Too small: expected array to have >=1 items", ["filter", "or"])
                branches = []
            query.branches = [
                self._branch(branch, ["filter", "or", index], _FILTER_KEYS)
                for index, branch in enumerate(branches)
            ]
        return query

    def _direction(self) -> str | None:
        order = self._check.object(self._body.get("order", {}), ["order"], ("field", "direction"))
        if "direction" not in order:
            return None
        return self._check.choice(order["direction"], ["order", "direction"], ("asc", "desc"))

    def _branch(self, body: Any, path: Path, known: tuple[str, ...]) -> Query:
        query = Query()
        for name, condition in self._check.object(body, path, known).items():
            if name in _ID_LISTS:
                self._id_list(query, name, condition, [*path, name])
            elif name in _FILTER_VALUES:
                self._condition(query, name, condition, [*path, name])
            elif name == "ocr":
                query.tests.append(lambda _row: False)
        return query

    def _id_list(self, query: Query, name: str, condition: Any, path: Path) -> None:
        given = self._operators(condition, path, ("any", "all", "none"))
        for how, ids in given.items():
            wanted = self._check.uuids(ids, [*path, how])
            if not wanted:
                self._check.custom("Too small: expected array to have >=1 items", [*path, how])
            elif name == "tagIds":
                query.tags.append(TagTest(how, tuple(wanted)))
            else:
                query.tests.append(_members(_MEMBERS[name], how, wanted))

    def _condition(self, query: Query, name: str, condition: Any, path: Path) -> None:
        of = _FILTER_VALUES[name]
        query.reads_updated |= name == "updatedAt"
        if name == "hasTags":
            query.untagged = self._operators(condition, path, ("eq",)).get("eq") is False
            return
        for operator, operand in self._operators(condition, path, _operators_of(name)).items():
            value = self._operand(name, operand, [*path, operator])
            if name == "visibility":
                _refuse_locked(value)
            query.tests.append(_where(of, value, operator))

    def _operators(self, condition: Any, path: Path, known: tuple[str, ...]) -> Mapping[str, Any]:
        given = self._check.object(condition, path, known)
        if isinstance(condition, dict) and not given:
            self._check.custom(f"At least one of the following keys is required: {', '.join(known)}", path)
        return {name: value for name, value in given.items() if name in known}

    def _operand(self, name: str, value: Any, path: Path) -> Any:
        if isinstance(value, list):
            return [self._operand(name, item, [*path, index]) for index, item in enumerate(value)]
        if value is None:
            return None
        if name.endswith("At"):
            return self._check.time_ms(value, path)
        if name in ("id", "libraryId"):
            return self._check.uuid(value, path)
        if name in ("type", "visibility"):
            return self._check.choice(value, path, TYPES if name == "type" else VISIBILITIES)
        return self._check.boolean(value, path) if name in _FLAGS else value

    def _cursor(self, cursor: Any) -> int:
        try:
            return int(orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))["offset"])
        except (TypeError, ValueError, KeyError, binascii.Error):
            raise ApiError(400, "Invalid cursor") from None

    # Fields

    def _optional(self, name: str, check: Callable[[Any, Path], Any]) -> Any:
        """A checked field, or None where it is absent (or null, which the flat fields take for absent)."""
        value = self._body.get(name)
        return None if value is None else check(value, [name])

    def _number(self, name: str, most: int | None) -> int | None:
        found: int | None = self._optional(name, lambda value, path: self._check.integer(value, path, 1, most))
        return found


def _members(held: Callable[[Row], set[str]], how: str, ids: list[str]) -> Test:
    """Albums or people: all of them, any, or none."""
    wanted = set(ids)
    if how == "all":
        return lambda row: wanted <= held(row)
    return lambda row: held(row).isdisjoint(wanted) is (how == "none")


def _listed(owners: frozenset[str]) -> Test:
    """Of these users, and not locked: all that any search can see."""
    return lambda row: row.spec.owner_id in owners and row.visibility != "locked"


def _refuse_locked(visibility: Any) -> None:
    if visibility == "locked" or (isinstance(visibility, list) and "locked" in visibility):
        raise ApiError(401, "Elevated permission is required")


def _where(of: Callable[[Row], Any], value: Any, operator: str = "eq") -> Test:
    holds = _OPERATORS[operator]
    return lambda row: holds(of(row), value)


def _between(of: Callable[[Row], int | None], low: int | None, high: int | None) -> Test:
    """Both ends count as inside; NULL is nowhere."""

    def test(row: Row) -> bool:
        value = of(row)
        return value is not None and (low is None or value >= low) and (high is None or value <= high)

    return test


def _without_paging(body: Json) -> Json:
    return {name: value for name, value in body.items() if name not in ("page", "size", "cursor")}


def _operators_of(name: str) -> tuple[str, ...]:
    if name.endswith("At") or name in ("rating", "fileSizeInBytes"):
        return ("eq", "ne", "gt", "gte", "lt", "lte")
    if name in _FLAGS or name.startswith("has"):
        return ("eq",)
    if name in ("id", "libraryId"):
        return ("eq", "ne")
    if name in _SEARCHED_TEXTS:
        return ("eq", "ne", "in", "notIn", "like", "notLike", "startsWith", "endsWith")
    return ("eq", "ne", "in", "notIn")


_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    # A comparison with NULL is never true in SQL, except the explicit null of eq and ne.
    "eq": lambda have, want: have == want,
    "ne": lambda have, want: have is not None if want is None else have is not None and have != want,
    "gt": lambda have, want: have is not None and have > want,
    "gte": lambda have, want: have is not None and have >= want,
    "lt": lambda have, want: have is not None and have < want,
    "lte": lambda have, want: have is not None and have <= want,
    "in": lambda have, want: have is not None and have in want,
    "notIn": lambda have, want: have is not None and have not in want,
    "like": lambda have, want: want.lower() in have.lower(),
    "notLike": lambda have, want: want.lower() not in have.lower(),
    "startsWith": lambda have, want: have.lower().startswith(want.lower()),
    "endsWith": lambda have, want: have.lower().endswith(want.lower()),
}
