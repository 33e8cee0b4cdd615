"""What goes into the ledger and comes out of it, as plain frozen values."""

from dataclasses import dataclass

from autotagger.ledger.schema import Probe, State


@dataclass(frozen=True, slots=True)
class ListedAsset:
    """What the sweep says of an asset. `kind`: IMAGE, ANIMATION or VIDEO. `updated_ms`: Immich's updatedAt."""

    asset_id: str
    owner_id: str
    library_id: str
    kind: str
    mime: str | None
    file_name: str
    checksum: str
    updated_ms: int


@dataclass(frozen=True, slots=True)
class Work:
    """An asset to be fetched and scored."""

    asset_id: str
    kind: str
    mime: str | None
    file_name: str


@dataclass(frozen=True, slots=True)
class ScoredAsset:
    """An asset whose tags can be decided. `model`: the ledger's id of the model that scored it."""

    key: int
    asset_id: str
    model: int
    packed: bytes


@dataclass(frozen=True, slots=True)
class ModelRow:
    """A model that scored something. `scores`: how many assets' scores of it are stored."""

    id: int
    identity: str
    name: str
    scores: int


@dataclass(frozen=True, slots=True)
class PlannedAsset:
    """An asset with the complete set of tags, marker included, that one call has to carry."""

    key: int
    asset_id: str
    updated_ms: int
    tags: frozenset[str]


@dataclass(frozen=True, slots=True)
class AppliedAsset:
    """An asset whose call was answered and which Immich has not proven yet."""

    key: int
    asset_id: str
    collection: int
    updated_ms: int
    answered_ms: int
    repairs: int
    suspect: int


@dataclass(frozen=True, slots=True)
class CollectionRow:
    """One owner's assets in one Immich library, and what their canary said."""

    id: int
    owner_id: str
    library_id: str
    state: Probe
    canary: int | None
    reason: str | None
    decided_ms: int | None


@dataclass(frozen=True, slots=True)
class Canary:
    """The asset that goes first in its collection, where it stands, and the class and text of its problem."""

    collection: int
    key: int
    state: State
    kind: str | None
    message: str | None


@dataclass(frozen=True, slots=True)
class Problem:
    """An asset that is failed, waiting or skipped, and why."""

    asset_id: str
    file_name: str
    state: State
    kind: str | None
    message: str | None
    attempts: int
    due_ms: int | None
