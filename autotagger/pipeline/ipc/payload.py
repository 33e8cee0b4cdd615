"""What travels through a slot: a picture, or a film with its still frame."""

import struct
from dataclasses import dataclass

#: Begins a film in a slot; no picture begins like this.
_MAGIC = b"\0AUTOTAGGER FILM\0"
#: What begins a film: `_MAGIC`, whether it is an excerpt, and the bytes of its name and of its still frame.
_HEAD = struct.Struct(f"<{len(_MAGIC)}s?II")


@dataclass(frozen=True, slots=True)
class Film:
    """A video or animation in a file's form. `excerpt`: its frames are the ones to look at, every one of them."""

    body: bytes | memoryview
    excerpt: bool = False


@dataclass(frozen=True, slots=True)
class Parcel:
    """What a slot holds: a picture (`still`), or a film with its still frame. `name`: for messages."""

    still: memoryview
    film: Film | None = None
    name: str = ""


def pack_film(name: str, film: Film, still: bytes) -> bytes:
    """A film and the still frame to fall back to, as one body for a slot."""
    told = name.encode()
    return b"".join((_HEAD.pack(_MAGIC, film.excerpt, len(told), len(still)), told, still, film.body))


def unpack_body(body: memoryview) -> Parcel:
    """Undo `pack_film`. What only begins like a film is a picture, as anything is that Immich may send."""
    if len(body) < _HEAD.size:
        return Parcel(body)
    magic, excerpt, name_bytes, still_bytes = _HEAD.unpack(body[: _HEAD.size])
    still = _HEAD.size + name_bytes
    film = still + still_bytes
    if magic != _MAGIC or film > len(body):
        return Parcel(body)
    return Parcel(body[still:film], Film(body[film:], excerpt), str(body[_HEAD.size : still], errors="replace"))
