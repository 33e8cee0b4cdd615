"""Operations: what a person asks to be done with what is tagged already. `retag` is here, see `undo` and `verify`.

Each is worked on step by step in the writer, between its other work, and can be interrupted and begun again at any
point: what it has decided is in the ledger. `after` is the key of the last asset that it has passed on its way
through the ledger.
"""

from typing import Any

from autotagger.pipeline.decider import TagDecider
from autotagger.pipeline.writer.account_context import AccountContext
from autotagger.pipeline.writer.losses import Losses
from autotagger.pipeline.writer.strangers import Strangers

#: Assets of one step: a transaction of some milliseconds.
REOPENED_AT_ONCE = 500


class Retag:
    """Bring every asset that had its tags to today's model and policy: reopened here, changed by the applier."""

    def __init__(self, context: AccountContext, decider: TagDecider) -> None:
        self._ledger = context.ledger
        self._losses, self._strangers = Losses(context), Strangers(context)
        self._decider = decider
        decider.expect_recount()
        self._surveyed = False
        self.after = 0  # so that no step looks again at what those before it passed
        self.result: dict[str, Any] = {"reopened": 0}

    async def step(self) -> bool:
        """Reopen some; returns whether the operation needs another step. Assets with a call under way have to
        settle first: those that had when they were passed are found when it begins again at the first."""
        if not self._surveyed:  # else a tag that somebody deleted would look like so many removals by a person
            await self._losses.look_for_tags()
            await self._strangers.survey(decide=True)
            self._surveyed = True
        await self._decider.recount()
        rules = self._decider.model, self._decider.identity
        keys = self._ledger.reopen_outdated(*rules, REOPENED_AT_ONCE, after=self.after)
        self.result["reopened"] += len(keys)
        began, self.after = self.after, keys[-1] if keys else 0
        return bool(keys or began) or self._ledger.outdated_in_flight(*rules) > 0
