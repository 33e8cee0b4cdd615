"""A run's status made up, and systemd's end of the notify socket."""

import asyncio
import socket
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp

from autotagger.ledger.states import State
from autotagger.pipeline.supervisor.status import ProcessStatus, RunStatus
from autotagger.pipeline.supervisor.summary import Summary


def process(name: str = "fetcher", **changes: Any) -> ProcessStatus:
    return replace(ProcessStatus(name, 4_000_000, True, 0.5, 0.0), **changes)


def summary(*, states: dict[State, int] | None = None, **counts: int) -> Summary:
    return Summary(
        states=dict.fromkeys(State, 0) | (states or {}),
        counts=counts,
        failures={},
        seconds=100.0,
        device="CPU",
        unsettled=0,
    )


def run_status(*processes: ProcessStatus, **changes: Any) -> RunStatus:
    everybody = processes or tuple(map(process, ("writer", "fetcher", "inferencer 1")))
    stages = dict.fromkeys(("fetching", "fetched", "inferring", "recording"), 0)
    made = RunStatus(
        summary=summary(),
        processes=everybody,
        jobs=stages,
        slots=32,
        free_slots=32,
        listing=False,
        paused=False,
        idle_reason="",
        stopping=False,
        model="palette",
        model_identity="0123456789abcdef",
        server_version="3.0.3",
    )
    return replace(made, **changes)


HOST = "127.0.0.1"


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.create_server((HOST, 0)) as found:
        return int(found.getsockname()[1])


async def get(port: int, path: str) -> tuple[int, Any]:
    """Status and body (JSON decoded) of an answer of this machine."""
    async with aiohttp.ClientSession() as session, session.get(f"http://{HOST}:{port}{path}") as answer:
        body = await answer.text()
        return answer.status, await answer.json() if answer.content_type == "application/json" else body


class NotifySocket:
    """What systemd does with a service of Type=notify: it listens."""

    def __init__(self, path: Path) -> None:
        self.address = str(path)
        self.told: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind("\0" + self.address[1:] if self.address.startswith("@") else self.address)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def read(self) -> list[str]:
        """Everything that was told, as far as it has arrived."""
        while True:
            try:
                self.told += self._socket.recv(65536).decode().split("\n")
            except BlockingIOError:
                return self.told

    def without_status(self) -> list[str]:
        return [line for line in self.read() if not line.startswith("STATUS=")]

    async def hears(self, line: str, times: int = 1) -> None:
        """Wait until `line` was told so often."""
        while self.read().count(line) < times:  # noqa: ASYNC110 - it comes from another process
            await asyncio.sleep(0.02)
