"""What goes into the ledger and comes out of it, as plain frozen values."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from autotagger.ledger.states import LinkState, Probe, State, What


@dataclass(frozen=True, slots=True)
class ListedAsset:
    """What a listing says of an asset. `kind`: IMAGE, ANIMATION or VIDEO. `updated_ms`: Immich's updatedAt;
    `ready`: Immich is done with the upload itself."""

    asset_id: str
    owner_id: str
    library_id: str
    kind: str
    mime: str | None
    file_name: str
    checksum: str
    updated_ms: int
    thumbhash: str | None = None
    ready: bool = True


@dataclass(frozen=True, slots=True)
class Work:
    """An asset to be fetched and scored. `account`: the ledger's id of the account whose key reads it."""

    asset_id: str
    kind: str
    mime: str | None
    file_name: str
    account: int = 1
    checksum: str = ""


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
    """An asset whose call is to be made: it puts on `tags` (the complete set, marker included), or, where tags
    are `leaving`, it is a wave that takes them off. `fresh`: its first call, so that afterwards its marker proves
    all of its tags."""

    key: int
    asset_id: str
    updated_ms: int
    tags: frozenset[str]
    leaving: frozenset[str] = frozenset()
    fresh: bool = True


@dataclass(frozen=True, slots=True)
class StaleAsset:
    """An asset to be read, compared with what the ledger knows of its tags, and planned."""

    key: int
    asset_id: str
    links: Mapping[str, LinkState]


@dataclass(frozen=True, slots=True)
class Selection:
    """Which links of ours a command means; what is None selects everything. `model`: a model's name; `unselected`:
    only of assets that are not in the selection any more."""

    run: int | None = None
    model: str | None = None
    tag: str | None = None
    asset_id: str | None = None
    unselected: bool = False


@dataclass(frozen=True, slots=True)
class RestingAsset:
    """A verified asset: what the ledger knows of it, to be compared with Immich."""

    key: int
    asset_id: str
    file_name: str
    checksum: str
    links: Mapping[str, LinkState]


@dataclass(frozen=True, slots=True)
class Change:
    """What a look at an asset brought: `links` whose state is another now, those `forgotten`, and its next `call`,
    which puts on all that is meant or, with a `wave`, takes these tags off. `updated_ms`: Immich's updatedAt at
    that look; `again`: the call repairs what an earlier one did not bring about."""

    key: int
    links: Mapping[str, LinkState]
    updated_ms: int
    call: bool
    wave: frozenset[str] = frozenset()
    again: bool = False
    forgotten: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class AppliedAsset:
    """An asset whose call was answered and which Immich has not proven yet.

    `moved`: where a rating had it moved to; `is_wave`: the call took tags off.
    """

    key: int
    asset_id: str
    collection: int
    updated_ms: int
    answered_ms: int
    repairs: int
    suspect: int
    moved: str | None = None
    is_wave: bool = False


@dataclass(frozen=True, slots=True)
class RatedAsset:
    """A verified asset and the tags that we mean it to have. `moved`: where a rating had it moved to."""

    key: int
    asset_id: str
    moved: str | None
    tags: frozenset[str]


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
class Stranger:
    """An asset that somebody else marked. `got_it`: after we had listed it without the marker."""

    key: int
    asset_id: str
    got_it: bool


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


@dataclass(frozen=True, slots=True)
class AssetFilter:
    """Which assets a listing is about; what is empty selects everything. `error`: class of trouble; `tag`: held
    now; `model`: its scores' model, by name; `run`: that decided its tags last; `name`: pattern of the file name
    with `*`, `?` and `[...]`; `account`: the ledger's id of it; `after`: only keys above it."""

    states: tuple[State, ...] = ()
    error: str | None = None
    tag: str | None = None
    model: str | None = None
    run: int | None = None
    collection: int | None = None
    name: str | None = None
    account: int | None = None
    asset_id: str | None = None
    after: int = 0

    def behind(self, key: int) -> "AssetFilter":
        """The same, further on."""
        return replace(self, after=key)


@dataclass(frozen=True, slots=True)
class AssetRow:
    """An asset as people see it. `model`: who made its scores; `policy` and `run`: what decided its tags last."""

    key: int
    asset_id: str
    file_name: str
    state: State
    error_kind: str | None
    error: str | None
    attempts: int
    repairs: int
    due_ms: int | None
    kind: str
    mime: str | None
    checksum: str
    updated_ms: int
    answered_ms: int | None
    collection: int
    library_id: str
    account: str
    model: str | None
    policy: str | None
    run: int | None


@dataclass(frozen=True, slots=True)
class LinkRow:
    """A tag of an asset. `model`, `policy` (the ledger's number) and `run`: where it comes from, None where it is
    somebody else's."""

    tag: str
    state: LinkState
    model: str | None
    policy: int | None
    run: int | None


@dataclass(frozen=True, slots=True)
class Deed:
    """A line of an asset's history."""

    at_ms: int
    run: int | None
    what: What
    note: str | None


@dataclass(frozen=True, slots=True)
class Rejection:
    """A tag of ours that a person took off an asset."""

    asset_id: str
    file_name: str
    tag: str
    model: str | None
    run: int | None


@dataclass(frozen=True, slots=True)
class HeldAsset:
    """A marked asset as Immich holds it: the tags that are `ours` (marker included), and those of `others`."""

    asset_id: str
    ours: frozenset[str]
    others: frozenset[str]
