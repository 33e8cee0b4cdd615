"""A look at Immich: nothing is written, every call is tried for a few seconds only."""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, cast
from uuid import uuid4

import orjson
from pydantic import SecretStr
from yarl import URL

from autotagger.config import api_keys
from autotagger.doctor.facts import AccountFacts, PreviewFact, Sample, ServerFacts
from autotagger.errors import AssetFailed, AutotaggerError, Fatal, Retryable, ServerRefused
from autotagger.immich.address import is_exposed
from autotagger.immich.client import ImmichClient
from autotagger.immich.dialect import (
    ALBUMS,
    LIBRARIES,
    PEOPLE,
    PREFERENCES,
    UPDATE,
    connect,
    dialect_of,
    identify,
    speaks_filter,
)
from autotagger.immich.parsing import decode, http_date_ms, problem
from autotagger.immich.searches import following, search_body, totals
from autotagger.immich.transport import Request, Transport
from autotagger.immich.types import Asset, Kind, Server, Tag
from autotagger.settings import ImmichSettings, Settings

#: Pictures to look at and to measure with.
SAMPLE = 20
#: Where the key may not ask for totals, listing ends after so many pages of 1,000.
_PAGES = 20
#: A call is tried for so long: a person waits.
_BUDGET_S = 8.0

_Facts = dict[str, Any]


async def look_at_server(settings: Settings) -> ServerFacts:
    """Everything about Immich that can be found out with this address and these keys."""
    looks: dict[str, ServerFacts] = {}
    main: ServerFacts | None = None
    try:
        for name, key in api_keys(settings).items():
            looks[name] = look = await _look(settings, key, thorough=main is None)
            main = main or (look if look.server and not look.key_trouble else None)
    except Fatal as error:
        return ServerFacts(address_trouble=error)
    main = main or next(iter(looks.values()))
    accounts = tuple(AccountFacts(name, look.key_trouble, look.server) for name, look in looks.items())
    return _together(replace(main, accounts=accounts), looks.values())


def _together(main: ServerFacts, looks: Iterable[ServerFacts]) -> ServerFacts:
    """`main`, with the assets of all accounts that could be counted."""
    counted = [look for look in looks if look.total is not None]
    if not counted:
        return main
    total = sum(look.total or 0 for look in counted)
    marked = sum(look.marked or 0 for look in counted)
    ended = all(look.counted_up_to is None for look in counted)
    return replace(main, total=total, marked=marked, counted_up_to=None if ended else total)


async def _look(settings: Settings, key: SecretStr, *, thorough: bool) -> ServerFacts:
    """What one key shows; `thorough`: the server too, every permission in use, and pictures."""
    immich = settings.immich.model_copy(update={"retry_budget_s": min(_BUDGET_S, settings.immich.retry_budget_s)})
    client = ImmichClient(immich, key)
    facts: _Facts = {"address": client.address, "exposed": is_exposed(URL(client.address)), "effects": {}}
    async with client, Transport(immich, key) as transport:
        if await _introduced(client, immich, facts):
            if thorough:
                await _used(transport, facts, patch=bool(client.filters))
            await _counted(client, settings, facts)
            if thorough:
                await _sampled(client, settings, facts)
    return ServerFacts(**facts)


async def _introduced(client: ImmichClient, immich: ImmichSettings, facts: _Facts) -> bool:
    """Version, key and permissions, in the order in which a run asks; whether a run would get through."""
    step = "reach_trouble"
    try:
        facts["version"] = await identify(client)
        step = "version_trouble"
        dialect = dialect_of(facts["version"])
        step = "key_trouble"
        # what the key may do is wanted also where that is too little for a run
        facts["server"] = Server(facts["version"], dialect, await client.permissions(), user_id=None)
        facts["server"] = await connect(client, immich)
    except Fatal as error:
        facts[step] = error
    except AutotaggerError as error:
        facts[step] = ServerRefused(error.message)
    return "server" in facts


def _uses(*, patch: bool) -> dict[str, Request]:
    """By permission, a call that needs it and changes nothing.

    Immich looks at the key before it looks at what is asked: an asset that does not exist and an empty list are
    as good as real ones.
    """

    def call(method: str, path: str, body: object = None, *, query: Mapping[str, str] | None = None) -> Request:
        return Request(path, method, path, query=query, body=None if body is None else orjson.dumps(body))

    nobody = f"assets/{uuid4()}"
    return {
        "asset.read": call("POST", "search/metadata", search_body(filters=False, visibility="timeline", size=1)),
        "asset.view": call("GET", f"{nobody}/thumbnail", query={"size": "preview"}),
        "tag.read": call("GET", "tags"),
        "tag.create": call("PUT", "tags", {"tags": []}),
        "tag.asset": call("PUT", "tags/assets", {"assetIds": [], "tagIds": []}),
        "asset.download": call("GET", f"{nobody}/original"),
        "asset.statistics": call("POST", "search/statistics", {"visibility": "timeline"}),
        "user.read": call("GET", "users/me"),
        UPDATE: call("PATCH" if patch else "PUT", "assets", {"ids": [str(uuid4())], "visibility": "timeline"}),
        "tag.delete": call("DELETE", f"tags/{uuid4()}"),
        PREFERENCES: call("GET", "users/me/preferences"),
        ALBUMS: call("GET", "albums"),
        PEOPLE: call("GET", "people", query={"size": "1"}),
        LIBRARIES: call("GET", "libraries"),
    }


