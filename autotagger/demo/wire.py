"""How answers look on the wire, in the four dialects: error bodies, and the JSON of assets, tags and tickets.

Shapes follow recorded exchanges with real servers 2.7.5 and 3.0.3; 3.2 is taken to answer like 3.0 where nothing
else is known.
"""

import base64
import hashlib
import random
import string
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import Enum
from typing import Any

import orjson
from aiohttp import web

from autotagger.demo.library import ME, PARTNER, Preview
from autotagger.demo.store import Row, Store, Tag

Json = dict[str, Any]

COMPRESS_FROM_BYTES = 1024
STATUS_TEXT = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    500: "Internal Server Error",
}
USERS = {ME: ("admin@test.local", "Admin", "red"), PARTNER: ("partner@test.local", "Partner", "blue")}
USER_SINCE = "2025-12-31T12:00:00.352Z"


class Dialect(Enum):
    """The kinds of Immich that autotagger works with; the value is the version that the stand-in reports.

    `V4` does not exist yet: 3.2 without all that 3.2 deprecates (law 20).
    """

    V2_7 = (2, 7, 5)
    V3_0 = (3, 0, 3)
    V3_2 = (3, 2, 0)
    V4 = (4, 0, 0)

    @property
    def label(self) -> str:
        """`2.7`, `3.0`, `3.2` or `4`."""
        major, minor, _ = self.value
        return "4" if self is Dialect.V4 else f"{major}.{minor}"

    @property
    def filters(self) -> bool:
        """Whether searches know `filter` and `cursor`."""
        return self in (Dialect.V3_2, Dialect.V4)

    @classmethod
    def named(cls, name: str) -> "Dialect":
        """`2.7`, `3.0`, `3.2` or `4`. Raises ValueError for anything else."""
        for dialect in cls:
            if name == dialect.label:
                return dialect
        raise ValueError(f"no such dialect: {name!r} (2.7, 3.0, 3.2 or 4)")


