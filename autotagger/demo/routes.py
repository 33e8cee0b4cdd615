"""The JSON routes: server, key and user, searches, assets, tags, queues."""

from typing import Any

from aiohttp import web

from autotagger.demo.gate import Route, Visit
from autotagger.demo.jobs import QUEUES
from autotagger.demo.library import ME
from autotagger.demo.queries import VISIBILITIES, Asked
from autotagger.demo.store import Row, Tag
from autotagger.demo.validation import MISSING, Checker
from autotagger.demo.wire import (
    USER_SINCE,
    USERS,
    ApiError,
    Dialect,
    Json,
    asset_json,
    full_asset_json,
    iso,
    json_response,
    search_json,
    tag_json,
)
from autotagger.demo.world import World

MAX_PAIRS = 32_767
"""Links one INSERT takes: PostgreSQL allows 65,535 parameters, a link needs two (law 5)."""
FEATURES = {
    **dict.fromkeys(("smartSearch", "facialRecognition", "duplicateDetection", "importFaces", "oauth"), False),
    **dict.fromkeys(("oauthAutoLaunch", "ocr", "configFile", "email"), False),
    **dict.fromkeys(("map", "reverseGeocoding", "sidecar", "search", "trash", "passwordLogin"), True),
}
OTHER_QUEUES = (
    *("videoConversion", "faceDetection", "facialRecognition", "smartSearch", "duplicateDetection"),
    *("backgroundTask", "storageTemplateMigration", "migration", "search", "library", "notifications"),
    *("backupDatabase", "ocr", "workflow", "editor"),
)


async def version(world: World, visit: Visit) -> web.Response:
    body: Json = dict(zip(("major", "minor", "patch"), world.dialect.value, strict=True))
    if world.dialect is not Dialect.V2_7:
        body["prerelease"] = None
    return json_response(body, request=visit.request)


async def ping(_world: World, visit: Visit) -> web.Response:
    return json_response({"res": "pong"}, request=visit.request)


async def features(world: World, visit: Visit) -> web.Response:
    new = {} if world.dialect is Dialect.V2_7 else {"realtimeTranscoding": False}
    return json_response(FEATURES | new, request=visit.request)


async def my_key(_world: World, visit: Visit) -> web.Response:
    """What the key says of itself, with its permissions."""
    key = visit.key
    assert key is not None
    body = {
        "id": key.id,
        "name": "demo",
        "createdAt": iso(key.created_ms),
        "updatedAt": iso(key.created_ms),
        "permissions": list(key.permissions),
    }
    return json_response(body, request=visit.request)


async def me(_world: World, visit: Visit) -> web.Response:
    """The user whose key it is; only `ME` is an administrator."""
    email, name, colour = USERS[visit.user]
    body = {
        "id": visit.user,
        "email": email,
        "name": name,
        "profileImagePath": "",
        "avatarColor": colour,
        "profileChangedAt": USER_SINCE,
        "storageLabel": "admin" if visit.user == ME else None,
        "shouldChangePassword": True,
        "isAdmin": visit.user == ME,
        "createdAt": USER_SINCE,
        "deletedAt": None,
        "updatedAt": USER_SINCE,
        "oauthId": "",
        "quotaSizeInBytes": None,
        "quotaUsageInBytes": 0,
        "status": "active",
        "license": None,
    }
    return json_response(body, request=visit.request)


async def my_preferences(world: World, visit: Visit) -> web.Response:
    """What the user switched on, tags among it."""
    shown = {"enabled": True, "sidebarWeb": False}
    body: Json = {
        "albums": {"defaultAssetOrder": "desc"},
        "cast": {"gCastEnabled": False},
        "download": {"archiveSize": 4 << 30, "includeEmbeddedVideos": False},
        "emailNotifications": dict.fromkeys(("albumInvite", "albumUpdate", "enabled"), True),
        "folders": {"enabled": False, "sidebarWeb": False},
        "memories": {"duration": 5, "enabled": True},
        "people": shown,
        "purchase": {"hideBuyButtonUntil": "2022-02-12T00:00:00.000Z", "showSupportBadge": True},
        "ratings": {"enabled": False},
        "sharedLinks": shown,
        "tags": {"enabled": world.tags_enabled, "sidebarWeb": world.tags_enabled},
    }
    if world.dialect is not Dialect.V2_7:
        body["recentlyAdded"] = {"sidebarWeb": False}
    return json_response(body, request=visit.request)


async def search(world: World, visit: Visit) -> web.Response:
    """A page of what matches, without tags; how the next page is told depends on the dialect."""
    asked = _asked(world, visit)
    found = world.searcher.page(asked.query, offset=asked.offset, size=asked.size)
    return json_response(
        search_json(
            found.rows,
            world.dialect,
            with_exif=asked.with_exif,
            next_page=asked.next_page(world.dialect, found.more),
        )
    )


async def search_random(world: World, visit: Visit) -> web.Response:
    asked = _asked(world, visit)
    rows = world.store.some(world.searcher.matching(asked.query), asked.size)
    return json_response([asset_json(row, world.dialect, with_exif=asked.with_exif) for row in rows])


