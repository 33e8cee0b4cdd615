"""A stand-in Immich with a drawn library, so that everything can be tried and tested without a real server.

`draw_library` makes the pictures, `StandIn` serves them. The stand-in is as unkind as Immich: it loses tags to its
own background jobs, skips silently, pages with gaps. What it does was measured on real servers, never assumed.
"""

from autotagger.demo.immich import StandIn
from autotagger.demo.library import AssetSpec, Fate, Library, Media, Preview
from autotagger.demo.pictures import draw_library, pictures_from, tiny_library

__all__ = [
    "AssetSpec",
    "Fate",
    "Library",
    "Media",
    "Preview",
    "StandIn",
    "draw_library",
    "pictures_from",
    "tiny_library",
]