class ApiError(Exception):
    """A refusal. `problems`: the validation messages of 2.7 (texts) or the error objects of 3.x."""

    def __init__(
        self, status: int, message: str, *, problems: list[Any] | None = None, parser: bool = False
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.problems = problems
        self.parser = parser
        """True when the body's parser refused, before Immich's own error filter gives the request a number."""


def error_response(error: ApiError, dialect: Dialect) -> web.Response:
    """The refusal as the dialect words it; 2.7 adds a number of the request, unless the body's parser refused."""
    if dialect is not Dialect.V2_7:
        body: Json = {"message": error.message}
        if error.problems is not None:
            body["errors"] = error.problems
        return json_response(body, status=error.status)
    body = {
        "message": error.message if error.problems is None else error.problems,
        "error": STATUS_TEXT[error.status],
        "statusCode": error.status,
    }
    if not error.parser:
        body["correlationId"] = "".join(random.choices(string.ascii_lowercase + string.digits, k=8))
    return json_response(body, status=error.status)


def json_response(body: object, *, status: int = 200, request: web.Request | None = None) -> web.Response:
    """A JSON answer with Express's headers; a conditional `request` may get a 304, a large body is compressed."""
    raw = orjson.dumps(body)
    etag = f'"{len(raw):x}-{_digest(raw)}"'
    if request is not None and request.method == "GET" and request.headers.get("If-None-Match") == etag:
        return web.Response(status=304, headers={"ETag": etag})
    response = web.Response(
        body=raw,
        status=status,
        headers={"Content-Type": "application/json; charset=utf-8", "ETag": etag},
        zlib_executor_size=COMPRESS_FROM_BYTES,
    )
    if len(raw) >= COMPRESS_FROM_BYTES:
        response.enable_compression()
    return response


def iso(epoch_ms: int) -> str:
    """`2026-11-22T15:01:00.598Z`"""
    return datetime.fromtimestamp(epoch_ms / 1000, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def _row_time(epoch_ms: int) -> str:
    """PostgreSQL's own form, which nested objects keep: `2026-11-22T15:50:12.519+00:00`."""
    return datetime.fromtimestamp(epoch_ms / 1000, UTC).isoformat(timespec="milliseconds")


def tag_json(tag: Tag, *, nested: bool = False) -> Json:
    """A tag; `nested` inside an asset, where times have another form."""
    time = _row_time if nested else iso
    body: Json = {"id": tag.id}
    if tag.parent is not None:
        body["parentId"] = tag.parent.id
    return body | {
        "name": tag.name,
        "value": tag.value,
        "createdAt": time(tag.created_ms),
        "updatedAt": time(tag.updated_ms),
    }


def asset_json(row: Row, dialect: Dialect, *, with_exif: bool = False) -> Json:
    """An asset as one item of a search."""
    spec, media, old = row.spec, row.looks, dialect is Dialect.V2_7
    seen = row.extracted and media.width > 0
    body: Json = {"id": spec.id, "createdAt": iso(spec.created_ms)}
    if old:
        body["deviceAssetId"] = spec.file_name
    body["ownerId"] = spec.owner_id
    if old:
        body["deviceId"] = "demo" if spec.library_id is None else "Library Import"
    body |= {
        "libraryId": spec.library_id,
        "type": media.kind,
        "originalPath": spec.original_path,
        "originalFileName": spec.file_name,
        "originalMimeType": media.mime,
        "thumbhash": thumbhash(row),
        "fileCreatedAt": iso(spec.file_created_ms),
        "fileModifiedAt": iso(spec.file_created_ms),
        "localDateTime": iso(spec.file_created_ms),
        "updatedAt": iso(row.updated_ms),
        "isFavorite": row.favorite,
        "isArchived": row.visibility == "archive",
        "isTrashed": row.deleted_ms is not None,
        "visibility": row.visibility,
        "duration": _duration(media.duration_ms if row.extracted else None, dialect),
    }
    if with_exif:
        body["exifInfo"] = _exif(row)
    return body | {
        "livePhotoVideoId": spec.motion_video_id,
        "people": [],
        "checksum": base64.b64encode(spec.checksum).decode(),
        "isOffline": False,
        "hasMetadata": True,
        "duplicateId": None,
        "resized": True,
        "width": media.width if seen else None,
        "height": media.height if seen else None,
        "isEdited": bool(row.edits),
    }


def full_asset_json(row: Row, store: Store, dialect: Dialect) -> Json:
    """An asset as `GET /assets/{id}` tells it: the only place where its tags can be read."""
    email, name, colour = USERS[row.spec.owner_id]
    body = asset_json(row, dialect, with_exif=True)
    body["owner"] = {
        "id": row.spec.owner_id,
        "email": email,
        "name": name,
        "profileImagePath": "",
        "avatarColor": colour,
        "profileChangedAt": USER_SINCE.replace("Z", "+00:00"),
    }
    body["tags"] = [tag_json(tag, nested=True) for tag in store.tags_on(row)]
    body["stack"] = None
    if dialect is Dialect.V2_7:
        body["unassignedFaces"] = []
    return body


def search_json(
    rows: list[Row], dialect: Dialect, *, with_exif: bool, next_page: Mapping[str, str | None]
) -> Json:
    """A page of a search: `total` is the number of its own items, as in Immich, and albums are never found."""
    items = [asset_json(row, dialect, with_exif=with_exif) for row in rows]
    nothing: Json = {"total": 0, "count": 0, "items": [], "facets": []}
    return {
        "albums": nothing,
        "assets": {"total": len(items), "count": len(items), "items": items, "facets": [], **next_page},
    }


def thumbhash(row: Row) -> str | None:
    """Some 20 stable bytes for a picture's looks, edits included (law 19); None until the preview was made."""
    if row.preview in (Preview.LATER, Preview.NEVER):
        return None
    return base64.b64encode(hashlib.blake2b(row.looks.key.encode(), digest_size=21).digest()).decode()


def _duration(duration_ms: int | None, dialect: Dialect) -> str | int | None:
    if dialect is not Dialect.V2_7:
        return duration_ms
    if duration_ms is None:
        return "0:00:00.00000"
    seconds, milliseconds = divmod(duration_ms, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{milliseconds:03}"


def _exif(row: Row) -> Json:
    unknown = (
        "make model orientation timeZone lensModel fNumber focalLength iso exposureTime latitude longitude city "
        "state country projectionType rating fileSizeInByte"
    )
    taken = datetime.fromtimestamp(row.spec.file_created_ms / 1000, UTC).isoformat()
    return dict.fromkeys(unknown.split()) | {
        "exifImageWidth": row.spec.media.width or None,
        "exifImageHeight": row.spec.media.height or None,
        "dateTimeOriginal": taken,
        "modifyDate": taken,
        "description": "",
        "make": row.spec.make,
    }


def _digest(raw: bytes) -> str:
    return base64.b64encode(hashlib.sha1(raw, usedforsecurity=False).digest()).decode().rstrip("=")