async def search_statistics(world: World, visit: Visit) -> web.Response:
    return json_response({"total": len(world.searcher.matching(_asked(world, visit).query))})


async def asset(world: World, visit: Visit) -> web.Response:
    asset_id = _path_id(world, visit)
    row = world.store.readable(asset_id, visit.user)
    if row is None:
        raise ApiError(400, "Not found or no asset.read access")
    return json_response(full_asset_json(row, world.store, world.dialect), request=visit.request)


async def tags(world: World, visit: Visit) -> web.Response:
    ordered = sorted(world.store.tags_of(visit.user).values(), key=lambda tag: tag.value)
    return json_response([tag_json(tag) for tag in ordered], request=visit.request)


async def tag(world: World, visit: Visit) -> web.Response:
    return json_response(tag_json(_tag(world, visit, "tag.read")), request=visit.request)


async def upsert_tags(world: World, visit: Visit) -> web.Response:
    """The tags of these names, made with their parents where they are not there yet (law 6)."""
    check = Checker(world.dialect)
    values = check.each(
        visit.body.get("tags", MISSING), ["tags"], lambda value, path: _tag_value(check, value, path)
    )
    check.finish()
    return json_response([tag_json(tag) for tag in world.store.upsert(values, visit.user)])


async def create_tag(world: World, visit: Visit) -> web.Response:
    """A new tag below its parent. Raises ApiError (400) when it is there already."""
    check = Checker(world.dialect)
    name = check.text(visit.body.get("name", MISSING), ["name"])
    parent_id = visit.body.get("parentId")
    parent_id = None if parent_id is None else check.uuid(parent_id, ["parentId"])
    check.finish()
    parent = None if parent_id is None else world.store.tag_of(visit.user, parent_id)
    if parent_id is not None and parent is None:
        raise ApiError(400, "Not found or no tag.read access")
    value = f"{parent.value}/{name}" if parent else str(name)
    if value in world.store.tags_of(visit.user):
        raise ApiError(400, "A tag with that name already exists")
    return json_response(tag_json(world.store.create(value, parent, visit.user)), status=201)


async def tag_assets(world: World, visit: Visit) -> web.Response:
    """Law 2: what cannot be tagged is left out without a word. Law 5: too many links write none."""
    check = Checker(world.dialect)
    asset_ids = check.uuids(visit.body.get("assetIds", MISSING), ["assetIds"])
    tag_ids = check.uuids(visit.body.get("tagIds", MISSING), ["tagIds"])
    check.finish()
    rows = world.store.writable(asset_ids, visit.user)
    known = [tag_id for tag_id in dict.fromkeys(tag_ids) if world.store.tag_of(visit.user, tag_id)]
    if len(rows) * len(known) > MAX_PAIRS:
        raise ApiError(500, "Failed to bulk tag assets")
    return json_response({"count": sum(_link(world, row, known) for row in rows)})


async def add_to_tag(world: World, visit: Visit) -> web.Response:
    """Link one tag with many assets; unlike `tag_assets` it answers for each of them."""
    the_tag = _tag(world, visit, "tag.asset")
    ids = _ids(world, visit)
    writable = {row.id: row for row in world.store.writable(ids, visit.user)}
    results = []
    for asset_id in ids:
        row = world.store.rows.get(asset_id)
        if row is not None and the_tag.id in row.tags:
            results.append(_refused(asset_id, "duplicate"))
        elif asset_id not in writable:
            results.append(_refused(asset_id, "no_permission"))
        else:
            _link(world, writable[asset_id], [the_tag.id])
            results.append({"id": asset_id, "success": True})
    return json_response(results)


async def untag_assets(world: World, visit: Visit) -> web.Response:
    """Take one tag off many assets, with an answer for each of them."""
    the_tag = _tag(world, visit, "tag.asset")
    ids = _ids(world, visit)
    results = []
    async with world.removals.under_way(world.store.writable(ids, visit.user)):
        for asset_id in ids:
            row = world.store.rows.get(asset_id)
            if row is None or the_tag.id not in row.tags:
                results.append(_refused(asset_id, "not_found"))
            else:
                world.removals.unlink(row, the_tag.id)
                world.jobs.links_changed(row)
                results.append({"id": asset_id, "success": True})
    return json_response(results)


async def delete_tag(world: World, visit: Visit) -> web.Response:
    world.store.delete_tag(_tag(world, visit, "tag.delete"))
    return web.Response(status=204)


async def update_assets(world: World, visit: Visit) -> web.Response:
    """Of what Immich can change here, the visibility; all of the assets or none."""
    check = Checker(world.dialect)
    ids = check.uuids(visit.body.get("ids", MISSING), ["ids"])
    wanted = visit.body.get("visibility")
    visibility = None if wanted is None else check.choice(wanted, ["visibility"], VISIBILITIES)
    check.finish()
    rows = world.store.writable(ids, visit.user)
    if len(rows) < len(set(ids)):
        raise ApiError(400, "Not found or no asset.update access")
    for row in rows if visibility is not None else ():
        row.visibility = str(visibility)
        world.store.reshape(row)
    return web.Response(status=204)


