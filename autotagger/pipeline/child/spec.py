"""What a child process is told when it is started."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

from pydantic import SecretStr

from autotagger.immich.types import Server
from autotagger.pipeline.ipc.messages import Operation
from autotagger.selection.rules import Rules
from autotagger.settings import ImmichSettings, Settings
from autotagger.tagger.model import Model

if TYPE_CHECKING:
    from autotagger.ledger.database import LedgerLock


@dataclass(frozen=True)
class Account:
    """One user of Immich. `server`: what was found out with the user's `key`; `id`: in the ledger; `rules`: which
    of the user's assets to tag, as far as that was known when the run began (None: as the settings say)."""

    name: str
    key: SecretStr
    server: Server
    id: int = 1
    rules: Rules | None = None


@dataclass(frozen=True)
class ChildSpec:
    """All that a child needs to know. Goes through the pipe that starts it, never through its command line."""

    settings: Settings
    accounts: tuple[Account, ...]
    model: Model | None  # None: nothing is inferred and nothing decided from scores
    run: int | None = None
    operation: Operation | None = None  # what the writer does instead of tagging what is new
    scoring_only: bool = False  # nothing is changed in Immich
    lock: "LedgerLock | None" = None  # for the writer: it holds the ledger as long as it lives

    def of_writer(self, lock: "LedgerLock") -> Self:
        """What the writer has to know."""
        return replace(self, lock=lock)

    def of_fetcher(self) -> Self:
        """What the fetcher has to know: nothing of a model."""
        return replace(self, model=None)

    def of_inferencer(self) -> Self:
        """What an inferencer has to know. It decodes what strangers made: it is told no key."""
        keyless = {"immich": ImmichSettings(), "account": ()}
        return replace(self, settings=self.settings.model_copy(update=keyless), accounts=())
