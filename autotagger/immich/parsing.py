"""Immich's JSON into our types: unknown fields are ignored, wrong ones are named, hostile ones get nowhere."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import orjson

from autotagger.immich.types import Asset, Kind, Named, Page, ServerVersion, Tag, TaggedAsset

#: Immich's own pattern of an id: UUID version 4. One id of another form and a whole call is refused with a 400.
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", re.ASCII)
_KINDS: dict[str, Kind] = {"IMAGE": "IMAGE", "VIDEO": "VIDEO"}
_DURATION = re.compile(r"(\d{1,4}):(\d{1,2}):(\d{1,2}(?:\.\d+)?)", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MESSAGE_CHARACTERS = 300
#: Later times (2200), and those before 1970, come from a broken clock, or from somebody who tries us.
_LATEST_MS = int(datetime(2200, 1, 1, tzinfo=UTC).timestamp() * 1000)


class BadAnswer(ValueError):
    """An answer that is not what the call promises; the message says what is wrong with it."""


def checked_id(raw: object) -> str:
    """`raw` as an id that Immich accepts, in lower case. Raises BadAnswer for anything else."""
    if isinstance(raw, str) and _ID.fullmatch(lowered := raw.lower()):
        return lowered
    raise BadAnswer(f"{_shown(raw)} is not an id (UUID version 4)")


def decode(body: bytes) -> Any:
    """The JSON in `body`. Raises BadAnswer, telling HTML from other things that are not JSON."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        page = body.lstrip()[:1] == b"<"
        raise BadAnswer("a web page instead of JSON" if page else "no valid JSON") from None


def problem(body: bytes) -> str:
    """What an error answer says: `message` (a string or a list of them) and the details in `errors`.

    Empty when the body is not one of Immich's (a proxy's page). One line, bounded: it ends up in messages.
    """
    try:
        raw = decode(body)
    except BadAnswer:
        return ""
    if not isinstance(raw, dict):
        return ""
    message = raw.get("message")
    said = [part for part in (message if isinstance(message, list) else [message]) if isinstance(part, str)]
    errors = raw.get("errors")
    said += [_detail(error) for error in (errors if isinstance(errors, list) else [])]
    line = " ".join(": ".join(filter(None, (said[0], "; ".join(filter(None, said[1:]))))).split()) if said else ""
    return line[:_MESSAGE_CHARACTERS]


def version(raw: Any) -> ServerVersion:
    """Of `GET /server/version`."""
    numbers = [_whole(_mapping(raw), name) for name in ("major", "minor", "patch")]
    return ServerVersion(*numbers)


def permissions(raw: Any) -> frozenset[str]:
    """Of `GET /api-keys/me`."""
    return frozenset(name for name in _list(_mapping(raw).get("permissions")) if isinstance(name, str))


def user_id(raw: Any) -> str:
    """Of `GET /users/me`."""
    return _text(_mapping(raw), "id").lower()


def tags_enabled(raw: Any) -> bool | None:
    """Of `GET /users/me/preferences`; None where it does not say."""
    enabled = _mapping(_mapping(raw).get("tags")).get("enabled")
    return enabled if isinstance(enabled, bool) else None


def total(raw: Any) -> int:
    """Of `POST /search/statistics`."""
    return _whole(_mapping(raw), "total")


def count(raw: Any) -> int:
    """Of `PUT /tags/assets`."""
    return _whole(_mapping(raw), "count")


def outcomes(raw: Any) -> dict[str, str]:
    """Of `DELETE /tags/{id}/assets`: by id `success`, or what the error is called."""
    items = [_mapping(item) for item in _list(raw)]
    return {
        str(item.get("id")): "success" if item.get("success") is True else str(item.get("error") or "unknown")
        for item in items
    }


def queued(raw: Any) -> int:
    """Of `GET /queues` (3.x): jobs that wait or run in the queues that tagging fills."""
    queues = [_mapping(item) for item in _list(raw)]
    return sum(_in_queue(queue.get("statistics")) for queue in queues if queue.get("name") in _TAGGING_QUEUES)


def queued_by_name(raw: Any) -> int:
    """Of `GET /jobs` (2.7): the same."""
    queues = _mapping(raw)
    return sum(_in_queue(_mapping(queues.get(name)).get("jobCounts")) for name in _TAGGING_QUEUES)


