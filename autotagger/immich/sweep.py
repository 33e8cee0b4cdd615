"""A whole library, listed completely and exactly once, by a server that pages by offset.

Between two pages the ground moves: assets of the same time come in any order, uploads push what follows onto the
next page (it comes twice), trash pulls it back (it never comes), and on 3.2 our own work takes assets out of the
set we page through. So a library is listed in passes, each with another page size, so that the page borders fall
elsewhere, until a whole pass has found nothing new and missed nothing that the pass before it had seen. What a
pass brings again is dropped by id.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count, product
from typing import Any, Final

from loguru import logger

from autotagger.errors import Retryable
from autotagger.immich.client import ImmichClient
from autotagger.immich.dialect import fall_back, speaks_filter
from autotagger.immich.paging import pages
from autotagger.immich.searches import ANYWHERE, PAGE_SIZE, Narrowing, search_body, totals
from autotagger.immich.types import Asset, Dialect, Kind, Server

_Body = dict[str, Any]

#: Each pass has a page size of its own: 1000, 939, 878 ... (61 shares no factor with 500: 500 different ones).
#: Asked the same again, Immich would give the same answer, with the same gaps.
_SIZE_STEP, _SIZE_SPAN = 61, 500
#: Passes without news that end a listing which never comes to rest. A pass over one large tie in random order
#: misses an asset with a chance of 1/e, and so 8 of them in a row with one of 1/3,000.
_RESTLESS_PASSES = 8
#: As many are enough where a pass misses less than this share: small ties, torn only by the odd page border.
_CALM_PASSES, _CALM_SHARE = 3, 0.01
#: Where marked assets may be; `locked` is refused with a 401.
_VISIBILITIES: Final = ("timeline", "archive", "hidden")
#: Where nothing narrows a sweep down.
EVERYTHING: Final = (ANYWHERE,)
KINDS: dict[str, Kind] = {"image": "IMAGE", "video": "VIDEO"}


@dataclass(frozen=True, slots=True)
class Listed:
    """One batch of a sweep: `assets` of ours without the marker, or assets with it; `unreadable`: items that make
    no sense and are left out, told once a listing."""

    assets: tuple[Asset, ...] = ()
    marked: tuple[Asset, ...] = ()
    unreadable: int = 0


async def sweep(
    client: ImmichClient,
    server: Server,
    *,
    marker: str,
    types: Iterable[str],
    visibilities: Sequence[str],
    within: Sequence[Narrowing] = EVERYTHING,
) -> AsyncIterator[Listed]:
    """List every asset of `types` (`image`, `video`) in `visibilities`, and apart from them (batches of `marked`)
    those that hold the tag `marker`, wherever they may be seen. `within`: only what one of these describes, and
    the marked ones then in `visibilities` alone.

    3.2 leaves the marked ones out by itself, and they are listed last; before it, they are listed first and
    subtracted. Nothing is written: a marker that does not exist yet marks nothing. Partners' assets are left out
    when the server told who we are. Raises what `ImmichClient.search` raises.
    """
    client.filters = server.dialect is Dialect.V3_2
    choice = choice_of(server, types, visibilities)
    marker_id = await _marker_id(client, marker)
    async for listed in _candidates(client, server, marker_id, choice.kind, visibilities, within):
        assets = choice.untold(listed)
        if assets or listed.marked or listed.unreadable:
            yield Listed(assets, listed.marked, listed.unreadable)


async def tagged(
    client: ImmichClient, tag_id: str, *, updated_after_ms: int | None = None, trash: bool = False
) -> AsyncIterator[tuple[Asset, ...]]:
    """List every asset that holds the tag `tag_id` or one below it, wherever it may be seen, each once.

    `updated_after_ms`: only those whose updatedAt is later (the server's clock); `trash`: also what is in there.
    """
    listing = _marked(client, await speaks_filter(client), tag_id, updated_after_ms, trash=trash)
    async for assets in listing.batches():
        yield assets
    if listing.unreadable:
        logger.debug("{} items with a tag of ours could not be read and are left out", listing.unreadable)


def _marked(
    client: ImmichClient, filters: bool, tag_id: str, updated_after_ms: int | None = None, *, trash: bool = False
) -> "_Listing":
    searches = _searches(
        filters, _VISIBILITIES, None, tag_id=tag_id, updated_after_ms=updated_after_ms, trash=trash
    )
    return _Listing(client, searches)


async def members(
    client: ImmichClient,
    *,
    visibilities: Sequence[str],
    within: Sequence[Narrowing],
    created_after_ms: int | None = None,
    with_exif: bool = False,
) -> AsyncIterator[tuple[Asset, ...]]:
    """List every asset in `visibilities` that one of the narrowings describes, each once, whosever it is and
    marked or not. `created_after_ms`: only what was taken in then or later; `with_exif`: only what Immich has read
    the metadata of, with the camera's make."""
    searches = _searches(
        await speaks_filter(client),
        visibilities,
        None,
        within=within,
        created_after_ms=created_after_ms,
        with_exif=with_exif,
    )
    async for assets in _Listing(client, searches, brief=True).batches():
        yield assets


def choice_of(server: Server, types: Iterable[str], visibilities: Sequence[str]) -> "Choice":
    """The assets of `types` (`image`, `video`) in `visibilities` that are the key owner's."""
    return Choice(server.user_id, tuple(KINDS[name] for name in dict.fromkeys(types)), visibilities)


@dataclass(slots=True)
class Choice:
    """What a listing tells of what it sees. Immich's own filters are not trusted: older servers ignore some."""

    user_id: str | None
    kinds: Sequence[Kind]
    visibilities: Sequence[str]
    told: set[str] = field(default_factory=set)

    @property
    def kind(self) -> Kind | None:
        """The one kind to ask Immich for; None: all."""
        return self.kinds[0] if len(self.kinds) == 1 else None

    def untold(self, listed: Listed) -> tuple[Asset, ...]:
        """The wanted ones without the marker that were not told before."""
        self.told.update(asset.id for asset in listed.marked)
        chosen = tuple(asset for asset in listed.assets if asset.id not in self.told and self.wants(asset))
        self.told.update(asset.id for asset in chosen)
        return chosen

    def wants(self, asset: Asset) -> bool:
        """Whether an asset is ours to tag: of the kinds and visibilities chosen, not trashed, the user's own."""
        return (
            not asset.trashed
            and asset.kind in self.kinds
            and asset.visibility in self.visibilities
            and self.user_id in (None, asset.owner_id)
        )


async def _candidates(
    client: ImmichClient,
    server: Server,
    marker_id: str | None,
    kind: Kind | None,
    visibilities: Sequence[str],
    within: Sequence[Narrowing],
) -> AsyncIterator[Listed]:
    """All of them in the order that costs least; some may come twice, or not be ours."""
    if marker_id and client.filters:
        try:
            async for listed in _unmarked(client, marker_id, kind, visibilities, within):
                yield listed
        except _FilterIgnored:
            logger.warning("Immich {} does not leave out marked assets; subtracting them", server.version)
            await fall_back(client, server.version)
        else:
            marked = _marked_within(client, await speaks_filter(client), marker_id, visibilities, within)
            async for assets in marked.batches():
                yield Listed(marked=assets)
            yield Listed(unreadable=marked.unreadable)
            return
    found = 0
    if marker_id:
        marked = _marked_within(client, await speaks_filter(client), marker_id, visibilities, within)
        async for assets in marked.batches():
            yield Listed(marked=assets)
        found = marked.unreadable
    # Totals of searches that overlap say nothing of what is to be found together.
    counted = server.may("asset.statistics") and len(within) == 1
    searches = _searches(bool(client.filters), visibilities, kind, within=within)
    listing = _Listing(client, searches, counted=counted, brief=within is not EVERYTHING)
    async for assets in listing.batches():
        yield Listed(assets)
    yield Listed(unreadable=max(found, listing.unreadable))  # this listing holds most of the marked ones again


def _marked_within(
    client: ImmichClient,
    filters: bool,
    marker_id: str,
    visibilities: Sequence[str],
    within: Sequence[Narrowing],
) -> "_Listing":
    if within is EVERYTHING:
        return _marked(client, filters, marker_id)
    return _Listing(client, _searches(filters, visibilities, None, tag_id=marker_id, within=within), brief=True)


async def _marker_id(client: ImmichClient, marker: str) -> str | None:
    return next((tag.id for tag in await client.tags() if tag.value == marker), None)


class _FilterIgnored(Exception):
    """A search for unmarked assets brought marked ones."""


async def _unmarked(
    client: ImmichClient,
    marker_id: str,
    kind: Kind | None,
    visibilities: Sequence[str],
    within: Sequence[Narrowing],
) -> AsyncIterator[Listed]:
    """List by 3.2's filter, checked by effect: one page of marked assets must have nothing in common with it."""
    sample: set[str] = set()
    for search in _searches(True, visibilities, kind, tag_id=marker_id, within=within)(PAGE_SIZE):
        sample.update(asset.id for asset in (await client.search(search)).assets)

    searches = _searches(True, visibilities, kind, without_tag_id=marker_id, within=within)
    listing = _Listing(client, searches, brief=within is not EVERYTHING)
    async for assets in listing.batches():
        if any(asset.id in sample for asset in assets):
            raise _FilterIgnored
        yield Listed(assets)
    yield Listed(unreadable=listing.unreadable)


def _searches(
    filters: bool,
    visibilities: Sequence[str],
    kind: Kind | None,
    *,
    within: Sequence[Narrowing] = EVERYTHING,
    **more: Any,
) -> Callable[[int], list[_Body]]:
    """The searches of one pass, given its page size: `visibility` takes one value at a time. `more`: what
    `search_body` takes besides."""
    search = partial(search_body, filters=filters, kind=kind, **more)
    return lambda size: [
        search(visibility=visibility, within=narrowing, size=size)
        for visibility, narrowing in product(visibilities, within)
    ]


@dataclass(slots=True)
class _Pass:
    """What one pass saw: ids in all, those never seen before, and those that the pass before had seen too; and
    whether a search had more than one page."""

    number: int
    borders: bool = False
    distinct: int = 0
    fresh: int = 0
    kept: int = 0
    unreadable: int = 0


@dataclass(slots=True)
class _Listing:
    """Passes over `searches` (bodies for a page size). `counted`: ask Immich for the true total as well; `brief`:
    one pass is enough where it has no page borders, at which alone assets get lost."""

    client: ImmichClient
    searches: Callable[[int], list[_Body]]
    counted: bool = False
    brief: bool = False
    last_seen: dict[str, int] = field(default_factory=dict)  # id: number of the pass
    unreadable: int = 0  # in the last pass

    async def batches(self) -> AsyncIterator[tuple[Asset, ...]]:
        """Every asset once, in batches, until a pass comes to rest (see the module's first lines)."""
        before = without_news = 0
        for number in count(1):
            this = _Pass(number)
            for search in self.searches(PAGE_SIZE - (number - 1) * _SIZE_STEP % _SIZE_SPAN):
                async for fresh in self._pages(search, this):
                    yield fresh
            if self.brief and not this.borders:
                break
            without_news = 0 if this.fresh else without_news + 1
            if without_news and without_news >= await self._enough(this, before):
                break
            before = this.distinct
        if this.unreadable and not this.distinct:
            raise Retryable(
                f"not one of {this.unreadable} items of the library could be read: this Immich, or what answers "
                "in its place, does not list assets as expected",
                kind="unreadable-listing",
            )
        self.unreadable = this.unreadable

    async def _pages(self, search: _Body, this: _Pass) -> AsyncIterator[tuple[Asset, ...]]:
        async for page in pages(self.client, search):
            this.borders |= page.next_page is not None or page.next_cursor is not None
            this.unreadable += page.unreadable
            if fresh := self._note(page.assets, this):
                yield fresh

    def _note(self, assets: Iterable[Asset], this: _Pass) -> tuple[Asset, ...]:
        """Count `assets` in, and return those that no pass has seen before."""
        fresh = []
        for asset in assets:
            last = self.last_seen.get(asset.id, 0)
            if last == this.number:
                continue
            self.last_seen[asset.id] = this.number
            this.distinct += 1
            this.kept += last == this.number - 1 and last > 0
            if not last:
                fresh.append(asset)
        this.fresh += len(fresh)
        return tuple(fresh)

    async def _enough(self, this: _Pass, before: int) -> int:
        """How many passes without news are enough, given what this one missed of the `before` seen by the last."""
        missed = before - this.kept
        if missed > _CALM_SHARE * before or (
            self.counted and await self._total() > len(self.last_seen) + this.unreadable
        ):
            return _RESTLESS_PASSES
        return _CALM_PASSES if missed else 1

    async def _total(self) -> int:
        return sum([await self.client.total(totals(search)) for search in self.searches(PAGE_SIZE)])
