"""What this server speaks: the dialect by version, checked by effect, and the checks before a run."""

from collections.abc import Iterable, Mapping
from typing import Any, Final
from uuid import uuid4

from loguru import logger

from autotagger.errors import Retryable, ServerRefused, Unreachable
from autotagger.immich.client import ImmichClient
from autotagger.immich.parsing import BadAnswer
from autotagger.immich.searches import Narrowing, search_body
from autotagger.immich.status import KEY_REFUSED, NOT_UNDERSTOOD
from autotagger.immich.types import Dialect, Server, ServerVersion
from autotagger.settings import ImmichSettings

_OLDEST = ServerVersion(2, 7, 0)
#: The first version of each dialect, newest first.
_FIRST = (
    (ServerVersion(3, 2, 0), Dialect.V3_2),
    (ServerVersion(3, 0, 0), Dialect.V3_0),
    (_OLDEST, Dialect.V2_7),
)
#: Without one of these there is no tagging.
NEEDED = ("asset.read", "asset.view", "tag.read", "tag.create", "tag.asset")
#: Only for a look at whether the user has tags switched on.
PREFERENCES: Final = "userPreference.read"
#: What is said of a user who has tags switched off.
TAGS_HIDDEN: Final = (
    "tags are switched off for this user: Immich keeps them and shows none "
    "(Immich: Account Settings > Features > Tags > Enable)"
)
#: What a key may do beyond what it must, and what that is good for.
OPTIONAL: Final = {
    "asset.download": "originals of transparent pictures, which previews show on black",
    "asset.statistics": "proof that a listing is complete",
    "user.read": "partners' pictures are told from your own",
    "tag.delete": "undo deletes tags of autotagger that are empty then",
    PREFERENCES: "`autotagger doctor` sees whether tags are switched on",
}
#: Only for [policy.rating_action].
UPDATE: Final = "asset.update"
#: Only for keys of [select] that name albums, people, and external libraries.
ALBUMS: Final = "album.read"
PEOPLE: Final = "person.read"
LIBRARIES: Final = "library.read"
#: Permissions that only some settings need, and which.
SOMETIMES: Final = {
    UPDATE: "[policy.rating_action]",
    ALBUMS: "[select] albums",
    PEOPLE: "[select] people",
    LIBRARIES: "names in [select] libraries",
}


def dialect_of(version: ServerVersion) -> Dialect:
    """The newest dialect that `version` is known to speak. Raises ServerRefused below 2.7.0."""
    for first, dialect in _FIRST:
        if version >= first:
            return dialect
    raise ServerRefused(f"Immich {version} is too old: autotagger needs {_OLDEST} or newer, update Immich")


async def connect(client: ImmichClient, settings: ImmichSettings) -> Server:
    """Check address, version, key and permissions, and say what was found.

    Raises ServerRefused, in one line with the fix, when a run could not work.
    """
    try:
        version = await identify(client)
        dialect = dialect_of(version)
        permissions = await client.permissions()
        server = Server(version, dialect, permissions, user_id=None)
        _check_permissions(server, settings)
        user_id = await _my_user_id(client, server)
        client.filters = await _filters(client, version)
        if dialect is Dialect.V3_2 and not client.filters:
            dialect = Dialect.V3_0
    except Unreachable as error:
        raise ServerRefused(
            f"{error.message}: is Immich running, and is base_url right (Immich itself listens on port 2283)?"
        ) from None
    return Server(version, dialect, permissions, user_id)


async def hides_tags(client: ImmichClient, server: Server) -> bool:
    """Whether the key's owner has tags switched off, as a new user of 2.7 has: Immich keeps them and shows none
    (law 21). False where that cannot be told."""
    if not server.may(PREFERENCES):
        return False
    try:
        return await client.tags_enabled() is False
    except (ServerRefused, Retryable):
        return False


async def identify(client: ImmichClient) -> ServerVersion:
    """The version of what answers at the address. Raises ServerRefused when that is not Immich's API."""
    try:
        return await client.version()
    except BadAnswer as error:
        answered = f"server/version answered {error}"
    except ServerRefused as error:
        if error.kind != NOT_UNDERSTOOD:
            raise
        answered = error.message
    raise ServerRefused(
        f"{client.address} is not Immich's API ({answered}): "
        "base_url must be the address that Immich's web page has, without the page's own path"
    )