#: Queues that a tag call fills.
_TAGGING_QUEUES = ("sidecar", "metadataExtraction")


def _in_queue(raw: Any) -> int:
    counts = _mapping(raw)
    return sum(_whole(counts, name) for name in ("active", "waiting", "delayed", "paused") if name in counts)


def page(raw: Any) -> Page:
    """Of `POST /search/metadata`. An item that makes no sense is left out and counted, a repeated one left out."""
    answer = _mapping(_mapping(raw).get("assets"))
    found, unreadable = _readable(answer.get("items"))
    return Page(found, _next_page(answer), _next_cursor(answer), unreadable)


def assets(raw: Any) -> tuple[Asset, ...]:
    """Of `POST /search/random`: a bare list. An item that makes no sense is left out."""
    return _readable(raw)[0]


def _readable(items: Any) -> tuple[tuple[Asset, ...], int]:
    """The assets, each once, and how many items made no sense."""
    found: dict[str, Asset] = {}
    unreadable = 0
    for item in _list(items):
        try:
            one = asset(item)
        except BadAnswer:
            unreadable += 1
        else:
            found.setdefault(one.id, one)
    return tuple(found.values()), unreadable


def asset(raw: Any) -> Asset:
    """One search item, or `GET /assets/{id}`. Raises BadAnswer when what we decide by is missing or wrong."""
    item = _mapping(raw)
    kind = _KINDS.get(_text(item, "type"))
    if kind is None:
        raise BadAnswer(f"type {_shown(item['type'])} is neither image nor video")
    return Asset(
        id=checked_id(item.get("id")),
        owner_id=_text(item, "ownerId").lower(),
        library_id=_text_or_none(item, "libraryId"),
        kind=kind,
        visibility=_text(item, "visibility"),
        mime=_text_or_none(item, "originalMimeType"),
        checksum=_text_or_none(item, "checksum") or "",
        thumbhash=_text_or_none(item, "thumbhash"),
        file_name=_text_or_none(item, "originalFileName") or "",
        updated_ms=_time_ms(item, "updatedAt"),
        trashed=item.get("isTrashed") is True,
        created_ms=_time_ms(item, "createdAt"),
        duration_ms=duration_ms(item.get("duration")),
        path=_text_or_none(item, "originalPath"),
        taken_ms=_taken_ms(item),
        favorite=item.get("isFavorite") is True,
        make=_make(item.get("exifInfo")),
    )


def _taken_ms(item: Mapping[str, Any]) -> int | None:
    """None where there is no time, or nonsense: old photographs may be older than 1970."""
    try:
        return iso_ms(_text(item, "localDateTime"))
    except BadAnswer:
        return None


def _make(exif: object) -> str | None:
    """The camera's make, None without: scans and drawings have metadata too."""
    make = exif.get("make") if isinstance(exif, dict) else None
    return make.strip() or None if isinstance(make, str) else None


def named(raw: Any, name: str) -> list[Named]:
    """Of `GET /albums`, `/people` and `/libraries`; `name`: where the name stands. Raises BadAnswer for an entry
    that cannot be read: an album overlooked would count as unknown."""
    items = [_mapping(item) for item in _list(raw)]
    return [Named(checked_id(item.get("id")), _text(item, name)) for item in items]


def people(raw: Any) -> tuple[list[Named], bool]:
    """Of a page of `GET /people`, and whether there is another."""
    answer = _mapping(raw)
    return named(answer.get("people"), "name"), answer.get("hasNextPage") is True


def tagged_asset(raw: Any) -> TaggedAsset:
    """Of `GET /assets/{id}`. Every tag must be readable: a tag overlooked would count as lost."""
    return TaggedAsset(asset(raw), frozenset(_text(_mapping(tag), "value") for tag in _list(raw.get("tags"))))


def tags(raw: Any) -> list[Tag]:
    """Of `GET /tags` and `PUT /tags`; entries without a usable id or value are left out."""
    found = []
    for item in _list(raw):
        try:
            found.append(Tag(checked_id(_mapping(item).get("id")), _text(item, "value"), _written_ms(item)))
        except BadAnswer:
            continue
    return found


