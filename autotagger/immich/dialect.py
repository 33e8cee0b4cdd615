"""What this server speaks: the dialect by version, checked by effect, and the checks before a run."""

from collections.abc import Mapping
from typing import Any, Final
from uuid import uuid4

from loguru import logger

from autotagger.errors import ServerRefused, Unreachable
from autotagger.immich.client import ImmichClient
from autotagger.immich.parsing import BadAnswer, ms_iso
from autotagger.immich.status import KEY_REFUSED, NOT_UNDERSTOOD
from autotagger.immich.types import Dialect, Kind, Page, Server, ServerVersion
from autotagger.settings import ImmichSettings

__all__ = [
    "Dialect",
    "connect",
    "dialect_of",
    "flat_search",
    "following",
    "identify",
    "none_search",
    "random_search",
    "totals",
]

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
#: What a key may do beyond what it must, and what that is good for.
OPTIONAL: Final = {
    "asset.download": "originals of transparent pictures, which previews show on black",
    "asset.statistics": "proof that a listing is complete",
    "user.read": "partners' pictures are told from your own",
    "tag.delete": "undo deletes tags of ours that are empty then",
    PREFERENCES: "`autotagger doctor` sees whether tags are switched on",
}
#: Only for [policy.rating_action].
UPDATE: Final = "asset.update"
#: Immich's largest page.
PAGE_SIZE = 1000


def dialect_of(version: ServerVersion) -> Dialect:
    """The newest dialect that `version` is known to speak. Raises ServerRefused below 2.7.0."""
    for first, dialect in _FIRST:
        if version >= first:
            return dialect
    raise ServerRefused(f"Immich {version} is too old: autotagger needs {_OLDEST} or newer, update Immich")


def flat_search(
    *,
    visibility: str,
    kind: Kind | None = None,
    tag_id: str | None = None,
    updated_after_ms: int | None = None,
    created_after_ms: int | None = None,
    with_exif: bool = False,
    size: int = PAGE_SIZE,
) -> dict[str, Any]:
    """The body of a search by flat fields, understood in every dialect; trash is excluded by Immich itself.

    `visibility` is always sent: the default set holds hidden motion parts. `kind` None is every type. `tag_id`:
    only what holds this tag. `updated_after_ms`, `created_after_ms`: only what was updated, or taken in, later, on
    the server's clock. `with_exif`: only what Immich has read the metadata of.
    """
    body: dict[str, Any] = {"size": size, "page": 1, "visibility": visibility}
    if kind is not None:
        body["type"] = kind
    if tag_id is not None:
        body["tagIds"] = [tag_id]
    if updated_after_ms is not None:
        body["updatedAfter"] = ms_iso(updated_after_ms)
    if created_after_ms is not None:
        body["createdAfter"] = ms_iso(created_after_ms)
    if with_exif:
        body["withExif"] = True
    return body


def random_search(size: int) -> dict[str, Any]:
    """The body for pictures of the timeline by chance, at most `size` (1..1000)."""
    return {"size": size, "visibility": "timeline", "type": "IMAGE"}


def none_search(
    *, visibility: str, kind: Kind | None = None, without_tag_id: str, size: int = PAGE_SIZE
) -> dict[str, Any]:
    """The body of a 3.2 search for what does *not* hold a tag. Trash must be excluded by name."""
    wanted: dict[str, Any] = {
        "visibility": {"eq": visibility},
        "trashedAt": {"eq": None},
        "tagIds": {"none": [without_tag_id]},
    }
    if kind is not None:
        wanted["type"] = {"eq": kind}
    return {"size": size, "filter": wanted}


def following(body: Mapping[str, Any], page: Page) -> dict[str, Any] | None:
    """The body for the page after `page`, None after the last one."""
    if "filter" in body:
        return {**body, "cursor": page.next_cursor} if page.next_cursor else None
    return {**body, "page": page.next_page} if page.next_page else None


def totals(body: Mapping[str, Any]) -> dict[str, Any]:
    """A flat search's body without its paging: what `search/statistics` understands."""
    return {name: value for name, value in body.items() if name not in ("size", "page")}


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
        if dialect is Dialect.V3_2 and not await _filters(client):
            logger.warning("Immich {} does not filter searches as 3.2 does; searching as with 3.0", version)
            dialect = Dialect.V3_0
    except Unreachable as error:
        raise ServerRefused(
            f"{error.message}: is Immich running, and is base_url right (Immich itself listens on port 2283)?"
        ) from None
    return Server(version, dialect, permissions, user_id)


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
    logger.info("the API key lacks user.read: assets that partners share are not told from your own")
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


async def _filters(client: ImmichClient) -> bool:
    """Whether `filter` does anything: a server that understands it refuses a made-up key, others ignore it all."""
    body = none_search(visibility="timeline", without_tag_id=str(uuid4()), size=1)
    made_up = {**body, "filter": {**body["filter"], "noSuchField": {"eq": 1}}}
    return await _understands(client, body) and not await _understands(client, made_up)


async def _understands(client: ImmichClient, body: Mapping[str, Any]) -> bool:
    try:
        await client.search(body)
    except ServerRefused as error:
        if error.kind != NOT_UNDERSTOOD:
            raise
        return False
    return True
