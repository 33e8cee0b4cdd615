"""Who may ask for health and metrics, for how long, and how many at once.

There is no password, and a page that a browser of this machine shows may ask addresses of this machine: it only
has to have its own name point there (DNS rebinding). So the name in the Host header has to be one that no stranger
can own: an address, a name without a dot (`localhost`, a container's or a machine's), one of a private network,
the machine's own, or one of `[service] allowed_hosts`. So it is whatever `listen_host` is, `0.0.0.0` included.
"""

import asyncio
import ipaddress
import re
from collections.abc import Awaitable, Callable, Iterable

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

#: From the connection to the end of the answer, which takes milliseconds: who sends his request slower is cut off.
DEADLINE_S = 5.0
#: Connections at once. One more, and the oldest is cut off: whoever holds some must not keep a health check out.
MAX_CONNECTIONS = 32
#: Suffixes that no public name server answers for (RFC 6761, 6762, 8375, ICANN's .internal), and usual ones.
_PRIVATE = (".localhost", ".local", ".home.arpa", ".internal", ".lan", ".localdomain")
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?", re.ASCII)

Answer = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Doorkeeper(web.Server):
    """aiohttp's server of one answer, with a deadline for every connection and a limit to their number."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer, access_log=None, keepalive_timeout=0.0)
        self._open: dict[RequestHandler, tuple[asyncio.Transport, asyncio.TimerHandle]] = {}

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        if len(self._open) >= MAX_CONNECTIONS:
            oldest, timer = self._open.pop(next(iter(self._open)))
            timer.cancel()
            oldest.abort()
        timer = asyncio.get_running_loop().call_later(DEADLINE_S, transport.abort)
        self._open[handler] = transport, timer

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        super().connection_lost(handler, exc)
        if handler in self._open:
            self._open.pop(handler)[1].cancel()


def is_known(host: str, allowed: Iterable[str]) -> bool:
    """Whether a Host header names something that no stranger can have point here."""
    found = _HOST.fullmatch(host)
    if found is None:
        return False
    name = found[1].rstrip(".").lower()
    if name in {other.rstrip(".").lower() for other in allowed} or name.endswith(_PRIVATE):
        return True
    return _is_address(name.strip("[]")) or "." not in name


def _is_address(name: str) -> bool:
    try:
        return bool(ipaddress.ip_address(name))
    except ValueError:
        return False
