"""What the writer's parts work with."""

from collections.abc import Callable
from dataclasses import dataclass

from autotagger.immich.client import ImmichClient
from autotagger.ledger.writer import LedgerWriter
from autotagger.pipeline.writer.database_clock import DatabaseClock
from autotagger.pipeline.writer.tag_ids import TagIds


@dataclass(frozen=True, slots=True)
class AccountContext:
    """The ledger, Immich, its tag ids and its database's clock; `marker`: the tag that says we were here;
    `now_ms`: our clock; `count`: adds to the run's counts."""

    ledger: LedgerWriter
    client: ImmichClient
    tag_ids: TagIds
    clock: DatabaseClock
    marker: str
    now_ms: Callable[[], int]
    count: Callable[[str, int], None]
