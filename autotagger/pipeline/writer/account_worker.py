"""Seats at the writer: who sees to one account's tags, with its key and in its part of the ledger."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from autotagger.immich.client import ImmichClient
from autotagger.ledger.states import State
from autotagger.ledger.store import Ledger
from autotagger.pipeline.child.spec import Account, ChildSpec
from autotagger.pipeline.decider import Rules
from autotagger.pipeline.ipc.messages import Errand
from autotagger.pipeline.writer.account_context import Desk
from autotagger.pipeline.writer.applier import Applier
from autotagger.pipeline.writer.deletions import Absence
from autotagger.pipeline.writer.operations import Retag, Undo, Verify
from autotagger.pipeline.writer.rating_actions import RatingActions
from autotagger.pipeline.writer.tag_ids import TagIds
from autotagger.pipeline.writer.throttle import Pace, Queues
from autotagger.pipeline.writer.verifier import Verifier


@dataclass(slots=True)
class Seat:
    """What the writer has for each account. The ledger at the desk shows this account's assets alone; `errand` is
    None once it is seen to, and `result` then holds its figures."""

    desk: Desk
    applier: Applier
    verifier: Verifier
    actions: RatingActions
    absence: Absence
    errand: Retag | Undo | Verify | None
    result: dict[str, Any] | None = None

    async def step(self) -> bool:
        """Take the errand a step further; returns whether it came further: else it waits for Immich to settle."""
        errand = self.errand
        if errand is None:
            return False
        before = self.desk.ledger.changes, errand.after
        more = await errand.step()
        if not more:
            self.result, self.errand = errand.result, None
        return not more or (self.desk.ledger.changes, errand.after) != before

    async def verify(self, *, look: bool) -> tuple[bool, bool]:
        """Whether there was an asset to look at, and whether a canary had an end."""
        if look:
            self.verifier.retry_closed()
            await self.verifier.look()
        looked = await self.verifier.look_at_due()
        return looked, self.verifier.judge_canaries()

    def is_idle(self, *, errand_only: bool) -> bool:
        """Whether nothing is left to be sent or proven; `errand_only`: of what had its tags before."""
        if self.errand is not None or self.desk.ledger.unfinished() or self.actions.behind:
            return False
        if errand_only:
            return not self.desk.ledger.scored(1, begun=True)
        return not self.desk.ledger.has(State.SCORED)


@dataclass(frozen=True, slots=True)
class Office:
    """What all seats share. `rules` None: nothing is decided from scores."""

    spec: ChildSpec
    ledger: Ledger
    rules: Rules | None
    pace: Pace
    now_ms: Callable[[], int]
    count: Callable[[str, int], None]

    def seat(self, account: Account, client: ImmichClient) -> Seat:
        """A seat for an account, whose key the client uses."""
        settings, rules = self.spec.settings, self.rules
        ledger = self.ledger.of_account(account.id)
        desk = Desk(ledger, client, TagIds(client), settings.marker, self.now_ms, self.count)
        applier = Applier(
            desk,
            rules.namer if rules else None,
            origin=rules.origin if rules else 0,
            batch_size=settings.immich.batch_size,
            max_attempts=settings.pipeline.max_attempts,
            pace=self.pace,
            queues=Queues(client, account.server, most=settings.immich.most_queued, clock=time.monotonic),
            begun=self.spec.errand is not None,
        )
        errand = self._errand(account, desk)
        actions = RatingActions(desk, rules.actions if rules and not self.spec.dry else {})
        verifier = Verifier(desk, sample=settings.verify.sample, actions=actions)
        return Seat(desk, applier, verifier, actions, Absence(desk), errand)

    def _errand(self, account: Account, desk: Desk) -> Retag | Undo | Verify | None:
        """The errand that the run is for, if it is for one."""
        match self.spec.errand:
            case None:
                return None
            case Errand(kind="retag"):
                assert self.rules, "retag decides from scores"
                return Retag(desk, model=self.rules.model, policy=self.rules.policy.identity)
            case Errand(kind="undo", selection=selection):
                return Undo(desk, account.server, selection)
            case Errand(sample=sample, repair=repair):
                return Verify(desk, sample, repair)


def together(results: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The figures of an errand for all accounts: numbers added up, lists one after the other."""
    total: dict[str, Any] = {}
    for result in results:
        total |= {name: total[name] + value if name in total else value for name, value in result.items()}
    return total
