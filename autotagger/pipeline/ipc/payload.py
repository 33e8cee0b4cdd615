"""What travels through a slot: a picture, or a video or original with the picture to fall back to."""

import struct
from dataclasses import dataclass

#: Begins a video or an original in a slot; no picture begins like this.
_MAGIC = b"\0AUTOTAGGER VIDEO\0"
#: What begins it: `_MAGIC`, what it is, and the bytes of its name and of the picture to fall back to.
_HEAD = struct.Struct(f"<{len(_MAGIC)}sBII")
_VIDEO, _EXCERPT, _ORIGINAL = range(3)


@dataclass(frozen=True, slots=True)
class Video:
    """A video or animation in a file's form. `excerpt`: its frames are the ones to look at, every one of them."""

    body: bytes | memoryview
    excerpt: bool = False


@dataclass(frozen=True, slots=True)
class Payload:
    """What a slot holds: a picture (`still`), or a video or an original that it stands in for where that cannot be
    decoded. `name`: for messages."""

    still: memoryview
    video: Video | None = None
    original: memoryview | None = None
    name: str = ""


def pack_video(name: str, video: Video, still: bytes) -> bytes:
    """A video and the still frame to fall back to, as one body for a slot."""
    return _packed(_EXCERPT if video.excerpt else _VIDEO, name, still, video.body)


def pack_original(name: str, original: bytes, preview: bytes) -> bytes:
    """An original and the preview to fall back to, as one body for a slot."""
    return _packed(_ORIGINAL, name, preview, original)


def _packed(kind: int, name: str, still: bytes, body: bytes | memoryview) -> bytes:
    told = name.encode()
    return b"".join((_HEAD.pack(_MAGIC, kind, len(told), len(still)), told, still, body))


def unpack_body(body: memoryview) -> Payload:
    """Undo `pack_video` and `pack_original`. What only begins like one of theirs is a picture, as anything is that
    Immich may send."""
    if len(body) < _HEAD.size:
        return Payload(body)
    magic, kind, name_bytes, still_bytes = _HEAD.unpack(body[: _HEAD.size])
    still = _HEAD.size + name_bytes
    rest = still + still_bytes
    if magic != _MAGIC or kind > _ORIGINAL or rest > len(body):
        return Payload(body)
    name = str(body[_HEAD.size : still], errors="replace")
    if kind == _ORIGINAL:
        return Payload(body[still:rest], original=body[rest:], name=name)
    return Payload(body[still:rest], Video(body[rest:], kind == _EXCERPT), name=name)
