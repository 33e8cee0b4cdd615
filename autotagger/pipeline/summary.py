"""A run in figures."""

from dataclasses import dataclass
from typing import Any

from autotagger.ledger.schema import State

#: Figures of a run that are always reported, also when they are 0.
REPORTED: tuple[str, ...] = (
    "listed",
    "preview_downloads",
    "thumbnail_downloads",
    "original_downloads",
    "inferred",
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


@dataclass(frozen=True, slots=True)
class Summary:
    """A run from outside. `counts`: what happened in this run; `states`: assets in the ledger, all runs; `errand`:
    the figures of retag, undo or verify."""

    states: dict[State, int]
    counts: dict[str, int]
    failures: dict[str, int]
    seconds: float
    device: str
    unsettled: int
    errand: dict[str, Any] | None = None

    def as_dict(self) -> dict[str, Any]:
        states = {str(state): count for state, count in self.states.items()}
        return {
            **states,
            **{name: self.counts.get(name, 0) for name in REPORTED},
            "failures": self.failures,
            "seconds": round(self.seconds, 3),
            "device": self.device,
            "unsettled": self.unsettled,
            **({"errand": self.errand} if self.errand is not None else {}),
        }
