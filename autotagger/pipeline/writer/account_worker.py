"""Seats at the writer: who sees to one account's tags, with its key and in its part of the ledger."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from autotagger.immich.client import ImmichClient
from autotagger.ledger.states import State
from autotagger.ledger.writer import LedgerWriter
from autotagger.pipeline.child.spec import Account, ChildSpec
from autotagger.pipeline.decider import TagDecider
from autotagger.pipeline.ipc.messages import Operation
from autotagger.pipeline.selecting import identity_of
from autotagger.pipeline.writer.account_context import AccountContext
from autotagger.pipeline.writer.applier import Applier
from autotagger.pipeline.writer.database_clock import DatabaseClock
from autotagger.pipeline.writer.deletions import Deletions
from autotagger.pipeline.writer.operations import Retag, Undo, Verify
from autotagger.pipeline.writer.rating_actions import RatingActions, actions_of
from autotagger.pipeline.writer.tag_ids import TagIds
from autotagger.pipeline.writer.throttle import Pace, Queues
from autotagger.pipeline.writer.verifier import Verifier


@dataclass(slots=True)
class AccountWorker:
    """What the writer has for each account. The context's ledger shows this account's assets alone;
    `operation` is None once it is done, and `result` then holds its figures. `selection`: by which
    its library is listed."""

    context: AccountContext
    applier: Applier
    verifier: Verifier
    actions: RatingActions
    deletions: Deletions
    operation: Retag | Undo | Verify | None
    result: dict[str, Any] | None = None
    selection: str = ""

    def sweep_is_complete(self, number: int, left_out: int | None) -> None:
        """The sweep of this number is noted; `left_out`: as in Swept."""
        self.context.ledger.selection_listed(self.selection, number, left_out)
        self.deletions.expect(number)

    async def step(self) -> bool:
        """Take the operation a step further. Returns whether it got further; if not, it waits for Immich."""
        operation = self.operation
        if operation is None:
            return False
        before = self.context.ledger.changes, operation.after
        more = await operation.step()
        if not more:
            self.result, self.operation = operation.result, None
        return not more or (self.context.ledger.changes, operation.after) != before

    async def verify(self, *, look: bool) -> tuple[bool, bool]:
        """Whether there was an asset to look at, and whether a canary had an end."""
        if look:
            self.verifier.retry_closed()
            await self.verifier.look()
        looked = await self.verifier.look_at_due()
        return looked, self.verifier.judge_canaries()

    def is_idle(self, *, operation_only: bool) -> bool:
        """Whether nothing is left to be sent or proven; `operation_only`: of what had its tags before."""
        if self.operation is not None or self.context.ledger.unfinished() or self.actions.behind:
            return False
        if operation_only:
            return not self.context.ledger.scored(1, begun=True)
        return not self.context.ledger.has(State.SCORED)


@dataclass(frozen=True, slots=True)
class Office:
    """What all accounts share. `decider` None: nothing is decided from scores."""

    spec: ChildSpec
    ledger: LedgerWriter
    decider: TagDecider | None
    pace: Pace
    now_ms: Callable[[], int]
    count: Callable[[str, int], None]

    @property
    def actions(self) -> dict[str, str]:
        """What the tags of ratings do to an asset's visibility. Raises BadConfig."""
        wanted = self.spec.settings.policy.rating_action
        return actions_of(self.decider.policy, wanted) if self.decider else {}

    def account_worker(self, account: Account, client: ImmichClient) -> AccountWorker:
        """A account_worker for an account, whose key the client uses."""
        settings, decider = self.spec.settings, self.decider
        ledger = self.ledger.of_account(account.id)
        tag_ids = TagIds(client)
        clock = DatabaseClock(tag_ids, settings.marker)
        context = AccountContext(ledger, client, tag_ids, clock, settings.marker, self.now_ms, self.count)
        applier = Applier(
            context,
            decider,
            batch_size=settings.immich.batch_size,
            max_attempts=settings.pipeline.max_attempts,
            pace=self.pace,
            queues=Queues(client, account.server, limit=settings.immich.max_queued, clock=time.monotonic),
            begun=self.spec.operation is not None,
        )
        operation = self._operation(account, context)
        actions = RatingActions(context, self.actions if not self.spec.scoring_only else {})
        verifier = Verifier(context, sample=settings.verify.sample, actions=actions)
        selection = identity_of(settings.selected_by(account.name))
        deletions = Deletions(context, account.rules)
        return AccountWorker(context, applier, verifier, actions, deletions, operation, selection=selection)

    def _operation(self, account: Account, context: AccountContext) -> Retag | Undo | Verify | None:
        """The operation that the run is for, if it is for one."""
        match self.spec.operation:
            case None:
                return None
            case Operation(kind="retag"):
                assert self.decider, "retag decides from scores"
                return Retag(context, self.decider)
            case Operation(kind="undo", selection=selection):
                return Undo(context, account.server, selection)
            case Operation(sample=sample, repair=repair):
                return Verify(context, sample, repair)


def together(results: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The figures of an operation for all accounts: numbers added up, lists one after the other."""
    total: dict[str, Any] = {}
    for result in results:
        total |= {name: total[name] + value if name in total else value for name, value in result.items()}
    return total
