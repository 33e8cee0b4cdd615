"""The stand-in Immich in a process of its own, with a library of equal previews."""

import asyncio
import multiprocessing
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection

from aiohttp import web

from autotagger.bench.pictures import SIZE, TINY_SIZE, preview_bodies
from autotagger.demo.faults import Call
from autotagger.demo.immich import StandIn
from autotagger.demo.library import FIRST_UPLOAD_MS, AssetSpec, Library, Media, uuid4_from
from autotagger.errors import StartupFailed
from autotagger.pipeline.child.base import die_with_the_parent

#: Different pictures in a library; their previews stay in the stand-in's cache.
DIFFERENT = 24
_SPAWN = multiprocessing.get_context("spawn")


@dataclass(frozen=True, slots=True)
class Served:
    """Where the stand-in listens, and its process. `first_tag_s` asks when it was first told to tag an asset, on
    the machine's monotonic clock; None when it was not."""

    url: str
    api_key: str
    pid: int
    _questions: Connection

    def first_tag_s(self) -> float | None:
        self._questions.send("first tag")
        answer: float | None = self._questions.recv()
        return answer


@contextmanager
def served(assets: int, *, tiny: bool = False) -> Iterator[Served]:
    """A stand-in with `assets` pictures, until the block ends."""
    ours, theirs = _SPAWN.Pipe()
    process = _SPAWN.Process(target=_serve, args=(theirs, assets, tiny), name="autotagger bench server")
    process.start()
    theirs.close()
    try:
        try:
            url, key = ours.recv()
        except EOFError:
            raise StartupFailed("the stand-in Immich did not start; its reason stands above") from None
        yield Served(url, key, process.pid or 0, ours)
    finally:
        ours.close()
        process.join(10)
        process.kill()
        process.join()


def library(assets: int, *, tiny: bool = False) -> Library:
    """`assets` uploads that share a few pictures, each with a time and a name of its own."""
    source = random.Random(5)
    width, height = TINY_SIZE if tiny else SIZE
    media = [
        Media(f"bench-{number}", "image/jpeg", ".jpg", width, height, body.__bytes__)
        for number, body in enumerate(preview_bodies(min(DIFFERENT, assets), tiny=tiny))
    ]
    return Library(
        tuple(
            AssetSpec(
                id=uuid4_from(source),
                media=media[number % len(media)],
                file_name=f"bench-{number:06}.jpg",
                file_created_ms=FIRST_UPLOAD_MS + number * 1000,
                created_ms=FIRST_UPLOAD_MS + number * 1000,
            )
            for number in range(assets)
        )
    )


def _serve(questions: Connection, assets: int, tiny: bool) -> None:
    die_with_the_parent()
    asyncio.run(_Server(library(assets, tiny=tiny), questions).run())


class _Server:
    def __init__(self, contents: Library, questions: Connection) -> None:
        self._contents = contents
        self._questions = questions
        self._first_tag_s: float | None = None

    async def run(self) -> None:
        ended = asyncio.Event()

        def asked() -> None:
            try:
                self._questions.recv()
            except EOFError:  # the bench is done with us, or gone
                ended.set()
                asyncio.get_running_loop().remove_reader(self._questions.fileno())
            else:
                self._questions.send(self._first_tag_s)

        async with StandIn(self._contents, faults=self._watch) as server:
            # Encoded before anything is measured, and kept.
            for media in {asset.media for asset in self._contents.assets}:
                await server.world.media.get(media, "preview")
            self._questions.send((server.url, server.api_key))
            asyncio.get_running_loop().add_reader(self._questions.fileno(), asked)
            await ended.wait()

    async def _watch(self, call: Call) -> web.StreamResponse | None:
        if call.name == "tag_assets" and self._first_tag_s is None:
            self._first_tag_s = time.monotonic()
        return None
