"""One search, page after page, that ends even where the server never says so."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

from autotagger.errors import Retryable
from autotagger.immich.client import ImmichClient
from autotagger.immich.searches import following
from autotagger.immich.types import Page

#: Pages in a row without an asset that this listing has not had: the server goes round in circles.
_BARREN_PAGES = 50


async def pages(client: ImmichClient, search: Mapping[str, Any]) -> AsyncIterator[Page]:
    """Every page of a search.

    Raises Retryable (`endless-listing`) when the pages bring nothing new for long: empty ones, or the same assets
    again, each with a page that is to follow.
    """
    seen: set[str] = set()
    barren = 0
    body: Mapping[str, Any] | None = search
    while body is not None:
        page = await client.search(body)
        before = len(seen)
        seen.update(asset.id for asset in page.assets)
        barren = 0 if len(seen) > before else barren + 1
        if barren > _BARREN_PAGES:
            raise Retryable(
                f"Immich's search goes round in circles: {barren} pages in a row without a new asset, and always "
                "another page to follow; check the proxy in front of Immich",
                kind="endless-listing",
            )
        yield page
        body = following(body, page)
