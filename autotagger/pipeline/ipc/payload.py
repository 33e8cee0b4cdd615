"""What travels through a slot: a picture, or a video with its still frame."""

import struct
from dataclasses import dataclass

#: Begins a video in a slot; no picture begins like this.
_MAGIC = b"\0AUTOTAGGER FILM\0"
#: What begins a video: `_MAGIC`, whether it is an excerpt, and the bytes of its name and of its still frame.
_HEAD = struct.Struct(f"<{len(_MAGIC)}s?II")


@dataclass(frozen=True, slots=True)
class Video:
    """A video or animation in a file's form. `excerpt`: its frames are the ones to look at, every one of them."""

    body: bytes | memoryview
    excerpt: bool = False


@dataclass(frozen=True, slots=True)
class Payload:
    """What a slot holds: a picture (`still`), or a video with its still frame. `name`: for messages."""

    still: memoryview
    video: Video | None = None
    name: str = ""


def pack_video(name: str, video: Video, still: bytes) -> bytes:
    """A video and the still frame to fall back to, as one body for a slot."""
    told = name.encode()
    return b"".join((_HEAD.pack(_MAGIC, video.excerpt, len(told), len(still)), told, still, video.body))


def unpack_body(body: memoryview) -> Payload:
    """Undo `pack_video`. What only begins like a video is a picture, as anything is that Immich may send."""
    if len(body) < _HEAD.size:
        return Payload(body)
    magic, excerpt, name_bytes, still_bytes = _HEAD.unpack(body[: _HEAD.size])
    still = _HEAD.size + name_bytes
    video = still + still_bytes
    if magic != _MAGIC or video > len(body):
        return Payload(body)
    return Payload(
        body[still:video], Video(body[video:], excerpt), str(body[_HEAD.size : still], errors="replace")
    )
