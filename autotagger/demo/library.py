"""What a library holds when the stand-in starts: immutable, shared between servers, cheap at 100,000 assets."""

import hashlib
import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import cached_property

ME = "5b137f60-0c51-41a8-8d14-9bc60d0fbe8e"
"""User id of the owner of the stand-in's first key."""
PARTNER = "276b5ea1-1af5-40be-aa70-769dd1fe11c3"
"""A user who shares the timeline with us: listed in our searches, never ours to tag."""
STRANGER = "90f7f1a1-6a0c-4a2b-9a55-6e1f7c0b6b5d"
"""A user who shares nothing with us."""
READ_ONLY_LIBRARY = "bb0a6b75-b836-4db5-a291-6e6394d8f2b4"
"""External library mounted read-only: Immich cannot write an .xmp beside its files (law 11)."""
WRITABLE_LIBRARY = "3c9d0f0e-41a7-4a5e-8a6e-0d4f4b6f6d11"
"""External library mounted writable: behaves like an upload."""

FIRST_UPLOAD_MS = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp() * 1000)


class Fate(StrEnum):
    """What must become of an asset when autotagger works on the library. The demo's report is held against it."""

    GOOD = "good"  # tagged and marked
    WAITING = "waiting"  # no preview yet; becomes good once `generate_previews` was called
    CORRUPT = "corrupt"  # never gets a preview: 404 for ever, not to be told from waiting
    BROKEN = "broken"  # its preview cannot be decoded
    READ_ONLY = "read_only"  # tags do not stick
    PARTNER = "partner"  # listed, but not ours
    STRANGER = "stranger"  # not listed, not ours
    HIDDEN = "hidden"  # the video half of a motion photo
    TRASHED = "trashed"
    LOCKED = "locked"


class Preview(StrEnum):
    """When, and whether, Immich has preview and thumbnail of an asset."""

    READY = "ready"
    LATER = "later"
    NEVER = "never"
    TRUNCATED = "truncated"  # the file on Immich's disk ends in the middle


@dataclass(frozen=True, slots=True, eq=False)
class Media:
    """One file's content. Assets may share it. `original` makes its bytes anew at every call: lazy, nothing held.

    `still`: bytes of the picture that stands for a file that is not one (a video); None where the original is one.
    `width`, `height`: pixels as seen, EXIF rotation applied. `duration_ms`: of videos and animations.
    """

    key: str
    mime: str
    suffix: str
    width: int
    height: int
    original: Callable[[], bytes]
    still: Callable[[], bytes] | None = None
    duration_ms: int | None = None
    transparent: bool = False

    @property
    def kind(self) -> str:
        return "VIDEO" if self.mime.startswith("video/") else "IMAGE"


@dataclass(frozen=True, slots=True, eq=False)
class AssetSpec:
    """One asset as it is when the server starts. Times in epoch milliseconds."""

    id: str
    media: Media
    file_name: str
    file_created_ms: int
    created_ms: int
    fate: Fate = Fate.GOOD
    owner_id: str = ME
    library_id: str | None = None
    visibility: str = "timeline"
    preview: Preview = Preview.READY
    trashed: bool = False
    motion_video_id: str | None = None
    awkward: str = ""
    """Name of the awkward kind (`cmyk`, `exif-rotated`...), empty for an ordinary picture."""
    content: str = ""
    """The same for several users' uploads of one file; empty for a file that nobody else has."""
    albums: tuple[str, ...] = ()
    """Names of its owner's albums that it is in; `people`: names of the people it shows."""
    people: tuple[str, ...] = ()
    favorite: bool = False
    make: str | None = None
    """Of the camera, as its metadata say."""
    folder: str = ""
    """Where the original lies; empty: where Immich puts uploads."""

    @property
    def read_only(self) -> bool:
        return self.library_id == READ_ONLY_LIBRARY

    @property
    def checksum(self) -> bytes:
        """20 bytes like a SHA-1, one an asset (Immich refuses a user's second file of the same content), made
        without drawing the file: a listing of 100,000 assets must not render them."""
        return hashlib.sha1(f"{self.media.key}/{self.content or self.id}".encode(), usedforsecurity=False).digest()

    @property
    def original_path(self) -> str:
        if self.folder:
            return f"{self.folder}/{self.file_name}"
        if self.library_id is not None:
            return f"/external/{self.library_id[:8]}/{self.file_name}"
        return f"/data/upload/{self.owner_id}/{self.id[:2]}/{self.id[2:4]}/{self.id}{self.media.suffix}"


@dataclass(frozen=True)
class Library:
    """All assets a stand-in starts with."""

    assets: tuple[AssetSpec, ...]
    seed: int = 0

    @cached_property
    def expected(self) -> dict[Fate, frozenset[str]]:
        """The ground truth: asset ids by what must become of them; every fate is a key."""
        return {fate: frozenset(a.id for a in self.assets if a.fate is fate) for fate in Fate}

    def awkward(self, kind: str) -> AssetSpec:
        """The first asset of an awkward kind. Raises KeyError when the library is too small to hold one."""
        for asset in self.assets:
            if asset.awkward == kind:
                return asset
        raise KeyError(kind)


def id_of_name(kind: str, owner: str, name: str) -> str:
    """The id of an owner's album or person."""
    return uuid4_from(random.Random(f"{kind}/{owner}/{name}"))


def uuid4_from(source: random.Random) -> str:
    """A UUID v4 that the seed decides."""
    return str(uuid.UUID(int=source.getrandbits(128), version=4))
