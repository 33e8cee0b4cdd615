"""From the names of [select] to ids. An unknown one is an error: what it excludes would be tagged."""

import re
from collections.abc import Iterable, Mapping

from autotagger.days import Days
from autotagger.errors import BadConfig
from autotagger.mistakes import nearest
from autotagger.selection.globs import fits_name, has_wildcard
from autotagger.selection.rules import UPLOADS, Either, Rules
from autotagger.settings import SelectSettings

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)
#: As people write the library of what was uploaded.
UPLOADS_NAME = "uploads"
_KINDS = {"image": "IMAGE", "video": "VIDEO"}

#: Ids by name, of what there is. A name may come several times.
Known = Iterable[tuple[str, str]]


def is_id(text: str) -> bool:
    """Whether somebody named an id and no name."""
    return _ID.fullmatch(text) is not None


def needs_lookup(named: Iterable[str]) -> bool:
    """Whether names of libraries must be looked up: ids and `uploads` say themselves what they are."""
    return any(not is_id(one) and one.casefold() != UPLOADS_NAME for one in named)


def rules_of(select: SelectSettings, known: Mapping[str, Known]) -> Rules:
    """The rules of a selection. `known`: (id, name) of every album, person, tag and library, by `albums`,
    `people`, `tags` and `libraries`; what no key asks for may be missing. Raises BadConfig for an unknown name."""
    return Rules(
        kinds=frozenset(_KINDS[name] for name in select.types),
        visibilities=frozenset(select.visibilities),
        albums=_either("albums", select.albums, select.exclude_albums, known),
        people=_either("people", select.people, select.exclude_people, known),
        tags=_either("tags", select.tags, select.exclude_tags, known),
        libraries=_either("libraries", select.libraries, select.exclude_libraries, known),
        paths=select.paths,
        exclude_paths=select.exclude_paths,
        favorites_only=select.favorites_only,
        taken=Days.read(select.taken),
        uploaded=Days.read(select.uploaded),
        camera=select.camera,
    )


def _either(key: str, wanted: tuple[str, ...], unwanted: tuple[str, ...], known: Mapping[str, Known]) -> Either:
    there = list(known.get(key, ()))
    if key == "libraries":
        told = {one_id for one_id, _ in there}
        there += [(UPLOADS, UPLOADS_NAME)]
        there += [(one.lower(), "") for one in (*wanted, *unwanted) if is_id(one) and one.lower() not in told]
    excluded = _ids(f"exclude_{key}", unwanted, there)
    if not wanted:
        return Either(None, excluded)
    included = _ids(key, wanted, there)
    if not included:
        raise BadConfig(f"[select] {key}: nothing in Immich fits {', '.join(wanted)}, so nothing would be tagged")
    return Either(included - excluded, excluded)


def _ids(key: str, names: Iterable[str], there: list[tuple[str, str]]) -> frozenset[str]:
    found: set[str] = set()
    for name in names:
        mine = {one_id for one_id, own in there if name.lower() == one_id or (own and fits_name(own, name))}
        if not mine and not has_wildcard(name):
            raise BadConfig(
                f"[select] {key}: Immich has no {name}{nearest(name, [own for _, own in there if own])}"
            )
        found |= mine
    return frozenset(found)
