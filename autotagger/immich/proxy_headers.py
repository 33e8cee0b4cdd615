"""Headers that a proxy in front of Immich asks for (Cloudflare Access, Pangolin, basic authentication).

Their values are secrets as the API key is: they come from files, go to Immich's own address alone, and are hidden
in whatever the server says. None of them can take the key's place.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from autotagger.errors import BadConfig

#: RFC 9110: what the name of a header is made of.
_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
#: Ours, and those that say how a message is to be read.
_NOT_FREE = frozenset(
    {
        *("accept", "accept-encoding", "connection", "content-encoding", "content-length", "content-type"),
        *("cookie", "expect", "host", "range", "te", "trailer", "transfer-encoding", "upgrade", "x-api-key"),
    }
)
#: Immich takes what these say before it looks for a key.
_OF_IMMICH = "x-immich-"
#: The largest header that nginx takes as it is shipped, in bytes.
_MAX_BYTES = 8 << 10


def read_proxy_headers(files: Mapping[str, Path]) -> dict[str, str]:
    """The headers by name, with the values that are in `files`. Raises BadConfig, which names the header and never
    its value."""
    return {name: _value(name, path) for name, path in files.items()}


def _value(name: str, path: Path) -> str:
    where = f"[immich.headers] {name}"
    lower = name.lower()
    if not _NAME.fullmatch(name):
        raise BadConfig(f"{where}: not the name of a header")
    if lower in _NOT_FREE or lower.startswith(_OF_IMMICH):
        raise BadConfig(f"{where}: not free: it belongs to the request, or would go before the API key")
    try:
        value = path.read_text(encoding="utf-8-sig").strip()
    except OSError as error:
        raise BadConfig(f"{where}: cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise BadConfig(f"{where}: {path} is no text") from None
    if not value or not value.isascii() or not value.isprintable() or len(value) > _MAX_BYTES:
        raise BadConfig(f"{where}: {path} must hold one line of plain characters")
    if lower == "authorization" and not value.lower().startswith("basic "):
        raise BadConfig(f"{where}: only basic authentication is free; Immich takes any other before the API key")
    return value
