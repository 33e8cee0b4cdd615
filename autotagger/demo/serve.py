"""The stand-in in a process of its own, as `autotagger demo --serve` runs it."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson

from autotagger.demo.immich import StandIn
from autotagger.demo.pictures import AWKWARD, draw_library, pictures_from
from autotagger.errors import StartupFailed


@dataclass(frozen=True, slots=True)
class DemoLibrary:
    """Which library to serve, and as which Immich. `source` None: drawn pictures, `pictures` ordinary ones."""

    pictures: int
    dialect: str
    source: Path | None = None
    port: int = 0

    def stand_in(self) -> StandIn:
        library = pictures_from(self.source) if self.source else draw_library(self.pictures + len(AWKWARD), seed=1)
        return StandIn(library, self.dialect, port=self.port)

    def command(self) -> list[str]:
        """The command line that serves this library."""
        command = [sys.executable, "-m", "autotagger", "demo", "--serve", "--dialect", self.dialect]
        command += ["--pictures", str(self.pictures), "--port", str(self.port)]
        return command + (["--from", str(self.source)] if self.source else [])


async def serve_until_interrupted(library: DemoLibrary) -> None:
    """Serve; print `{"url", "api_key"}` on one line when ready; end on SIGINT or SIGTERM."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        async with library.stand_in() as server:
            print(orjson.dumps({"url": server.url, "api_key": server.api_key}).decode(), flush=True)
            await stop.wait()
    except OSError as error:
        raise StartupFailed(f"the stand-in cannot listen on port {library.port}: {error.strerror}") from None


@asynccontextmanager
async def served(library: DemoLibrary) -> AsyncIterator[tuple[str, str]]:
    """Url and API key of the stand-in in a child process, which ends with the block."""
    process = await asyncio.create_subprocess_exec(*library.command(), stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        line = await process.stdout.readline()
        if not line:
            raise StartupFailed("the stand-in Immich did not start; its reason stands above")
        address = orjson.loads(line)
        yield address["url"], address["api_key"]
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
