"""What arrived in a library lately, and which of it Immich is done with.

Immich works on an upload for a while: it reads the metadata, then makes thumbnail and preview. A tag call into a
running metadata extraction loses tags (docs/immich.md, law 1). The sign that it has ended: `withExif` searches
leave out what Immich has not read the metadata of yet.
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from itertools import product

from autotagger.immich.client import ImmichClient
from autotagger.immich.dialect import speaks_filter
from autotagger.immich.paging import pages
from autotagger.immich.searches import ANYWHERE, Narrowing, search_body
from autotagger.immich.sweep import Listed, choice_of
from autotagger.immich.types import Kind, Page, Server


async def arrived(
    client: ImmichClient,
    server: Server,
    *,
    after_ms: int,
    types: Iterable[str],
    visibilities: Sequence[str],
    within: Sequence[Narrowing] = (ANYWHERE,),
) -> AsyncIterator[Listed]:
    """List what was taken in after `after_ms` (the server's clock), page by page, marked or not; of what one of
    the narrowings describes.

    One pass: an asset that offset paging skips is seen by the next poll, which begins before the end of this one,
    or by the next sweep. Raises what `ImmichClient.search` raises.
    """
    choice = choice_of(server, types, visibilities)
    async for page in _pages(client, after_ms, choice.kind, visibilities, within, with_exif=False):
        wanted = tuple(asset for asset in page.assets if choice.wants(asset))
        yield Listed(wanted, unreadable=page.unreadable)


async def extracted(
    client: ImmichClient,
    *,
    after_ms: int,
    visibilities: Sequence[str],
    within: Sequence[Narrowing] = (ANYWHERE,),
) -> set[str]:
    """The ids of what was taken in after `after_ms` and whose metadata Immich has read."""
    ready: set[str] = set()
    async for page in _pages(client, after_ms, None, visibilities, within, with_exif=True):
        ready.update(asset.id for asset in page.assets)
    return ready


async def _pages(
    client: ImmichClient,
    after_ms: int,
    kind: Kind | None,
    visibilities: Sequence[str],
    within: Sequence[Narrowing],
    *,
    with_exif: bool,
) -> AsyncIterator[Page]:
    filters = await speaks_filter(client)
    for visibility, narrowing in product(visibilities, within):
        body = search_body(
            filters=filters,
            visibility=visibility,
            kind=kind,
            created_after_ms=after_ms,
            with_exif=with_exif,
            within=narrowing,
        )
        async for page in pages(client, body):
            yield page
