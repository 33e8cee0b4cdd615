"""Albums and people of the stand-in: what assets are members of, and how Immich tells of it."""

from collections.abc import Iterable

from aiohttp import web

from autotagger.demo.gate import Route, Visit
from autotagger.demo.library import ME, READ_ONLY_LIBRARY, WRITABLE_LIBRARY
from autotagger.demo.validation import Checker
from autotagger.demo.wire import USER_SINCE, USERS, ApiError, Dialect, Json, json_response
from autotagger.demo.world import World

#: Names of the external libraries.
LIBRARIES = {READ_ONLY_LIBRARY: "archive", WRITABLE_LIBRARY: "art"}


def _albums_of(world: World, visit: Visit) -> Iterable[tuple[str, str, int]]:
    """Id, name and number of assets of each album of the user."""
    store = world.store
    for name, album_id in sorted(store.albums_of(visit.user).items()):
        yield album_id, name, sum(album_id in row.albums for row in store.rows.values())


async def albums(world: World, visit: Visit) -> web.Response:
    """The user's albums; none is shared, and 2.7 asked for shared ones tells nothing else."""
    if world.dialect is Dialect.V2_7 and visit.request.query.get("shared") == "true":
        return json_response([])
    return json_response([_album(world, visit.user, *album) for album in _albums_of(world, visit)])


def _album(world: World, user: str, album_id: str, name: str, count: int) -> Json:
    email, user_name, colour = USERS[user]
    owner = {
        "id": user,
        "email": email,
        "name": user_name,
        "profileImagePath": "",
        "avatarColor": colour,
        "profileChangedAt": USER_SINCE,
    }
    body: Json = {
        "albumName": name,
        "albumThumbnailAssetId": None,
        "albumUsers": [],
        "assetCount": count,
        "createdAt": USER_SINCE,
        "description": "",
        "hasSharedLink": False,
        "id": album_id,
        "isActivityEnabled": True,
        "shared": False,
        "updatedAt": USER_SINCE,
        "order": "desc",
    }
    if world.dialect is Dialect.V2_7:
        return body | {"assets": [], "owner": owner, "ownerId": user}
    return body | {"albumUsers": [{"role": "owner", "user": owner}]}


async def people(world: World, visit: Visit) -> web.Response:
    """A page of the user's people."""
    check = Checker(world.dialect)
    page, size = (
        check.integer(int(visit.request.query.get(name, default)), [name], 1, most)
        for name, default, most in (("page", 1, None), ("size", 500, 1000))
    )
    check.finish()
    assert page is not None
    assert size is not None
    there = sorted(world.store.people_of(visit.user).items())
    some = there[(page - 1) * size : page * size]
    body = {
        "people": [
            {
                "id": person_id,
                "name": name,
                "birthDate": None,
                "thumbnailPath": f"/data/thumbs/{person_id}.jpeg",
                "isHidden": False,
                "isFavorite": False,
                "updatedAt": USER_SINCE,
            }
            for name, person_id in some
        ],
        "hidden": 0,
        "total": len(there),
        "hasNextPage": page * size < len(there),
    }
    return json_response(body)


async def libraries(world: World, visit: Visit) -> web.Response:
    """All external libraries. Raises ApiError (403) for all but administrators."""
    if visit.user != ME:
        raise ApiError(403, "Forbidden")
    body = [
        {
            "id": library_id,
            "ownerId": ME,
            "name": name,
            "assetCount": sum(row.spec.library_id == library_id for row in world.store.rows.values()),
            "importPaths": [f"/external/{library_id[:8]}"],
            "exclusionPatterns": [],
            "createdAt": USER_SINCE,
            "updatedAt": USER_SINCE,
            "refreshedAt": None,
        }
        for library_id, name in LIBRARIES.items()
    ]
    return json_response(body)


ROUTES = (
    Route("GET", "/api/albums", "albums", "album.read", albums),
    Route("GET", "/api/people", "people", "person.read", people),
    Route("GET", "/api/libraries", "libraries", "library.read", libraries),
)
