"""What Immich tells us, as plain frozen values. `*_ms` are milliseconds since 1970 on the *server's* clock."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

Kind = Literal["IMAGE", "VIDEO"]
PictureSize = Literal["preview", "thumbnail", "original"]

#: A key with this permission may do everything.
ALL_PERMISSIONS = "all"


class Dialect(StrEnum):
    """The oldest server version that speaks the same way."""

    V2_7 = "2.7"
    V3_0 = "3.0"
    V3_2 = "3.2"


@dataclass(frozen=True, slots=True, order=True)
class ServerVersion:
    """As `GET /server/version` tells it; ordered as versions are."""

    major: int
    minor: int
    patch: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"


@dataclass(frozen=True, slots=True)
class Server:
    """What the checks before a run found out. `user_id` is None when the key may not read it."""

    version: ServerVersion
    dialect: Dialect
    permissions: frozenset[str]
    user_id: str | None

    def may(self, permission: str) -> bool:
        """Whether the key holds `permission` (`asset.download`), by name or through `all`."""
        return permission in self.permissions or ALL_PERMISSIONS in self.permissions


@dataclass(frozen=True, slots=True)
class Asset:
    """One picture or video, as search and `GET /assets/{id}` describe it.

    `library_id` is None for uploads. `checksum` is the base64 SHA-1 of the original, `thumbhash` changes with
    the picture's looks and is None until the thumbnail exists. `updated_ms` is not changed by a tag call but by
    the background jobs that follow it, see `settled`. `created_ms`: when Immich took it in.
    `duration_ms` of videos and animations, None without. `path`: of the original, None where Immich does not say;
    `taken_ms`: by the camera's own time, as if that were UTC; `make`: of the camera, only told `with_exif`.
    """

    id: str
    owner_id: str
    library_id: str | None
    kind: Kind
    visibility: str
    mime: str | None
    checksum: str
    thumbhash: str | None
    file_name: str
    updated_ms: int
    trashed: bool
    created_ms: int
    duration_ms: int | None = None
    path: str | None = None
    taken_ms: int | None = None
    favorite: bool = False
    make: str | None = None


@dataclass(frozen=True, slots=True)
class TaggedAsset:
    """An asset with the *values* (full names) of its tags."""

    asset: Asset
    tags: frozenset[str]


@dataclass(frozen=True, slots=True)
class Tag:
    """`value` is the full name, with `/` between the levels of a hierarchy; `updated_ms`: when it was last written
    (an upsert writes it), by the database's clock; 0 where Immich does not say."""

    id: str
    value: str
    updated_ms: int = 0


@dataclass(frozen=True, slots=True)
class Named:
    """An album, a person or an external library. `name` may be empty, and is not unique."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture's bytes as Immich sent them."""

    body: bytes
    content_type: str


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes of a file from `start` on; `total`: of the whole file. All of it where Immich knows no ranges."""

    body: bytes
    start: int
    total: int


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a search. `unreadable` counts the items that were left out because they made no sense."""

    assets: tuple[Asset, ...]
    next_page: int | None = None
    next_cursor: str | None = None
    unreadable: int = 0


def settled(before_ms: int, now_ms: int, called_ms: int) -> bool:
    """Whether Immich's background jobs have written back what our tag call changed.

    All three are times of the database's clock: `before_ms`, the asset's updatedAt read before the call; `now_ms`,
    read now; `called_ms`, the time just before the call (docs/immich.md, law 12). Settled means changed, and not
    changed before the call.
    """
    return now_ms != before_ms and now_ms >= called_ms
