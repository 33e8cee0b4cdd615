"""Previews, thumbnails and originals, with the headers and conditions of the real file answers."""

import re
from email.utils import formatdate

from aiohttp import web

from autotagger.demo import previews
from autotagger.demo.gate import Route, Visit
from autotagger.demo.library import Media, Preview
from autotagger.demo.store import Row
from autotagger.demo.validation import MISSING, Checker
from autotagger.demo.wire import ApiError
from autotagger.demo.world import World

SIZES = ("original", "fullsize", "preview", "thumbnail")
CACHE_CONTROL = "private, max-age=86400, no-transform, stale-while-revalidate=2592000, stale-if-error=2592000"
_RANGE = re.compile(r"bytes=(\d*)-(\d*)", re.ASCII)


async def thumbnail(world: World, visit: Visit) -> web.StreamResponse:
    """Preview or thumbnail; larger sizes are redirects. Raises ApiError: 404 while there is none yet."""
    check = Checker(world.dialect)
    asset_id = check.uuid(visit.request.match_info["id"], ["id"])
    size = check.choice(visit.request.query.get("size", "thumbnail"), ["size"], SIZES)
    as_edited = _edited(check, visit)
    check.finish()
    row = world.store.readable(str(asset_id), visit.user)
    if row is None:
        raise ApiError(400, "Not found or no asset.view access")
    if size in ("original", "fullsize"):
        return _redirect(row)
    webp = size == "thumbnail" or world.webp_previews
    media = row.looks if as_edited else row.spec.media
    body = await _small(world, row, media, "webp_preview" if size == "preview" and webp else str(size))
    mime = "image/webp" if webp else "image/jpeg"
    return _file(visit.request, body, mime, row.preview_ms)


async def original(world: World, visit: Visit) -> web.StreamResponse:
    """The file as it was uploaded, or with `edited=true` what the user made of it (law 19)."""
    check = Checker(world.dialect)
    as_edited = _edited(check, visit)
    check.finish()
    row = _own_or_404(world, _asset_id(world, visit), visit.user)
    media = row.looks if as_edited else row.spec.media
    body = await world.media.get(media, "original")
    return _file(visit.request, body, media.mime, row.file_created_ms)


async def playback(world: World, visit: Visit) -> web.StreamResponse:
    """A video as it was uploaded. Raises ApiError (400) for pictures, and for what this user may not see."""
    row = world.store.readable(_asset_id(world, visit), visit.user)
    if row is None:
        raise ApiError(400, "Not found or no asset.view access")
    if row.spec.media.kind != "VIDEO":
        raise ApiError(400, "Asset is not a video")
    body = await world.media.get(row.spec.media, "original")
    return _file(visit.request, body, row.spec.media.mime, row.file_created_ms)


ROUTES = (
    Route("GET", "/api/assets/{id}/thumbnail", "thumbnail", "asset.view", thumbnail),
    Route("GET", "/api/assets/{id}/original", "original", "asset.download", original),
    Route("GET", "/api/assets/{id}/video/playback", "playback", "asset.view", playback),
)


def _edited(check: Checker, visit: Visit) -> bool:
    """`edited` of the query, false by default: the picture before the user's crop or rotation."""
    return check.choice(visit.request.query.get("edited", "false"), ["edited"], ("true", "false")) == "true"


def _asset_id(world: World, visit: Visit) -> str:
    check = Checker(world.dialect)
    asset_id = check.uuid(visit.request.match_info.get("id", MISSING), ["id"])
    check.finish()
    return str(asset_id)


def _own_or_404(world: World, asset_id: str, user: str) -> Row:
    """Originals tell a foreign asset (404) from an unknown one (400), unlike every other call."""
    row = world.store.readable(asset_id, user)
    if row is not None:
        return row
    known = world.store.rows.get(asset_id)
    if known is not None and known.spec.owner_id not in world.store.owners_seen_by(user):
        raise ApiError(404, "Asset media not found")
    raise ApiError(400, "Not found or no asset.download access")


async def _small(world: World, row: Row, media: Media, what: str) -> bytes:
    """The preview (JPEG or WebP) or the thumbnail. Raises ApiError (404) while, or where, there is none."""
    if row.preview is Preview.LATER:
        row.preview_misses += 1
        if world.preview_after is not None and row.preview_misses == world.preview_after:
            world.jobs.make_preview(row)
    if row.preview not in (Preview.LATER, Preview.NEVER):
        try:
            body = await world.media.get(media, what)
        except Exception:  # Pillow raises nearly anything for a broken file; Immich has no preview of it then
            row.preview = Preview.NEVER
        else:
            return previews.truncated(body) if row.preview is Preview.TRUNCATED else body
    raise ApiError(404, "Asset media not found")


def _redirect(row: Row) -> web.Response:
    """Full size is the original where a browser can show it, and the preview otherwise."""
    target = "original?" if row.spec.media.kind == "IMAGE" else "thumbnail?size=preview"
    return web.Response(status=302, text=f"Found. Redirecting to {target}", headers={"Location": target})


def _file(request: web.Request, body: bytes, mime: str, modified_ms: int) -> web.Response:
    etag = f'W/"{len(body):x}-{modified_ms:x}"'
    headers = {
        "ETag": etag,
        "Last-Modified": formatdate(modified_ms // 1000, usegmt=True),
        "Cache-Control": CACHE_CONTROL,
        "Accept-Ranges": "bytes",
    }
    if request.headers.get("If-None-Match") == etag:
        return web.Response(status=304, headers=headers)
    headers["Content-Type"] = mime
    wanted = _RANGE.fullmatch(request.headers.get("Range", ""))
    if wanted is None or not any(wanted.groups()):
        return web.Response(body=body, headers=headers)
    return _part(body, headers, *wanted.groups())


def _part(body: bytes, headers: dict[str, str], first: str, last: str) -> web.Response:
    start = int(first) if first else max(0, len(body) - int(last))
    end = min(int(last), len(body) - 1) if first and last else len(body) - 1
    if start > end:
        return web.Response(status=416, headers={"Content-Range": f"bytes */{len(body)}"})
    headers["Content-Range"] = f"bytes {start}-{end}/{len(body)}"
    return web.Response(status=206, body=body[start : end + 1], headers=headers)
