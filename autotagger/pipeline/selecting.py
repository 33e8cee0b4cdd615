"""Selection meets Immich: names are looked up there, and its assets are judged by the rules."""

import hashlib
from collections.abc import Iterable

from autotagger.errors import ServerRefused
from autotagger.immich.client import ImmichClient
from autotagger.immich.dialect import ALBUMS, LIBRARIES, PEOPLE
from autotagger.immich.searches import Narrowing
from autotagger.immich.status import KEY_REFUSED
from autotagger.immich.types import Asset, Dialect, Named, Server
from autotagger.selection.names import Known, needs_lookup, rules_of
from autotagger.selection.rules import UPLOADS, Candidate, Rules
from autotagger.selection.searches import SearchPlan, Term
from autotagger.settings import SelectSettings

_DAY_MS = 86_400_000
_EVERYTHING = SelectSettings()


def needed_by(select: SelectSettings) -> set[str]:
    """The permissions without which these keys cannot be followed."""
    needed = {ALBUMS} if select.albums or select.exclude_albums else set()
    needed |= {PEOPLE} if select.people or select.exclude_people else set()
    return needed | ({LIBRARIES} if needs_lookup((*select.libraries, *select.exclude_libraries)) else set())


def identity_of(select: SelectSettings) -> str:
    """The same for the same selection."""
    return hashlib.blake2b(select.model_dump_json().encode(), digest_size=12).hexdigest()


def is_everything(select: SelectSettings) -> bool:
    """Whether nothing is left out but kinds and visibilities."""
    keys = {"types", "visibilities"}
    return select.model_dump(exclude=keys) == _EVERYTHING.model_dump(exclude=keys)


async def look_up(client: ImmichClient, server: Server, select: SelectSettings) -> Rules:
    """The rules of a selection, its names looked up in Immich. Raises BadConfig for one that is not there,
    ServerRefused where the key may not look, and what the calls of `ImmichClient` raise."""
    needed = needed_by(select)
    if missing := sorted(name for name in needed if not server.may(name)):
        raise ServerRefused(
            f"the API key lacks {', '.join(missing)}, which [select] needs: add what is missing (Immich: Account "
            "Settings > API Keys), or take those keys out of [select]",
            kind=KEY_REFUSED,
        )
    known: dict[str, Known] = {}
    if ALBUMS in needed:
        known["albums"] = _pairs(await client.albums(shared_apart=server.dialect is Dialect.V2_7))
    if PEOPLE in needed:
        known["people"] = _pairs(await client.people())
    if LIBRARIES in needed:
        known["libraries"] = _pairs(await client.libraries())
    if select.tags or select.exclude_tags:
        known["tags"] = [(tag.id, tag.value) for tag in await client.tags()]
    return rules_of(select, known)


def _pairs(found: Iterable[Named]) -> Known:
    return [(one.id, one.name) for one in found]


def narrowings_of(rules: Rules, plan: SearchPlan) -> list[Narrowing]:
    """The searches of a plan as Immich takes them, with everything that it filters for all of them."""
    return [narrowing_of(rules, terms) for terms in plan.searches]


def narrowing_of(rules: Rules, terms: Iterable[Term]) -> Narrowing:
    """One search. Immich compares times of UTC, the rules those of the camera: a day more on both ends."""

    def ids(key: str) -> tuple[str, ...]:
        return tuple(term.id for term in terms if term.key == key)

    terms = tuple(terms)
    taken, uploaded = rules.taken, rules.uploaded
    return Narrowing(
        album_ids=ids("albums"),
        person_ids=ids("people"),
        tag_ids=ids("tags"),
        library_id=next(iter(ids("libraries")), None),
        favorite=rules.favorites_only,
        taken_after_ms=None if taken.first_ms is None else taken.first_ms - _DAY_MS,
        taken_before_ms=None if taken.end_ms is None else taken.end_ms + _DAY_MS,
        created_after_ms=uploaded.first_ms,
        created_before_ms=None if uploaded.end_ms is None else uploaded.end_ms - 1,
    )


def candidate(asset: Asset, *, make: str | None = None) -> Candidate:
    """An asset as the rules see it, without what it is a member of."""
    return Candidate(
        kind=asset.kind,
        visibility=asset.visibility,
        library=asset.library_id or UPLOADS,
        path=asset.path,
        favorite=asset.favorite,
        taken_ms=asset.taken_ms,
        uploaded_ms=asset.created_ms,
        make=make or asset.make,
    )
