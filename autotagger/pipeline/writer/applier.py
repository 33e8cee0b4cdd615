"""From scores to tags in Immich: exactly one call for an asset, carrying every tag and the marker.

Several calls on one asset in quick succession lose tags for good (docs/immich.md, law 1). So the complete set is
recorded first (`planned`), sent once, and never sent in a different form before the asset has settled. An asset
that is to have other tags than it has goes in waves: it is read, gets one call, settles, and is read again.
"""

import asyncio
from collections.abc import Iterable, Set
from dataclasses import dataclass

from loguru import logger

from autotagger.errors import AssetFailed, AssetGone, Retryable, Unreachable
from autotagger.immich.types import TagCallAnswer
from autotagger.ledger.rows import Change, PlannedAsset, ScoredAsset, StaleAsset
from autotagger.ledger.states import Probe, State
from autotagger.pipeline.child.base import trouble_of
from autotagger.pipeline.decider import Namer
from autotagger.pipeline.writer.account_context import AccountContext
from autotagger.pipeline.writer.existing_tags import meet_tags
from autotagger.pipeline.writer.reconcile import reconcile
from autotagger.pipeline.writer.retry_policy import retry_policy
from autotagger.pipeline.writer.throttle import Pace, Queues
from autotagger.policy.batching import TagCall, plan_calls

#: A canary is looked at from the first second, and so is what may lack its marker: no listing would name it.
#: Everything else is proven by the marker listing, and looked at one by one only when that has not named it for
#: ten minutes.
SOON_LOOK_MS = 1_000
LOOK_MS = 600_000


@dataclass(frozen=True, slots=True)
class Landed:
    """One asset's call was answered at `answered_ms`, Immich's clock. `suspect`: some tags are not there."""

    asset: PlannedAsset
    answered_ms: int
    suspect: bool = False


@dataclass(frozen=True, slots=True)
class NotLanded:
    """One asset's call came to nothing."""

    asset: PlannedAsset
    error: Retryable | AssetFailed


