"""A run in numbers."""

from dataclasses import dataclass, field
from typing import Any

from autotagger.ledger.states import State, are_many

#: Counts of a run that are always reported, also when they are 0.
REPORTED: tuple[str, ...] = (
    "listed",
    "preview_downloads",
    "thumbnail_downloads",
    "original_downloads",
    "inferred",
    "copied",
    "tagged",
    "tags",
    "tag_calls",
    "untag_calls",
    "read_back",
    "proven",
    "repaired",
    "lost",
    "flattened",
    "restarts",
)

#: What is said of assets that lost their tags, or their marker alone; a look at each tells which.
UNMARKED = (
    "{} assets have lost their marker in Immich, or all their tags: `autotagger verify` tells which, "
    "`autotagger verify --repair` puts back what is missing"
)


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended. `failed`: assets that failed in this run, by class; `undone`: what it was to do and did
    not, by state (applied: tagged and not verified); `unreadable`: items of its listings that make no sense.

    `interrupted`: somebody stopped it; `paused`: a pause did.
    """

    failed: dict[str, int] = field(default_factory=dict)
    undone: dict[State, int] = field(default_factory=dict)
    unreadable: int = 0
    interrupted: bool = False
    paused: bool = False

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "failed": self.failed,
            "undone": _spelt(self.undone),
            "unreadable": self.unreadable,
            "interrupted": self.interrupted,
            "paused": self.paused,
        }


@dataclass(frozen=True, slots=True)
class Summary:
    """A run from outside. `counts`: what happened in this run; `states`: assets in the ledger, all runs;
    `operation`: the counts of retag, undo or verify.

    `accounts`: the states by account, in a run for several; `refused`: the accounts whose key Immich
    refused, and why. `closed`: assets that are skipped because tags do not stick in their library; `unmarked`:
    verified assets that have lost their marker in Immich. `ending`: None while the run goes on.
    """

    states: dict[State, int]
    counts: dict[str, int]
    failures: dict[str, int]
    seconds: float
    device: str
    unsettled: int
    accounts: dict[str, dict[State, int]] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    operation: dict[str, Any] | None = None
    closed: int = 0
    unmarked: int = 0
    ending: Ending | None = None

    @property
    def lost_many(self) -> bool:
        """Whether so many assets have lost their tags in Immich that no person did it one by one."""
        return are_many(self.unmarked, self.states[State.VERIFIED])

    def as_dict(self) -> dict[str, Any]:
        """For JSON: states and the `REPORTED` counts; what else there is only where there is any."""
        states = _spelt(self.states)
        accounts = {name: _spelt(counts) for name, counts in self.accounts.items()}
        return {
            **states,
            **{name: self.counts.get(name, 0) for name in REPORTED},
            "failures": self.failures,
            "seconds": round(self.seconds, 3),
            "device": self.device,
            "unsettled": self.unsettled,
            **({"accounts": accounts} if accounts else {}),
            **({"refused": self.refused} if self.refused else {}),
            **({"closed": self.closed} if self.closed else {}),
            **({"unmarked": self.unmarked} if self.unmarked else {}),
            **({"errand": self.operation} if self.operation is not None else {}),
            **({"ending": self.ending.as_dict()} if self.ending is not None else {}),
        }


def _spelt(states: dict[State, int]) -> dict[str, int]:
    return {str(state): count for state, count in states.items()}
