"""What the writer has for each account: what applies and verifies its tags, with its own key."""

import time
from collections.abc import Callable, Iterable, Mapping
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
from autotagger.pipeline.writer.losses import Losses
from autotagger.pipeline.writer.operations import Retag
from autotagger.pipeline.writer.rating_actions import RatingActions, actions_of
from autotagger.pipeline.writer.strangers import Strangers
from autotagger.pipeline.writer.tag_ids import TagIds
from autotagger.pipeline.writer.throttle import Pace, Queues
from autotagger.pipeline.writer.undo import Undo
from autotagger.pipeline.writer.verifier import Verifier
from autotagger.pipeline.writer.verify import Verify


@dataclass(slots=True)
class AccountWorker:
    """What the writer has for each account. The context's ledger shows this account's assets alone;
    `operation` is None once it is done, and `result` then holds its counts. `selection`: by which its library is
    listed."""

    context: AccountContext
    applier: Applier
    verifier: Verifier
    actions: RatingActions
    deletions: Deletions
    strangers: Strangers
    losses: Losses
    operation: Retag | Undo | Verify | None
    result: dict[str, Any] | None = None
    selection: str = ""
    _swept: bool = False

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

    def expect(self, sweep: int, left_out: int | None) -> None:
        """The sweep of this number is complete and noted; `left_out`: as in Swept."""
        self.context.ledger.selection_listed(self.selection, sweep, left_out)
        self.deletions.expect(sweep)
        self.losses.expect()
        self._swept = True

    async def look_around(self) -> bool:
        """Look at what a sweep did not list, or listed without its tags, and at markers that are not ours; returns
        whether there was anything."""
        if await self.deletions.look() or await self.losses.look():
            return True
        if self._swept:
            self._swept = False
            self.strangers.expect(self.deletions.gone)
        return await self.strangers.look()

    async def verify(self, *, look: bool) -> tuple[bool, bool]:
        """Whether there was an asset to look at, and whether a canary was decided."""
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


def account_workers(
    spec: ChildSpec,
    ledger: LedgerWriter,
    clients: Mapping[int, ImmichClient],
    decider: TagDecider | None,
    now_ms: Callable[[], int],
    count: Callable[[str, int], None],
) -> dict[int, AccountWorker]:
    """A worker for every account, by its id. `decider` None: nothing is decided from scores. Raises BadConfig."""
    pace = Pace(spec.settings.immich.pace, clock=time.monotonic)
    wanted = spec.settings.policy.rating_action
    rating_actions = actions_of(decider.policy, wanted) if decider else {}

    def worker(account: Account) -> AccountWorker:
        settings, client = spec.settings, clients[account.id]
        tag_ids = TagIds(client)
        clock = DatabaseClock(tag_ids, settings.marker)
        context = AccountContext(
            ledger.of_account(account.id), client, tag_ids, clock, settings.marker, now_ms, count
        )
        applier = Applier(
            context,
            decider,
            batch_size=settings.immich.batch_size,
            max_attempts=settings.pipeline.max_attempts,
            pace=pace,
            queues=Queues(client, account.server, limit=settings.immich.max_queued, clock=time.monotonic),
            begun=spec.operation is not None,
        )
        actions = RatingActions(context, {} if spec.scoring_only else rating_actions)
        verifier = Verifier(context, sample=settings.verify.sample, actions=actions)
        operation = _operation(spec.operation, account, context, decider)
        outside = Deletions(context, account.rules), Strangers(context), Losses(context)
        selection = identity_of(settings.selected_by(account.name))
        return AccountWorker(context, applier, verifier, actions, *outside, operation, selection=selection)

    return {account.id: worker(account) for account in spec.accounts}


def _operation(
    asked: Operation | None, account: Account, context: AccountContext, decider: TagDecider | None
) -> Retag | Undo | Verify | None:
    """The operation that the run is for, if it is for one."""
    match asked:
        case None:
            return None
        case Operation(kind="retag"):
            assert decider, "retag decides from scores"
            return Retag(context, decider)
        case Operation(kind="undo", selection=selection):
            return Undo(context, account.server, selection)
        case Operation(sample=sample, repair=repair, deleted_tags=deleted_tags):
            return Verify(context, sample, repair, deleted_tags)


def together(results: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The counts of an operation for all accounts: numbers added up, lists one after the other."""
    total: dict[str, Any] = {}
    for result in results:
        total |= {name: total[name] + value if name in total else value for name, value in result.items()}
    return total