class Applier:
    """Plans and sends at most `batch_size` assets at a time; one that fails `max_attempts` times is set aside.

    Without a `namer` nothing is decided from scores; `begun`: only for assets that had tags before.
    """

    def __init__(
        self,
        context: AccountContext,
        namer: Namer | None,
        *,
        origin: int,
        batch_size: int,
        max_attempts: int,
        pace: Pace,
        queues: Queues,
        begun: bool = False,
    ) -> None:
        self._context = context
        self._ledger = context.ledger
        self._namer = namer
        self._origin = origin
        self._batch_size = batch_size
        self._max_attempts = max_attempts
        self._pace = pace
        self._queues = queues
        self._begun = begun

    async def apply_batch(self) -> bool:
        """Plan and send at most `batch_size` assets; returns whether there were any.

        What an earlier run planned comes first, with the tags recorded then: the same call made twice is
        harmless, a different one is not.
        """
        if self._namer and not self._begun:
            await self._release_canaries()
        planned = self._ledger.planned(self._context.now_ms(), self._batch_size)
        if not planned:
            scored = self._ledger.scored(self._batch_size, begun=self._begun) if self._namer else []
            if scored:
                await self._plan(scored)
            stale = [] if scored else self._ledger.stale(self._context.now_ms(), self._batch_size)
            if not scored and not stale:
                return False
            await self._look(stale)
            planned = self._ledger.planned(self._context.now_ms(), self._batch_size)
            if not planned:
                return True
        if not await self._queues.have_room():
            return False
        await self._pace.take(len(planned))
        await self._send(planned)
        return True

    # -- plan ---------------------------------------------------------------------------------------------

    async def _release_canaries(self) -> None:
        """One asset of every Immich library goes first and alone (docs/immich.md, law 11)."""
        for collection in self._ledger.collections():
            if collection.state is Probe.UNTRIED and (asset := self._ledger.canary_candidate(collection.id)):
                await self._plan([asset], canary_of=collection.id)

    async def _plan(self, scored: Iterable[ScoredAsset], *, canary_of: int | None = None) -> None:
        assert self._namer, "whoever plans has names"
        named = self._namer.tags(scored)
        look_first = await meet_tags(self._context, {asset.key: tags for asset, tags in named})
        with self._ledger.batch():
            self._ledger.record_plan(
                [(asset.key, (*tags, self._context.marker), self._origin) for asset, tags in named],
                look_first=look_first,
            )
            if canary_of is not None:
                self._ledger.probe_collection(canary_of, named[0][0].key)

    # -- look, before a change ----------------------------------------------------------------------------

    async def _look(self, stale: Iterable[StaleAsset]) -> None:
        """Read assets that are to have other tags, and plan the one call that comes next."""
        ends = await asyncio.gather(*map(self._change, stale), return_exceptions=True)
        self._ledger.record_change([end for end in ends if isinstance(end, Change)])
        for error in (end for end in ends if isinstance(end, BaseException)):
            raise error

    async def _change(self, asset: StaleAsset) -> Change | None:
        try:
            held = await self._context.client.asset(asset.asset_id)
        except Unreachable:
            raise
        except (Retryable, AssetFailed) as error:
            self._trouble(asset.asset_id, error, State.STALE)
            return None
        self._context.count("read_back", 1)
        step = reconcile(asset.links, held.tags, self._context.marker)
        return Change(asset.key, step.links, held.asset.updated_ms, not step.done, step.removal)

    # -- send ---------------------------------------------------------------------------------------------

    async def _send(self, planned: list[PlannedAsset]) -> None:
        calls = plan_calls((asset, asset.tags) for asset in planned if not asset.removal)
        removals: dict[str, list[PlannedAsset]] = {}
        for asset in planned:
            if asset.removal:
                removals.setdefault(asset.removal, []).append(asset)
        canaries = {canary.key for canary in self._ledger.probing()}
        # Every answer is awaited and recorded, also when one call finds that Immich has become unreachable.
        answers = await asyncio.gather(
            *map(self._call, calls),
            *(self._take_off(name, assets) for name, assets in removals.items()),
            return_exceptions=True,
        )
        ends = [end for ends in answers if isinstance(ends, list) for end in ends]
        with self._ledger.batch():
            self._record([end for end in ends if isinstance(end, Landed)], canaries)
            for end in (end for end in ends if isinstance(end, NotLanded)):
                # The scores and the plan stand: only the call is made again.
                self._trouble(end.asset.asset_id, end.error, State.PLANNED)
        for error in (answer for answer in answers if isinstance(answer, BaseException)):
            raise error

    async def _call(self, call: TagCall[PlannedAsset]) -> list[Landed | NotLanded]:
        try:
            answer = await self._tag(call)
        except Unreachable:
            raise
        except AssetFailed as error:
            if len(call.assets) == 1:
                return [NotLanded(call.assets[0], error)]
            # Nothing was written; one bad asset must not fail the others.
            alone = [await self._call(TagCall((asset,), call.tags)) for asset in call.assets]
            return [end for ends in alone for end in ends]
        except Retryable as error:
            return [NotLanded(asset, error) for asset in call.assets]
        if answer.count == len(call.assets) * len(call.tags):
            return [Landed(asset, answer.answered_ms) for asset in call.assets]
        # Fewer new links than pairs: some were there before, or Immich silently skipped something (law 2).
        return list(await asyncio.gather(*(self._read_back(asset, answer) for asset in call.assets)))

    async def _take_off(self, name: str, assets: list[PlannedAsset]) -> list[Landed | NotLanded]:
        """Take one tag off assets that each get no other call before they have settled."""
        tag_id = await self._context.tag_ids.known(name)
        answer = TagCallAnswer(count=0, answered_ms=0)  # without the tag there is nothing to take off
        try:
            if tag_id:
                answer = await self._context.client.untag_assets([asset.asset_id for asset in assets], tag_id)
                self._context.count("untag_calls", 1)
        except Unreachable:
            raise
        except AssetGone:
            self._context.tag_ids.forget()
        except (Retryable, AssetFailed) as error:
            return [NotLanded(asset, error) for asset in assets]
        if answer.count == len(assets):
            return [Landed(asset, answer.answered_ms, suspect=True) for asset in assets]
        return list(await asyncio.gather(*(self._read_removal(asset, answer) for asset in assets)))

    async def _read_removal(self, asset: PlannedAsset, answer: TagCallAnswer) -> Landed | NotLanded:
        """Some did not have the tag: a call of an earlier run may have arrived, and its job may have ended."""
        try:
            held = await self._context.client.asset(asset.asset_id)
        except Unreachable:
            raise
        except (Retryable, AssetFailed) as error:
            return NotLanded(asset, error)
        moved = held.asset.updated_ms != asset.updated_ms
        arrived = min(answer.answered_ms or held.read_ms, held.asset.updated_ms) if moved else held.read_ms
        return Landed(asset, arrived, suspect=True)

    async def _tag(self, call: TagCall[PlannedAsset]) -> TagCallAnswer:
        ids = await self._context.tag_ids.resolve(call.tags)
        answer = await self._context.client.tag_assets(
            [asset.asset_id for asset in call.assets], list(ids.values())
        )
        self._context.count("tag_calls", 1)
        return answer

    async def _read_back(
        self, asset: PlannedAsset, answer: TagCallAnswer, *, again: bool = True
    ) -> Landed | NotLanded:
        try:
            held = await self._context.client.asset(asset.asset_id)
        except Unreachable:
            raise
        except Retryable:
            return Landed(asset, answer.answered_ms, suspect=True)
        except AssetFailed as error:
            return NotLanded(asset, error)
        if asset.tags <= held.tags:
            # Where a call of an earlier run had arrived, its background job may have ended before this answer.
            ended = not answer.count and held.asset.updated_ms != asset.updated_ms
            arrived = min(answer.answered_ms, held.asset.updated_ms) if ended else answer.answered_ms
            return Landed(asset, arrived, suspect=not answer.count)
        self._context.tag_ids.forget()
        if answer.count or asset.tags & held.tags:
            # A part arrived, and background jobs are on their way with it: what is missing (a tag that somebody
            # deleted meanwhile, the marker perhaps) is sent when they are done, never into them (law 1).
            return Landed(asset, answer.answered_ms, suspect=True)
        if again:
            return await self._call_again(asset)
        return NotLanded(asset, AssetFailed(_REFUSED, kind="tags-refused"))

    async def _call_again(self, asset: PlannedAsset) -> Landed | NotLanded:
        """Nothing at all arrived, so no background job is on its way and a second call is safe: tag ids may have
        vanished. If it happens again the asset is not ours to tag."""
        answer = await self._tag(TagCall((asset,), asset.tags))
        if answer.count == len(asset.tags):
            return Landed(asset, answer.answered_ms)
        return await self._read_back(asset, answer, again=False)

    def _record(self, ends: Iterable[Landed], canaries: Set[int]) -> None:
        """Calls that were answered: what was answered within one second goes into the ledger as one."""
        now_ms = self._context.now_ms()
        alike: dict[tuple[int, bool, bool], list[int]] = {}
        for end in ends:
            asset = end.asset
            suspect = end.suspect or not asset.fresh
            soon = suspect or asset.key in canaries
            alike.setdefault((end.answered_ms, suspect, soon), []).append(asset.key)
            self._context.count("untagged" if asset.removal else "tagged", 1)
            if asset.fresh:  # a change or a repair sends again what was counted before
                self._context.count("tags", len(asset.tags) - 1)  # the marker is no tag of the picture
        for (answered_ms, suspect, soon), keys in alike.items():
            look_ms = now_ms + (SOON_LOOK_MS if soon else LOOK_MS)
            self._ledger.record_answer(keys, answered_ms, look_ms, suspect=suspect)

    def _trouble(self, asset_id: str, error: Retryable | AssetFailed, again: State) -> None:
        """An asset could not be read or its call came to nothing; `again`: its state where that is temporary."""
        now_ms = self._context.now_ms()
        attempts = self._ledger.attempts([asset_id])[asset_id]
        found = retry_policy(trouble_of(error), attempts, now_ms, self._max_attempts)
        state = again if found.due_ms is not None else found.state
        logger.warning("asset {}: {}; {}", asset_id, error.message, found.describe(now_ms))
        self._ledger.record_problem(asset_id, state, kind=error.kind, message=error.message, due_ms=found.due_ms)


_REFUSED = "Immich answered 200 and kept none of the tags: the asset is locked or belongs to another account"
