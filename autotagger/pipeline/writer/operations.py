"""Operations: what a person asks to be done with what is tagged already.

Each is worked on step by step in the writer, between its other work, and can be interrupted and begun again at any
point: what it has decided is in the ledger. `after` is the key of the last asset that it has passed on its way
through the ledger.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

from loguru import logger

from autotagger.errors import AssetFailed, AssetGone, Retryable, Unreachable
from autotagger.immich.sweep import tagged
from autotagger.immich.types import Server
from autotagger.ledger.rows import Change, RestingAsset, Selection
from autotagger.ledger.states import LinkState, State
from autotagger.pipeline.decider import TagDecider
from autotagger.pipeline.writer.account_context import AccountContext
from autotagger.pipeline.writer.applier import change
from autotagger.pipeline.writer.reconcile import Step, reconcile
from autotagger.pipeline.writer.sampling import is_sampled
from autotagger.pipeline.writer.strangers import Strangers

#: Assets of one step: a transaction of some milliseconds, or so many reads under way at once.
REOPENED_AT_ONCE = 500
READ_AT_ONCE = 25
#: Findings told one by one; the counts include them all.
MAX_FINDINGS = 1_000
#: What verify counts.
COUNTS = ("read", "as_meant", "missing", "rejected", "came_back", "gone", "changed", "unreadable", "repairing")


class Retag:
    """Bring every asset that had its tags to today's model and policy: reopened here, changed by the applier."""

    def __init__(self, context: AccountContext, decider: TagDecider) -> None:
        self._ledger = context.ledger
        self._strangers, self._surveyed = Strangers(context), False
        self._decider = decider
        decider.expect_recount()
        self.after = 0  # so that no step looks again at what those before it passed
        self.result: dict[str, Any] = {"reopened": 0}

    async def step(self) -> bool:
        """Reopen some; returns whether the operation needs another step. Assets with a call under way have to
        settle first: those that had when they were passed are found when it begins again at the first."""
        await self._decider.recount()
        if not self._surveyed:
            await self._strangers.survey(decide=True)
            self._surveyed = True
        rules = self._decider.model, self._decider.identity
        keys = self._ledger.reopen_outdated(*rules, REOPENED_AT_ONCE, after=self.after)
        self.result["reopened"] += len(keys)
        began, self.after = self.after, keys[-1] if keys else 0
        return bool(keys or began) or self._ledger.outdated_in_flight(*rules) > 0


class Undo:
    """Take the selected links of ours off again, then tags of ours that nobody uses any more."""

    def __init__(self, context: AccountContext, server: Server, selection: Selection) -> None:
        self._context = context
        self._ledger = context.ledger
        self._may_delete = server.may("tag.delete")
        self._selection = selection
        self.after: int | None = 0  # None: it is through
        self._surveyed = False
        self.result: dict[str, Any] = {"deleted_tags": 0}

    async def step(self) -> bool:
        """Mark what has to leave, wait until all of it has left and is proven, delete empty tags."""
        if not self._surveyed:
            await Strangers(self._context).survey(decide=False)
            self._surveyed = True
        if self.after is not None:
            self.after = self._ledger.take_back(self._selection, marker=self._context.marker, after=self.after)
            return True
        if self._ledger.unfinished():
            return True
        if self._ledger.selected(self._selection, marker=self._context.marker):
            self.after = 0  # calls that were under way when we passed have settled by now
            return True
        await self._delete_empty_tags()
        return False

    async def _delete_empty_tags(self) -> None:
        """Tags that were not there before us and that no asset has now. Immich would keep them for a while."""
        names = self._ledger.unused_tags_of_ours()
        self._context.tag_ids.forget()
        there = [(name, tag_id) for name in names if (tag_id := await self._context.tag_ids.known(name))]
        if there and not self._may_delete:
            logger.warning(
                "{} tags are on no asset now; the API key lacks tag.delete, so they stay until Immich cleans up",
                len(there),
            )
            self.result["empty_tags"] = len(there)
            return
        for name, tag_id in there:
            if await self._context.tag_ids.has_children(name) or await self._is_used(tag_id):
                continue
            await self._context.client.delete_tag(tag_id)
            self.result["deleted_tags"] += 1
        self._context.tag_ids.forget()
        self._ledger.forget_tags(names)

    async def _is_used(self, tag_id: str) -> bool:
        async for assets in tagged(self._context.client, tag_id):
            if assets:
                return True
        return False


@dataclass(slots=True)
class Verify:
    """Read assets and compare them with the ledger: missing, rejected, come back, gone, changed."""

    context: AccountContext
    sample: float
    repair: bool
    after: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    findings: list[dict[str, str]] = field(default_factory=list)

    @property
    def result(self) -> dict[str, Any]:
        """The counts, and the findings one by one."""
        return {**{name: self.counts[name] for name in COUNTS}, "findings": self.findings}

    async def step(self) -> bool:
        """Read the next assets; returns whether there may be more."""
        resting = self.context.ledger.resting(self.after, READ_AT_ONCE)
        if not resting:
            return False
        self.after = resting[-1].key
        drawn = [asset for asset in resting if is_sampled(asset.asset_id, self.sample)]
        changes = await asyncio.gather(*map(self._compare, drawn))
        self.context.ledger.record_change([change for change in changes if change])
        return True

    async def _compare(self, asset: RestingAsset) -> Change | None:
        try:
            held = await self.context.client.asset(asset.asset_id)
        except Unreachable:
            raise
        except AssetGone as error:
            self._found("gone", asset, error.message)
            self.context.ledger.record_problem(
                asset.asset_id, State.GONE, kind=error.kind, message=error.message, due_ms=None
            )
            return None
        except (Retryable, AssetFailed) as error:
            self._found("unreadable", asset, error.message)
            return None
        self.counts["read"] += 1
        if held.asset.checksum != asset.checksum:
            self._found("changed", asset, "the file is another one now: it is scored again")
            if self.repair:
                self.context.ledger.score_again(asset.key, held.asset.checksum)
                self.counts["repairing"] += 1
            return None
        came_back = {
            name: LinkState.LEAVING
            for name, state in asset.links.items()
            if state is LinkState.REMOVED and name in held.tags
        }
        links = {**asset.links, **came_back}
        ledger, marker = self.context.ledger, self.context.marker
        contested = ledger.is_contested(self.context.now_ms())
        step = reconcile(links, held.tags, marker, contested=contested, meanings=ledger.meanings_of)
        self._tell(asset, step)
        links = {**(came_back if self.repair else {}), **step.links}
        if self.repair and not step.done:
            self.counts["repairing"] += 1
            return replace(change(asset.key, step, held.asset.updated_ms), links=links)
        # What only this look brought to light is kept: a person's word, and that the rest was proven.
        return Change(asset.key, links, held.asset.updated_ms, call=False) if step.links else None

    def _tell(self, asset: RestingAsset, step: Step) -> None:
        rejected = [name for name, state in step.links.items() if state is LinkState.REJECTED]
        if rejected:
            self._found("rejected", asset, f"taken off by a person: {', '.join(sorted(rejected))}")
        if step.missing:
            self._found("missing", asset, f"lost in Immich: {', '.join(sorted(step.missing))}")
        if step.surplus:
            self._found("came_back", asset, f"taken off by us and there again: {', '.join(sorted(step.surplus))}")
        self.counts["as_meant"] += step.done and not rejected

    def _found(self, what: str, asset: RestingAsset, message: str) -> None:
        self.counts[what] += 1
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(
                {"what": what, "asset": asset.asset_id, "file": asset.file_name, "message": message}
            )