def _only_for_admins(visit: Visit) -> None:
    """The queues are the server's: the key's permission alone does not open them (docs/immich.md; the words of the
    refusal are not recorded)."""
    if visit.user != ME:
        raise ApiError(403, "Forbidden")


async def queues(world: World, visit: Visit) -> web.Response:
    """The list of all queues with their jobs. Raises ApiError (403) for all but administrators."""
    _only_for_admins(visit)
    body = [
        {"name": name, "isPaused": world.jobs.is_paused(name), "statistics": _statistics(world, name)}
        for name in _queue_names(world)
    ]
    return json_response(body, request=visit.request)


async def jobs(world: World, visit: Visit) -> web.Response:
    """The same by name: how 2.7 is asked."""
    _only_for_admins(visit)
    body = {
        name: {
            "jobCounts": _statistics(world, name),
            "queueStatus": {"isActive": world.jobs.open(name) > 0, "isPaused": world.jobs.is_paused(name)},
        }
        for name in _queue_names(world)
    }
    return json_response(body, request=visit.request)


#: `PUT /assets` is deprecated since 3.0 in favour of a PATCH that 3.0.3 does not have yet (law 20).
_PUT_ASSETS = frozenset(Dialect) - {Dialect.V4}
_PATCH_ASSETS = frozenset({Dialect.V3_2, Dialect.V4})
ROUTES = (
    Route("GET", "/api/server/version", "version", None, version),
    Route("GET", "/api/server/ping", "ping", None, ping),
    Route("GET", "/api/server/features", "features", None, features),
    Route("GET", "/api/api-keys/me", "api_key", "", my_key),
    Route("GET", "/api/users/me", "user", "user.read", me),
    Route("GET", "/api/users/me/preferences", "preferences", "userPreference.read", my_preferences),
    Route("POST", "/api/search/metadata", "search", "asset.read", search),
    Route("POST", "/api/search/random", "random", "asset.read", search_random),
    Route("POST", "/api/search/statistics", "statistics", "asset.statistics", search_statistics),
    Route("PUT", "/api/assets", "update_assets", "asset.update", update_assets, _PUT_ASSETS),
    Route("PATCH", "/api/assets", "update_assets", "asset.update", update_assets, _PATCH_ASSETS),
    Route("GET", "/api/assets/{id}", "asset", "asset.read", asset),
    Route("GET", "/api/tags", "tags", "tag.read", tags),
    Route("PUT", "/api/tags", "upsert_tags", "tag.create", upsert_tags),
    Route("POST", "/api/tags", "create_tag", "tag.create", create_tag),
    Route("PUT", "/api/tags/assets", "tag_assets", "tag.asset", tag_assets),
    Route("GET", "/api/tags/{id}", "tag", "tag.read", tag),
    Route("DELETE", "/api/tags/{id}", "delete_tag", "tag.delete", delete_tag),
    Route("PUT", "/api/tags/{id}/assets", "add_to_tag", "tag.asset", add_to_tag),
    Route("DELETE", "/api/tags/{id}/assets", "untag_assets", "tag.asset", untag_assets),
    Route("GET", "/api/queues", "queues", "queue.read", queues),
    Route("GET", "/api/jobs", "jobs", "job.read", jobs),
)


def _asked(world: World, visit: Visit) -> Asked:
    return Asked(visit.body, world.dialect, world.store.owners_seen_by(visit.user))


def _path_id(world: World, visit: Visit) -> str:
    check = Checker(world.dialect)
    found = check.uuid(visit.request.match_info["id"], ["id"])
    check.finish()
    return str(found)


def _tag(world: World, visit: Visit, permission: str) -> Tag:
    found = world.store.tag_of(visit.user, _path_id(world, visit))
    if found is None:
        raise ApiError(400, f"Not found or no {permission} access")
    return found


def _ids(world: World, visit: Visit) -> list[str]:
    check = Checker(world.dialect)
    ids = check.uuids(visit.body.get("ids", MISSING), ["ids"])
    check.finish()
    return ids


def _tag_value(check: Checker, value: Any, path: list[str | int]) -> str | None:
    text = check.text(value, path)
    if text == "" and check.refuses_empty:
        check.complain("each value in tags should not be empty", {})
    return text


def _link(world: World, row: Row, tag_ids: list[str]) -> int:
    """Only an asset that gains a link gets jobs; one that has them all already gets none."""
    new = world.store.link(row, tag_ids)
    if new:
        world.jobs.links_changed(row)
    return new


def _refused(asset_id: str, reason: str) -> Json:
    return {"id": asset_id, "success": False, "error": reason}


def _queue_names(world: World) -> list[str]:
    new = [] if world.dialect is Dialect.V2_7 else ["integrityCheck"]
    return [*QUEUES, *OTHER_QUEUES, *new]


def _statistics(world: World, queue: str) -> Json:
    waiting = world.jobs.open(queue)
    paused = world.jobs.is_paused(queue)
    counts = dict.fromkeys(("active", "completed", "failed", "delayed", "waiting", "paused"), 0)
    return counts | {"paused" if paused else "waiting": waiting}
