"""Pictures to calibrate with and to judge by: a random part of the user's library, or of a folder."""

import asyncio
import random
from collections.abc import Callable
from pathlib import Path

from autotagger.config import api_key
from autotagger.errors import AssetFailed, BadConfig, Retryable
from autotagger.immich.client import ImmichClient
from autotagger.immich.dialect import speaks_filter
from autotagger.immich.searches import random_search
from autotagger.settings import Settings
from autotagger.tagger.suffixes import PICTURES

#: Immich answers at most so many at a time; each draw is independent, so repeats are asked for again this often.
_AT_ONCE, _DRAWS = 1000, 5
_CONNECTIONS = 4

#: Name and bytes.
Sample = list[tuple[str, bytes]]


def from_folder(folder: Path, count: int, seed: int = 0) -> Sample:
    """At most `count` pictures of a folder and below it, drawn by chance. Raises BadConfig for one without any."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURES and path.is_file())
    if not paths:
        raise BadConfig(f"{folder} holds no picture")
    random.Random(seed).shuffle(paths)
    return [(str(path), path.read_bytes()) for path in paths[:count]]


async def from_library(settings: Settings, count: int, say: Callable[[str], None]) -> Sample:
    """Previews of at most `count` different pictures of the timeline, drawn by Immich.

    Pictures whose preview is not there are left out. Raises Unreachable or ServerRefused.
    """
    async with ImmichClient(settings.immich, api_key(settings.immich)) as client:
        drawn: dict[str, str] = {}
        filters = await speaks_filter(client)
        for _ in range(_DRAWS):
            if len(drawn) < count:
                found = await client.random(random_search(min(count, _AT_ONCE), filters=filters))
                drawn.update((asset.id, asset.file_name) for asset in found if asset.kind == "IMAGE")
        limit, bodies = asyncio.Semaphore(_CONNECTIONS), []

        async def fetch(asset_id: str, name: str) -> None:
            async with limit:
                try:
                    picture = await client.picture(asset_id, "preview")
                except (AssetFailed, Retryable):
                    return
            bodies.append((name, picture.body))
            if len(bodies) % 100 == 0:
                say(f"{len(bodies)} previews downloaded")

        await asyncio.gather(*(fetch(*entry) for entry in list(drawn.items())[:count]))
    return bodies