async def _used(transport: Transport, facts: _Facts, *, patch: bool) -> None:
    """Use every permission once; from the answers also latency, clock, and whether tags are switched on."""
    effects = {}
    for permission, request in _uses(patch=patch).items():
        try:
            reply = await transport.exchange(request)
        except AutotaggerError as error:
            effects[permission] = error.message
            continue
        said = problem(reply.body)
        refused = reply.status in (401, 403) or reply.status >= 500
        effects[permission] = f"{reply.status} ({said or 'no message from Immich'})" if refused else ""
        if permission == "tag.read" and not refused:
            facts["latency_s"] = reply.first_byte_s
            theirs_ms = http_date_ms(reply.headers.get("Date"))
            # Date has whole seconds: half a second more is nearer to the truth
            facts["skew_s"] = None if theirs_ms is None else time.time() - theirs_ms / 1000 - 0.5
        if permission == PREFERENCES and reply.status == 200:
            facts["tags_enabled"] = _tags_enabled(reply.body)
    facts["effects"] = effects


def _tags_enabled(body: bytes) -> bool | None:
    try:
        enabled = decode(body)["tags"]["enabled"]
    except (ValueError, KeyError, TypeError):
        return None
    return enabled if isinstance(enabled, bool) else None


async def _counted(client: ImmichClient, settings: Settings, facts: _Facts) -> None:
    """How many assets there are to tag, and how many are marked."""
    server: Server = facts["server"]
    if facts["effects"].get("asset.read") or facts["effects"].get("tag.read"):
        return
    try:
        marker = next((tag for tag in await client.tags() if tag.value == settings.marker), None)
        has_totals = server.may("asset.statistics")
        # a total counts what partners share too, and several accounts are counted one by one
        if has_totals and not settings.account:
            facts["total"] = await _total(client, settings, None)
        else:
            facts["total"], ended = await _listed(client, settings, None, server.user_id)
            facts["counted_up_to"] = None if ended else facts["total"]
        if not marker:
            facts["marked"] = 0
        elif has_totals:
            facts["marked"] = await _total(client, settings, marker)
        else:
            facts["marked"], _ = await _listed(client, settings, marker, server.user_id)
    except AutotaggerError:
        return  # the check of the library says that it could not be counted


async def _searches(client: ImmichClient, settings: Settings, tag: Tag | None) -> list[dict[str, Any]]:
    types = settings.select.types
    kind = cast("Kind", types[0].upper()) if len(set(types)) == 1 else None
    tag_id = tag.id if tag else None
    search = partial(search_body, filters=await speaks_filter(client), kind=kind, tag_id=tag_id)
    return [search(visibility=visibility) for visibility in settings.select.visibilities]


async def _total(client: ImmichClient, settings: Settings, tag: Tag | None) -> int:
    return sum([await client.total(totals(search)) for search in await _searches(client, settings, tag)])


async def _listed(
    client: ImmichClient, settings: Settings, tag: Tag | None, owner: str | None
) -> tuple[int, bool]:
    """Assets counted page by page (of `owner`, where known), and whether that came to its end."""
    seen: set[str] = set()
    pages = 0
    for search in await _searches(client, settings, tag):
        body: dict[str, Any] | None = search
        while body is not None:
            if pages == _PAGES:
                return len(seen), False
            page = await client.search(body)
            pages += 1
            seen.update(asset.id for asset in page.assets if owner in (None, asset.owner_id))
            body = following(body, page)
    return len(seen), True


async def _sampled(client: ImmichClient, settings: Settings, facts: _Facts) -> None:
    """The newest pictures of the library, downloaded as a run downloads them."""
    if facts["effects"].get("asset.read") or facts["effects"].get("asset.view"):
        return
    try:
        assets = await _newest(client, settings)
        begun = time.perf_counter()
        fetched = await asyncio.gather(*(_body(client, asset.id, settings) for asset in assets))
    except AutotaggerError:
        return
    seconds = time.perf_counter() - begun
    there = [found for found in fetched if found is not None]
    facts["sample"] = Sample(
        pictures=tuple(_described(body, content_type) for body, content_type in there),
        bodies=tuple(body for body, _ in there),
        missing=len(fetched) - len(there),
        seconds=seconds,
    )


async def _newest(client: ImmichClient, settings: Settings) -> Sequence[Asset]:
    found: list[Asset] = []
    for search in await _searches(client, settings, None):
        page = await client.search({**search, "size": SAMPLE})
        found += page.assets
    return found[:SAMPLE]


async def _body(client: ImmichClient, asset_id: str, settings: Settings) -> tuple[bytes, str] | None:
    try:
        picture = await client.picture(asset_id, settings.immich.picture)
    except (Retryable, AssetFailed):
        return None
    return picture.body, picture.content_type


def _described(body: bytes, content_type: str) -> PreviewFact:
    from io import BytesIO

    from autotagger.tagger.open_picture import open_picture

    try:
        with open_picture(BytesIO(body)) as image:
            width, height = image.size
    except AssetFailed:
        width, height = 0, 0
    return PreviewFact(content_type, width, height, len(body))
