"""The facts that checks judge, as plain frozen values; None is what could not be found out."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from autotagger.errors import Fatal
from autotagger.immich.types import Server, ServerVersion
from autotagger.settings import Settings
from autotagger.topology import Topology


@dataclass(frozen=True, slots=True)
class PreviewFact:
    """One picture as Immich sent it. Sides in pixels, 0 where it could not be decoded."""

    content_type: str
    width: int
    height: int
    byte_count: int


@dataclass(frozen=True, slots=True)
class Sample:
    """Pictures of the library. `missing`: assets asked for that have no picture yet; `seconds` took them all."""

    pictures: tuple[PreviewFact, ...]
    bodies: tuple[bytes, ...]
    missing: int
    seconds: float


@dataclass(frozen=True, slots=True)
class AccountFacts:
    """One user's key. `trouble`: why a run could not use it; `server`: None where Immich does not accept it."""

    name: str
    trouble: Fatal | None
    server: Server | None


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """Immich. The first of the `*_trouble` that is set ended the look; what comes after it is None or empty.

    With several accounts it is the first whose key works that all of this is about; `accounts` has every one, and
    `total` and `marked` are theirs together.

    `effects`: by permission, what Immich said when it was used: empty when it worked. `skew_s`: our clock minus
    Immich's. `counted_up_to`: where the key may not ask for totals, listing stopped at so many assets.
    """

    address: str = ""
    exposed: bool = False
    address_trouble: Fatal | None = None
    reach_trouble: Fatal | None = None
    version: ServerVersion | None = None
    version_trouble: Fatal | None = None
    key_trouble: Fatal | None = None
    server: Server | None = None
    effects: Mapping[str, str] = field(default_factory=dict)
    tags_enabled: bool | None = None
    latency_s: float | None = None
    skew_s: float | None = None
    total: int | None = None
    marked: int | None = None
    counted_up_to: int | None = None
    sample: Sample | None = None
    accounts: tuple[AccountFacts, ...] = ()


@dataclass(frozen=True, slots=True)
class RenderNode:
    """`/dev/dri/renderD128`. `group`: the id of its group; `vendor`: `0x8086` is Intel."""

    path: Path
    group: int
    usable: bool
    vendor: str


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """The machine, as this process may use it. `imaging`: what fills the folder PIL; `runtimes`: packages that
    fill onnxruntime's. `devices`: those that OpenVINO finds. Memory and disk in bytes."""

    cpu: str
    cpu_flags: frozenset[str]
    cores: int
    allowed_cores: int
    memory_bytes: int
    disk_bytes: int
    render_nodes: tuple[RenderNode, ...]
    has_opencl_driver: bool
    in_container: bool
    devices: frozenset[str]
    imaging: str
    formats_missing: tuple[str, ...]
    runtimes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """`to_download`: a model of the catalogue that `run` would fetch first; `download_bytes` where known.

    `device` is the one that a session really runs on, None when it was not opened. `memory_bytes`: what it added.
    """

    name: str
    labels: int | None = None
    to_download: bool = False
    download_bytes: int | None = None
    trouble: Fatal | None = None
    session_trouble: Fatal | None = None
    device: str | None = None
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class LedgerFacts:
    """`holder`: process id of the active run. `closed`: reasons of the libraries where tags do not stick.
    `lacking`: what a ledger needs and the file system does not have."""

    path: Path
    exists: bool
    writable: bool
    trouble: Fatal | None = None
    holder: str | None = None
    assets: int = 0
    failed: int = 0
    closed: tuple[str, ...] = ()
    lacking: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SpeedFacts:
    """`pictures` of the library decoded and scored in `seconds` on all cores that a run would use."""

    pictures: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything. `plan` is how a run would use the machine. `open_files`: files that show the key.
    `old_keys`: a line for each key of an earlier version that is set."""

    settings: Settings
    plan: Topology
    open_files: tuple[str, ...]
    old_keys: tuple[str, ...]
    server: ServerFacts
    machine: MachineFacts
    model: ModelFacts
    ledger: LedgerFacts
    speed: SpeedFacts | None = None
