"""The predicate: is an asset ours to tag, and if not, why not?"""

from dataclasses import dataclass
from typing import Literal

from autotagger.days import ALWAYS, Days
from autotagger.selection.globs import fits_path

#: The library of what was uploaded, which has no id in Immich.
UPLOADS = ""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An asset, as far as the rules ask. `albums`, `people`, `tags`: ids, at least of those that the rules name;
    `library`: id, or UPLOADS; `path`: None where it is not known; times in epoch milliseconds; `make`: of the
    camera, None without."""

    kind: str
    visibility: str
    library: str = UPLOADS
    path: str | None = None
    albums: frozenset[str] = frozenset()
    people: frozenset[str] = frozenset()
    tags: frozenset[str] = frozenset()
    favorite: bool = False
    taken_ms: int | None = None
    uploaded_ms: int = 0
    make: str | None = None


@dataclass(frozen=True, slots=True)
class Either:
    """Ids of which an asset must have one (`wanted`; None: need not have any) and none (`unwanted`)."""

    wanted: frozenset[str] | None = None
    unwanted: frozenset[str] = frozenset()

    def allows(self, held: frozenset[str]) -> bool:
        """Whether an asset that has these fits."""
        return (self.wanted is None or not held.isdisjoint(self.wanted)) and held.isdisjoint(self.unwanted)


ANY = Either()


@dataclass(frozen=True, slots=True)
class Rules:
    """[select] with ids in the place of names."""

    kinds: frozenset[str]
    visibilities: frozenset[str]
    albums: Either = ANY
    people: Either = ANY
    tags: Either = ANY
    libraries: Either = ANY
    paths: tuple[str, ...] = ()
    exclude_paths: tuple[str, ...] = ()
    favorites_only: bool = False
    taken: Days = ALWAYS
    uploaded: Days = ALWAYS
    camera: Literal["tag", "skip", "only"] = "tag"

    def misfit(self, asset: Candidate) -> str:
        """Why an asset is not ours to tag, by the key of [select]; empty where it is."""
        return self.misfit_by_itself(asset) or next(
            (
                key
                for key, rule, held in (
                    ("albums", self.albums, asset.albums),
                    ("people", self.people, asset.people),
                    ("tags", self.tags, asset.tags),
                )
                if not rule.allows(held)
            ),
            "",
        )

    def misfit_by_itself(self, asset: Candidate) -> str:
        """The same by what a listing tells of an asset alone: albums, people and tags are not asked."""
        checks = (
            ("types", asset.kind in self.kinds),
            ("visibilities", asset.visibility in self.visibilities),
            ("libraries", self.libraries.allows(frozenset({asset.library}))),
            ("paths", self._path_fits(asset.path)),
            ("favorites_only", asset.favorite or not self.favorites_only),
            ("taken", self.taken.always or (asset.taken_ms is not None and self.taken.hold(asset.taken_ms))),
            ("uploaded", self.uploaded.hold(asset.uploaded_ms)),
            ("camera", self.camera == "tag" or (self.camera == "only") is (asset.make is not None)),
        )
        return next((key for key, fits in checks if not fits), "")

    def _path_fits(self, path: str | None) -> bool:
        if path is None:  # nobody can tell that it is none of those to be left out
            return not (self.paths or self.exclude_paths)
        return (not self.paths or fits_path(path, self.paths)) and not fits_path(path, self.exclude_paths)

    @property
    def names_members(self) -> bool:
        """Whether an asset must be in an album, show a person or hold a tag."""
        return any(rule.wanted is not None for rule in (self.albums, self.people, self.tags))