def _written_ms(item: Any) -> int:
    """`updatedAt` of a tag, 0 without, or beyond sense: only the writer's clock needs it, and it tells."""
    try:
        return _time_ms(item, "updatedAt")
    except BadAnswer:
        return 0


def duration_ms(raw: object) -> int | None:
    """`duration` of an asset: milliseconds from 3.0 on, `0:01:02.50000` before. None for nothing, 0, or nonsense:
    it only decides whether there are frames to look for."""
    if isinstance(raw, int) and not isinstance(raw, bool):
        return raw if raw > 0 else None
    found = _DURATION.fullmatch(raw) if isinstance(raw, str) else None
    if found is None:
        return None
    hours, minutes, seconds = found.groups()
    return round((int(hours) * 3600 + int(minutes) * 60 + float(seconds)) * 1000) or None


def iso_ms(text: str) -> int:
    """`2026-11-22T15:24:58.587Z` or `2026-11-22T14:41:16.34834+00:00` as epoch milliseconds, rounded down.

    Raises BadAnswer for what is no time.
    """
    try:
        return _ms(datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        raise BadAnswer(f"{_shown(text)} is not a time") from None


def ms_iso(moment_ms: int) -> str:
    """Epoch milliseconds the way Immich's validation wants them: `2026-11-22T15:24:58.587Z`."""
    moment = _EPOCH + timedelta(milliseconds=moment_ms)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def http_date_ms(text: str | None) -> int | None:
    """A `Date` header as epoch milliseconds (whole seconds); None without one, and for nonsense."""
    try:
        moment_ms = _ms(parsedate_to_datetime(text or ""))
    except (ValueError, TypeError, OverflowError):
        return None
    return moment_ms if _makes_sense(moment_ms) else None


def _time_ms(item: Mapping[str, Any], name: str) -> int:
    """A time in an asset that must make sense: it is reckoned with."""
    moment_ms = iso_ms(_text(item, name))
    if not _makes_sense(moment_ms):
        raise BadAnswer(f"{name} {_shown(item[name])} is out of range")
    return moment_ms


def _makes_sense(moment_ms: int) -> bool:
    return 0 <= moment_ms < _LATEST_MS


def _ms(moment: datetime) -> int:
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def _next_page(answer: Mapping[str, Any]) -> int | None:
    """Comes back as a string (`"2"`) where it must be sent as a number."""
    raw = answer.get("nextPage")
    if raw is None:
        return None
    if isinstance(raw, str) and raw.isascii() and raw.isdigit():
        raw = int(raw[:9])
    if isinstance(raw, int) and not isinstance(raw, bool) and raw >= 1:
        return raw
    raise BadAnswer(f"nextPage {_shown(raw)} is not a page number")


def _next_cursor(answer: Mapping[str, Any]) -> str | None:
    return _text_or_none(answer, "nextCursor") or None


def _detail(error: object) -> str:
    if not isinstance(error, dict) or not isinstance(error.get("message"), str):
        return ""
    path = error.get("path")
    where = ".".join(str(step) for step in path) if isinstance(path, list) else ""
    return f"{where}: {error['message']}" if where else str(error["message"])


def _mapping(raw: object) -> Mapping[str, Any]:
    if isinstance(raw, dict):
        return raw
    raise BadAnswer(f"{_shown(raw)} where an object was expected")


def _list(raw: object) -> list[Any]:
    if isinstance(raw, list):
        return raw
    raise BadAnswer(f"{_shown(raw)} where a list was expected")


def _text(item: Mapping[str, Any], name: str) -> str:
    value = item.get(name)
    if isinstance(value, str):
        return value
    raise BadAnswer(f"{name} {_shown(value)} is not text")


def _text_or_none(item: Mapping[str, Any], name: str) -> str | None:
    value = item.get(name)
    return value if isinstance(value, str) else None


def _whole(item: Mapping[str, Any], name: str) -> int:
    value = item.get(name)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise BadAnswer(f"{name} {_shown(value)} is not a whole number")


def _shown(raw: object) -> str:
    text = repr(raw)
    return text if len(text) <= 60 else text[:57] + "..."
