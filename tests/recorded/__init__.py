"""What real Immich servers said: recorded exchanges, good and bad, and of their own OpenAPI documents (Immich's,
under the AGPL as autotagger is) what concerns the calls that autotagger makes or the stand-in answers.

`python -m tests.recorded openapi.json` prints that part of a whole document.
"""

import json
import re
from pathlib import Path
from typing import Any

#: Versions of the recordings, and the dialect of each.
VERSIONS = {"2.7.5": "2.7", "3.0.3": "3.0"}
#: What is kept of a document.
PATHS = (
    *(f"/server/{what}" for what in ("version", "ping", "features")),
    *("/api-keys/me", "/users/me", "/users/me/preferences", "/queues", "/jobs", "/albums", "/people"),
    "/libraries",
    *(f"/search/{what}" for what in ("metadata", "random", "statistics")),
    *(f"/assets/{{id}}{what}" for what in ("", "/thumbnail", "/original", "/video/playback")),
    *("/tags", "/tags/{id}", "/tags/assets", "/tags/{id}/assets"),
)
_FOLDER = Path(__file__).parent
_REFERENCE = re.compile(r'"#/components/schemas/([^"]+)"')


def exchanges(version: str) -> list[dict[str, Any]]:
    """In their order: `name`, `request` (method, path, body) and `response` (status, headers, body)."""
    return json.loads((_FOLDER / f"immich-{version}-examples.json").read_text())  # type: ignore[no-any-return]


def document(version: str) -> dict[str, Any]:
    """The part of a server's OpenAPI document."""
    return json.loads((_FOLDER / f"immich-{version}-openapi.json").read_text())  # type: ignore[no-any-return]


def part_of(whole: dict[str, Any]) -> dict[str, Any]:
    """`PATHS` of an OpenAPI document, with every schema that they refer to."""
    paths = {path: whole["paths"][path] for path in PATHS}
    schemas: dict[str, Any] = {}
    unread: list[Any] = [paths]
    while unread:
        for name in _REFERENCE.findall(json.dumps(unread.pop())):
            if name not in schemas:
                schemas[name] = whole["components"]["schemas"][name]
                unread.append(schemas[name])
    kept = {"openapi": whole["openapi"], "info": whole["info"], "paths": paths}
    return kept | {"components": {"schemas": dict(sorted(schemas.items()))}}
