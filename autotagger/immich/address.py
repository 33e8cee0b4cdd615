"""Immich's address, in any form a person types, made into the root of its API."""

import ipaddress
import re

from yarl import URL

from autotagger.errors import BadConfig
from autotagger.keylike import holds_key

_EXAMPLE = "for example http://192.168.1.100:2283 or https://photos.example.org"
#: Suffixes that no public name server answers for (RFC 6761, 6762, 8375, ICANN's .internal), and the usual ones
#: of home routers.
_PRIVATE_NAMES = (".localhost", ".local", ".home.arpa", ".internal", ".lan", ".home", ".localdomain", ".box")
_SCHEME = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*://")


def api_root(base_url: str) -> URL:
    """The URL that every API path is appended to: `http://192.168.1.100:3000/api`.

    `base_url` may lack the scheme (http, or https for port 443), end in `/api` or slashes, have a path of its
    own (`https://host/sub/path`), be quoted, or carry a query left over from a browser. Raises BadConfig for
    anything that is no address, and for a user or password in it: it would end up in logs.
    """
    text = base_url.strip().strip("\"'").strip()
    if not text:
        raise BadConfig(f"no address of Immich: set IMMICH_BASE_URL, or base_url in [immich], {_EXAMPLE}")
    if holds_key(text):
        raise BadConfig(f"base_url holds what looks like an API key: it must be the address alone, {_EXAMPLE}")
    if not _SCHEME.match(text):
        text = f"http://{text}"
    try:
        url = URL(text)
        host, port = url.host, url.explicit_port
    except ValueError:
        raise BadConfig(f"base_url {_shown(text)} is not an address: {_EXAMPLE}") from None
    if url.scheme not in ("http", "https") or not host or re.search(r"\s", text):
        raise BadConfig(f"base_url {_shown(text)} is not an http or https address: {_EXAMPLE}")
    if url.user is not None or url.password is not None or "@" in url.path:  # a password may hold a slash
        raise BadConfig("base_url must hold no user and password; Immich takes the API key only")
    if port == 443 and not _SCHEME.match(base_url.strip().strip("\"'").strip()):
        url = url.with_scheme("https")
    steps = [step for step in url.path.split("/") if step]
    if steps[-1:] != ["api"]:
        steps.append("api")
    return url.origin().joinpath(*steps)


def is_exposed(api: URL) -> bool:
    """Whether the API key would travel unencrypted where strangers may listen: plain http, not to this machine,
    a private network, or a name that only a private network knows."""
    host = (api.host or "").rstrip(".").lower()
    if api.scheme != "http":
        return False
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        return "." in host and not host.endswith(_PRIVATE_NAMES)


def _shown(text: str) -> str:
    """`text` for a message, without what may be a password or a key: all before the last `@`, and the query."""
    scheme, _, rest = text.partition("://")
    rest = re.split(r"[?#]", rest.rpartition("@")[2])[0]
    return repr(f"{scheme}://{rest}")
