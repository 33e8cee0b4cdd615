"""A stand-in Immich with a drawn library, so that everything can be tried and tested without a real server.

`draw_library` makes the pictures, `StandIn` serves them. The stand-in is as unkind as Immich: it loses tags to
its own background jobs, skips silently, pages with gaps. What it does was measured on real servers, never
assumed (docs/immich.md).

Read in this order: `library` (what a library holds), `drawing`, `files` and `pictures` (how it is drawn),
`immich` (the server), `store` (its database), `gate` and `routes` (how a request is answered), `search` and
`queries`, `jobs` and `sidecar` (why tags get lost), `faults` (trouble on purpose) and `rehearsal` (what
`autotagger demo` runs).
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