async def _my_user_id(client: ImmichClient, server: Server) -> str | None:
    if server.may("user.read"):
        return await client.my_user_id()
    logger.info("the API key lacks user.read: assets that partners share cannot be told apart from your own")
    return None


def _check_permissions(server: Server, settings: ImmichSettings) -> None:
    needed = (*NEEDED, "asset.download") if settings.picture == "original" else NEEDED
    missing = [name for name in needed if not server.may(name)]
    if missing:
        raise ServerRefused(
            f"the API key lacks {'the permission' if len(missing) == 1 else 'permissions'} {', '.join(missing)}: "
            "add what is missing (Immich: Account Settings > API Keys)",
            kind=KEY_REFUSED,
        )


async def speaks_filter(client: ImmichClient) -> bool:
    """Whether this client's server searches by `filter`; asked once, by version and then by effect.

    Raises what `ImmichClient.search` raises, and Retryable when something else than Immich answers.
    """
    if client.filters is None:
        try:
            version = await client.version()
        except BadAnswer as error:
            raise Retryable(f"server/version answered {error}") from None
        client.filters = await _filters(client, version)
    return client.filters


async def _filters(client: ImmichClient, version: ServerVersion) -> bool:
    """Whether `filter` has its effect: nothing holds a tag that does not exist, and a made-up key is refused.

    Raises ServerRefused when neither `filter` nor the flat fields have: by law 4 such a server answers everything
    to every question, and all of a library would look marked.
    """
    if dialect_of(version) is not Dialect.V3_2:
        return False
    unheard_of = search_body(filters=True, visibility="timeline", tag_id=str(uuid4()), size=1)
    made_up = {**unheard_of, "filter": {**unheard_of["filter"], "noSuchField": {"eq": 1}}}
    if await _found(client, unheard_of) == 0 and await _found(client, made_up) is None:
        return True
    await fall_back(client, version)
    logger.warning("Immich {} does not filter searches as 3.2 does; searching as with 3.0", version)
    return False


async def fall_back(client: ImmichClient, version: ServerVersion) -> None:
    """Let this client search by flat fields from now on, if they have their effect; else raise ServerRefused."""
    client.filters = False
    if await _found(client, search_body(filters=False, visibility="timeline", tag_id=str(uuid4()), size=1)) != 0:
        raise ServerRefused(
            f"Immich {version} finds assets that hold a tag which does not exist: it does not search as "
            "autotagger asks, and results cannot be trusted; look for a newer autotagger",
            kind=NOT_UNDERSTOOD,
        )


async def check_narrowing(client: ImmichClient, narrowings: Iterable[Narrowing]) -> None:
    """See by effect that searches heed albums and people, where the narrowings name some: an unknown one has
    nothing. A server that ignores them (law 4) would have everything tagged.

    Raises ServerRefused for such a server, and what `ImmichClient.search` raises.
    """
    narrowings = list(narrowings)
    filters = await speaks_filter(client)
    unheard_of = (str(uuid4()),)
    for used, narrowing in (
        (any(one.album_ids for one in narrowings), Narrowing(album_ids=unheard_of)),
        (any(one.person_ids for one in narrowings), Narrowing(person_ids=unheard_of)),
    ):
        body = search_body(filters=filters, visibility="timeline", within=narrowing, size=1)
        if used and await _found(client, body):
            raise ServerRefused(
                "Immich ignores albums or people in a search: [select] would have everything tagged; look for a "
                "newer autotagger",
                kind=NOT_UNDERSTOOD,
            )


async def _found(client: ImmichClient, body: Mapping[str, Any]) -> int | None:
    """How many assets the first page of a search brings; None when the server refuses the search."""
    try:
        page = await client.search(body)
    except ServerRefused as error:
        if error.kind != NOT_UNDERSTOOD:
            raise
        return None
    return len(page.assets) + page.unreadable
