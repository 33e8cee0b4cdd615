"""What the processes say to each other."""

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

from autotagger.ledger.rows import ListedAsset, Selection, Work
from autotagger.pipeline.control.mailbox import Request


class Next(StrEnum):
    """What happens to an asset after something went wrong with it."""

    RETRY = "retry"  # temporary: again after a while, a limited number of times
    WAIT = "wait"  # Immich has no preview yet: come back
    NEVER = "never"  # permanent for this asset
    GONE = "gone"  # Immich no longer has it
    PAUSED = "paused"  # its account's key is refused: again when it is not, and no attempt is counted
    UNBLAMED = "unblamed"  # Immich is unreachable: again, and no attempt is counted


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why one asset cannot go on. `kind`: short slug for ledger and metrics."""

    next: Next
    kind: str
    message: str


@dataclass(frozen=True, slots=True)
class Operation:
    """What is asked for. `selection`: of undo; `sample`: share of the assets that verify reads; `repair`: whether
    it mends what it finds, `deleted_tags`: also tags that somebody deleted in Immich."""

    kind: Literal["retag", "undo", "verify"]
    selection: Selection = field(default_factory=Selection)
    sample: float = 1.0
    repair: bool = False
    deleted_tags: bool = False


# -- supervisor to fetcher ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sweep:
    """List the library, as the ledger's sweep `number`. A listing under way is given up."""

    number: int


@dataclass(frozen=True, slots=True)
class Poll:
    """List what Immich took in after `after_ms`, its own clock. A listing under way is given up."""

    after_ms: int


@dataclass(frozen=True, slots=True)
class Fetch:
    """Download an asset's picture into a slot."""

    job: int
    slot: int
    work: Work


# -- fetcher to supervisor ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Listed:
    """A part of an account's listing; the next part is sent when the writer has noted this one. `marked`: assets
    that hold the marker; `sweep`: the number of the sweep, 0 in a poll; `unselected`: what [select] leaves out."""

    assets: tuple[ListedAsset, ...]
    marked: tuple[ListedAsset, ...]
    sweep: int = 0
    account: int = 1
    unselected: tuple[ListedAsset, ...] = ()


@dataclass(frozen=True, slots=True)
class Swept:
    """The listing is complete and noted (fetcher to supervisor to writer). `listed`: assets without the marker;
    `poll_from_ms`: where a poll has to begin to miss nothing, Immich's clock; `unreadable`: items left out since
    they make no sense; `left_out`: by account, the assets of its library that its selection leaves out, None where
    nobody can say."""

    listed: int
    number: int
    poll_from_ms: int
    unreadable: int = 0
    left_out: dict[int, int | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Polled:
    """What is new is noted; `poll_from_ms` and `unreadable`: as in Swept."""

    poll_from_ms: int
    unreadable: int = 0


@dataclass(frozen=True, slots=True)
class Fetched:
    """`length` bytes are in the slot, or in the slot's spill file."""

    job: int
    length: int
    spilled: bool


# -- supervisor to inferencer, and back --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Infer:
    """Score the picture in a slot."""

    job: int
    slot: int
    length: int
    spilled: bool


@dataclass(frozen=True, slots=True)
class Scored:
    """The packed scores of a job's picture."""

    job: int
    packed: bytes


@dataclass(frozen=True, slots=True)
class Failed:
    """A job ended in trouble: at the fetcher or at an inferencer."""

    job: int
    trouble: Trouble


# -- supervisor to writer, and back ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Record:
    """The end of an asset's job, to be written: scores, or trouble."""

    asset_id: str
    outcome: bytes | Trouble


@dataclass(frozen=True, slots=True)
class Copy:
    """Give an asset the stored scores of an identical picture. Answered with `Recorded`."""

    asset_id: str


@dataclass(frozen=True, slots=True)
class Recorded:
    """These assets' jobs are in the ledger."""

    asset_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Noted:
    """The last `Listed` is in the ledger (writer to supervisor to fetcher)."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Make no tag calls while the library is listed (`on`), and go on afterwards: a listing of what is not
    marked yet must not shrink while it is read (docs/immich.md, law 3). The same while nothing is to be tagged."""

    on: bool


@dataclass(frozen=True, slots=True)
class Drain:
    """Nothing more will come. `complete`: apply and verify all there is, waiting at most `settle_s` for Immich
    to settle; otherwise finish the batch under way and stop."""

    complete: bool
    settle_s: float


@dataclass(frozen=True, slots=True)
class OperationDone:
    """The writer has seen to the operation: what is left is to wait until the changes have settled. `result`: its
    counts."""

    result: dict[str, Any]


@dataclass(frozen=True, slots=True)
class LookedAround:
    """The sweep is in the ledger, with what had to be looked at for it: what is to be fetched is there."""


@dataclass(frozen=True, slots=True)
class Drained:
    """The writer is done; `unsettled` assets are applied and not verified yet."""

    unsettled: int


@dataclass(frozen=True, slots=True)
class Asked:
    """A command's request, to be carried out between other work."""

    request: Request


@dataclass(frozen=True, slots=True)
class Settled:
    """The request is carried out and the ledger says so."""

    request_id: str


@dataclass(frozen=True, slots=True)
class Finish:
    """Write the run's summary and end."""

    summary: dict[str, Any]


# -- any child to supervisor -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ready:
    """The child has started. `capacity`: jobs it can hold at once; `device`: what really infers; `run`: the
    ledger's number of this run, from the writer."""

    capacity: int = 0
    device: str = ""
    run: int | None = None


@dataclass(frozen=True, slots=True)
class Counts:
    """What happened since the last Counts: `preview_downloads`, `tag_calls`, `verified`, `repaired`, `lost` ..."""

    counts: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Outage:
    """Immich was unreachable for the whole retry budget; not `unreachable`: it was, and cannot be listed."""

    message: str
    unreachable: bool = True


@dataclass(frozen=True, slots=True)
class Refused:
    """Immich refuses the key of one of several accounts. Sent on to the other children: it is left alone."""

    account: int
    message: str
    kind: str
    exit_code: int


@dataclass(frozen=True, slots=True)
class Ended:
    """The run cannot go on, and starting again would not help."""

    message: str
    kind: str
    exit_code: int


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The child is alive."""


@dataclass(frozen=True, slots=True)
class Log:
    """A log line of a child."""

    level: str
    text: str
