"""Requests to an active run: a small durable mailbox, one file a request, in a folder of `state_dir`.

Only the writer process may write the ledger. A command that finds the ledger in use posts what it wants done; the
supervisor's tick finds it, the writer carries it out, and only then is the file taken away: a request outlives
every crash, and whoever carries it out must not mind doing so twice. What nobody has taken up when a run ends is
taken up by the next one.
"""

import os
import secrets
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from loguru import logger

from autotagger.errors import StartupFailed
from autotagger.statedir import private_file, private_folder

FOLDER = "requests"
#: What a request may weigh: it goes through a channel to the writer, and no command has more to say.
MAX_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Request:
    """What a command wants done: `kind` names it (`retry`), `wish` says which. `id`: the file's name."""

    id: str
    kind: str
    wish: Mapping[str, Any]


class Mailbox:
    """The requests in a state folder: commands `post`, a supervisor hands out `fresh` ones and `settle`s."""

    def __init__(self, state_dir: Path) -> None:
        self._folder = state_dir / FOLDER
        self._handed: set[str] = set()

    def post(self, kind: str, /, **wish: Any) -> Request:
        """Leave a request, whole and on the disk, or not at all. Raises StartupFailed where it cannot be left."""
        request = Request(f"{time.time_ns():020}-{secrets.token_hex(4)}.json", kind, wish)
        body = orjson.dumps({"kind": kind, "wish": wish})
        part = self._folder / f".{request.id}.part"
        try:
            private_folder(self._folder.parent)
            private_folder(self._folder)
            with private_file(part) as file:
                file.write(body)
                file.flush()
                os.fsync(file.fileno())
            part.rename(self._folder / request.id)
        except OSError as error:
            raise StartupFailed(f"no request can be left in {self._folder}: {error.strerror}") from None
        return request

    def is_waiting(self, request: Request) -> bool:
        """Whether nobody has carried it out yet."""
        return (self._folder / request.id).exists()

    def fresh(self) -> list[Request]:
        """Requests that were not handed out yet, oldest first. One that makes no sense is put aside."""
        try:
            names = sorted(name for name in os.listdir(self._folder) if name.endswith(".json"))  # noqa: PTH208
        except OSError:  # nobody ever posted anything, or it cannot be read just now
            return []
        found = [self._read(name) for name in names if name not in self._handed]
        requests = [request for request in found if request]
        self._handed.update(request.id for request in requests)
        return requests

    def settle(self, request_id: str) -> None:
        """It is carried out, and the ledger says so."""
        (self._folder / request_id).unlink(missing_ok=True)
        self._handed.discard(request_id)

    def hand_out_again(self) -> None:
        """Whoever was to carry them out is gone."""
        self._handed.clear()

    def _read(self, name: str) -> Request | None:
        path = self._folder / name
        try:
            if path.stat().st_size > MAX_BYTES:
                raise ValueError("too large")
            content = orjson.loads(path.read_bytes())
            kind, wish = content["kind"], content["wish"]
            if not isinstance(kind, str) or not isinstance(wish, dict):
                raise ValueError("not a request")
        except OSError:  # taken back meanwhile; else nothing is wrong with it, and the next look may read it
            return None
        except (ValueError, KeyError, TypeError) as error:
            logger.warning("the request {} is invalid ({}); it is renamed to {}.bad", path, error, name)
            with suppress(OSError):  # it is met again, then
                path.rename(path.with_name(f"{name}.bad"))
            return None
        return Request(name, kind, wish)
