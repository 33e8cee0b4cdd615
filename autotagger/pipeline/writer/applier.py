"""From scores to tags in Immich: exactly one call for an asset, carrying every tag and the marker.

Several calls on one asset in quick succession lose tags for good (docs/immich.md, law 1). So the complete set is
recorded first (`planned`), sent once, and never sent in a different form before the asset has settled. An asset
that is to have other tags than it has goes in waves: it is read, gets one call, settles, and is read again.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass

from loguru import logger

from autotagger.errors import AssetFailed, AssetGone, Retryable, Unreachable
from autotagger.immich.client import MAX_PAIRS
from autotagger.ledger.rows import Change, PlannedAsset, ScoredAsset, StaleAsset
from autotagger.ledger.states import LinkState, Probe, State
from autotagger.pipeline.child.base import trouble_of
from autotagger.pipeline.decider import TagDecider
from autotagger.pipeline.writer.account_context import AccountContext
from autotagger.pipeline.writer.existing_tags import meet_tags
from autotagger.pipeline.writer.reconcile import Step, reconcile, wave_of
from autotagger.pipeline.writer.retry_policy import retry_policy
from autotagger.pipeline.writer.strangers import contest
from autotagger.pipeline.writer.throttle import Pace, Queues
from autotagger.policy.batching import TagCall, plan_calls

#: Assets read at once before a change, and taken through one wave together: their calls are one a tag.
LOOKED_AT_ONCE = 100
#: A canary is looked at from the first second, and so is what may lack its marker: no listing would name it.
#: Everything else is proven by the marker listing, and looked at one by one only when that has not named it for
#: ten minutes; or for ten seconds as long as no more assets than `LOOKED_AT_ONCE` are unsettled.
SOON_LOOK_MS = 1_000
FEW_LOOK_MS = 10_000
LOOK_MS = 600_000
#: Reasons to believe that another autotagger is at work: so many that one call or asset can give, and enough.
SURE_OF_ONE, SURE_OF_OTHERS = 2, 3


@dataclass(frozen=True, slots=True)
class Applied:
    """One asset's call was answered. `called_ms`: when it was made, by the database; `suspect`: read it back."""

    asset: PlannedAsset
    called_ms: int
    suspect: bool = False


@dataclass(frozen=True, slots=True)
class NotApplied:
    """One asset's call came to nothing."""

    asset: PlannedAsset
    error: Retryable | AssetFailed


class Applier:
    """Plans and sends at most `batch_size` assets at a time; one that fails `max_attempts` times is set aside.

    Without a `decider` nothing is decided from scores; `begun`: only for assets that had tags before.
    """

    def __init__(
        self,
        context: AccountContext,
        decider: TagDecider | None,
        *,
        batch_size: int,
        max_attempts: int,
        pace: Pace,
        queues: Queues,
        begun: bool = False,
    ) -> None:
        self._context = context
        self._ledger = context.ledger
        self._decider = decider
        self._batch_size = batch_size
        self._max_attempts = max_attempts
        self._pace = pace
        self._queues = queues
        self._begun = begun
        self._others = 0  # reasons to believe that another autotagger is at work

    async def apply_batch(self) -> bool:
        """Plan and send at most `batch_size` assets; returns whether there were any.

        What an earlier run planned comes first, with the tags recorded then: the same call made twice is
        harmless, a different one is not.
        """
        if self._decider and not self._begun:
            await self._release_canaries()
        planned = self._planned()
        if not planned:
            scored = self._ledger.scored(self._batch_size, begun=self._begun) if self._decider else []
            if scored:
                await self._plan(scored)
            stale = [] if scored else self._ledger.stale(self._context.now_ms(), LOOKED_AT_ONCE)
            if not scored and not stale:
                return False
            await self._look(stale)
            planned = self._planned()
            if not planned:
                return True
        if not await self._queues.have_room():
            return False
        await self._pace.take(len(planned))
        await self._send(planned)
        return True

    def _planned(self) -> list[PlannedAsset]:
        """What goes next: one batch that puts tags on, or one wave that takes tags off more assets at once."""
        planned = self._ledger.planned(self._context.now_ms(), LOOKED_AT_ONCE)
        puts = [asset for asset in planned if not asset.leaving][: self._batch_size]
        return puts or planned

    # -- plan ---------------------------------------------------------------------------------------------

    async def _release_canaries(self) -> None:
        """One asset of every Immich library goes first and alone (docs/immich.md, law 11)."""
        for collection in self._ledger.collections():
            if collection.state is Probe.UNTRIED and (asset := self._ledger.canary_candidate(collection.id)):
                await self._plan([asset], canary_of=collection.id)

    async def _plan(self, scored: Iterable[ScoredAsset], *, canary_of: int | None = None) -> None:
        assert self._decider, "whoever plans has a decider"
        named = self._decider.tags(scored)
        look_first = await meet_tags(self._context, {asset.key: tags for asset, tags in named})
        with self._ledger.batch():
            self._ledger.record_plan(
                [(asset.key, (*tags, self._context.marker), self._decider.origin) for asset, tags in named],
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
        if asset.links.get(self._context.marker) is LinkState.WANTED and self._context.marker in held.tags:
            self._suspect_others(SURE_OF_ONE)
        contested = self._ledger.is_contested(self._context.now_ms())
        meanings = self._ledger.meanings_of
        step = reconcile(asset.links, held.tags, self._context.marker, contested=contested, meanings=meanings)
        return change(asset.key, step, held.asset.updated_ms)

    # -- send ---------------------------------------------------------------------------------------------

    async def _send(self, planned: list[PlannedAsset]) -> None:
        tagged = [(asset, asset.tags) for asset in planned if not asset.leaving]
        calls = plan_calls(tagged, max_pairs=MAX_PAIRS)
        waves = [asset for asset in planned if asset.leaving]
        canaries = {canary.key for canary in self._ledger.probing()}
        called_ms = await self._context.clock.now_ms()
        # Every answer is awaited and recorded, also when one call finds that Immich has become unreachable.
        answers = await asyncio.gather(
            *(self._call(call, called_ms) for call in calls),
            self._take_off(waves, called_ms),
            return_exceptions=True,
        )
        ends = [end for ends in answers if isinstance(ends, list) for end in ends]
        with self._ledger.batch():
            self._record([end for end in ends if isinstance(end, Applied)], canaries)
            for end in (end for end in ends if isinstance(end, NotApplied)):
                # The scores and the plan stand: only the call is made again.
                self._trouble(end.asset.asset_id, end.error, State.PLANNED)
        for error in (answer for answer in answers if isinstance(answer, BaseException)):
            raise error

    async def _call(self, call: TagCall[PlannedAsset], called_ms: int) -> list[Applied | NotApplied]:
        try:
            new = await self._tag(call)
        except Unreachable:
            raise
        except AssetFailed as error:
            if len(call.assets) == 1:
                return [NotApplied(call.assets[0], error)]
            # Nothing was written; one bad asset must not fail the others.
            alone = [await self._call(TagCall((asset,), call.tags), called_ms) for asset in call.assets]
            return [end for ends in alone for end in ends]
        except Retryable as error:
            return [NotApplied(asset, error) for asset in call.assets]
        if new == len(call.assets) * len(call.tags):
            return [Applied(asset, called_ms) for asset in call.assets]
        self._note_others(call, new)
        # Fewer new links than pairs: some were there before, or Immich silently skipped something (law 2).
        return list(await asyncio.gather(*(self._read_back(asset, new, called_ms) for asset in call.assets)))

    async def _take_off(self, assets: Sequence[PlannedAsset], begun_ms: int) -> list[Applied | NotApplied]:
        """Take all tags of a wave off its assets: one call a tag, one after the other (law 13)."""
        failed: dict[str, Retryable | AssetFailed] = {}
        changed: set[str] = set()
        called_ms: dict[str, int] = {}  # of the last call for an asset: what the ones before cause settles nothing
        wave = {one.asset_id: wave_of(one.leaving, self._context.marker) for one in assets}
        for name in sorted({name for names in wave.values() for name in names}):
            ids = [asset_id for asset_id, names in wave.items() if name in names and asset_id not in failed]
            if not ids or not (tag_id := await self._context.tag_ids.known(name)):
                continue  # without the tag there is nothing to take off
            called_ms |= dict.fromkeys(ids, await self._context.clock.now_ms())
            try:
                changed |= await self._context.client.untag_assets(ids, tag_id)
                self._context.count("untag_calls", 1)
            except Unreachable:
                raise
            except AssetGone:
                self._context.tag_ids.forget()
            except (Retryable, AssetFailed) as error:
                failed |= dict.fromkeys(ids, error)
        ends = (self._end_of(asset, failed, changed, called_ms.get(asset.asset_id, begun_ms)) for asset in assets)
        return list(await asyncio.gather(*ends))

    async def _end_of(
        self,
        asset: PlannedAsset,
        failed: Mapping[str, Retryable | AssetFailed],
        changed: Set[str],
        called_ms: int,
    ) -> Applied | NotApplied:
        if error := failed.get(asset.asset_id):
            return NotApplied(asset, error)
        if asset.asset_id in changed:
            return Applied(asset, called_ms, suspect=True)
        # It had none of the tags: a wave of an earlier run may have arrived, and its jobs may have ended.
        try:
            held = await self._context.client.asset(asset.asset_id)
        except Unreachable:
            raise
        except (Retryable, AssetFailed) as error:
            return NotApplied(asset, error)
        moved = held.asset.updated_ms != asset.updated_ms
        return Applied(asset, min(called_ms, held.asset.updated_ms) if moved else called_ms, suspect=True)

    async def _tag(self, call: TagCall[PlannedAsset]) -> int:
        ids = await self._context.tag_ids.resolve(call.tags)
        new = await self._context.client.tag_assets([asset.asset_id for asset in call.assets], list(ids.values()))
        self._context.count("tag_calls", 1)
        return new

    async def _read_back(
        self, asset: PlannedAsset, new: int, called_ms: int, *, again: bool = True
    ) -> Applied | NotApplied:
        """Tell what the call brought about for one of its assets. `new`: links that it made, of all of them."""
        try:
            held = await self._context.client.asset(asset.asset_id)
        except Unreachable:
            raise
        except Retryable:
            return Applied(asset, called_ms, suspect=True)
        except AssetFailed as error:
            return NotApplied(asset, error)
        if asset.tags <= held.tags:
            # Where a call of an earlier run had arrived, its background job may have ended before this answer.
            ended = not new and held.asset.updated_ms != asset.updated_ms
            arrived_ms = min(called_ms, held.asset.updated_ms) if ended else called_ms
            # Its marker may be somebody else's, and prove nothing (law 14).
            return Applied(asset, arrived_ms, suspect=True)
        self._context.tag_ids.forget()
        if new or asset.tags & held.tags:
            # A part arrived, and background jobs are on their way with it: what is missing (a tag that somebody
            # deleted meanwhile, the marker perhaps) is sent when they are done, never into them (law 1).
            return Applied(asset, called_ms, suspect=True)
        if again:
            return await self._call_again(asset, called_ms)
        return NotApplied(asset, AssetFailed(_REFUSED, kind="tags-refused"))

    def _note_others(self, call: TagCall[PlannedAsset], new: int) -> None:
        """Of a first call some links were there, but not all: another autotagger may have been quicker. (All
        are there when the call was made before.)"""
        there = len(call.assets) * len(call.tags) - new
        if new and all(asset.fresh for asset in call.assets):
            self._suspect_others(min(there, SURE_OF_ONE))

    def _suspect_others(self, by: int) -> None:
        """A person who gave our very tag at that moment is no reason; several such assets are."""
        self._others += by
        if self._others >= SURE_OF_OTHERS:
            contest(self._context)

    async def _call_again(self, asset: PlannedAsset, called_ms: int) -> Applied | NotApplied:
        """Nothing at all arrived, so no background job is on its way and a second call is safe: tag ids may have
        vanished. If it happens again the asset is not ours to tag."""
        new = await self._tag(TagCall((asset,), asset.tags))
        if new == len(asset.tags):
            return Applied(asset, called_ms)
        return await self._read_back(asset, new, called_ms, again=False)

    def _record(self, ends: Iterable[Applied], canaries: Set[int]) -> None:
        """Calls that were answered: those of one call time go into the ledger as one."""
        now_ms = self._context.now_ms()
        alike: dict[tuple[int, bool, bool], list[int]] = {}
        for end in ends:
            asset = end.asset
            suspect = end.suspect or not asset.fresh
            soon = suspect or asset.key in canaries
            alike.setdefault((end.called_ms, suspect, soon), []).append(asset.key)
            self._context.count("untagged" if asset.leaving else "tagged", 1)
            if asset.fresh:  # a change or a repair sends again what was counted before
                self._context.count("tags", len(asset.tags) - 1)  # the marker is no tag of the picture
        few = self._ledger.unsettled() + sum(map(len, alike.values())) <= LOOKED_AT_ONCE
        for (called_ms, suspect, soon), keys in alike.items():
            look_ms = now_ms + (SOON_LOOK_MS if soon else FEW_LOOK_MS if few else LOOK_MS)
            self._ledger.record_answer(keys, called_ms, look_ms, suspect=suspect)

    def _trouble(self, asset_id: str, error: Retryable | AssetFailed, again: State) -> None:
        """An asset could not be read or its call came to nothing; `again`: its state where that is temporary."""
        now_ms = self._context.now_ms()
        attempts = self._ledger.attempts([asset_id])[asset_id]
        found = retry_policy(trouble_of(error), attempts, now_ms, self._max_attempts)
        state = again if found.due_ms is not None else found.state
        logger.warning("asset {}: {}; {}", asset_id, error.message, found.describe(now_ms))
        self._ledger.record_problem(asset_id, state, kind=error.kind, message=error.message, due_ms=found.due_ms)


def change(key: int, step: Step, updated_ms: int, *, again: bool = False) -> Change:
    """What a look says is to be done with an asset, whose updatedAt is `updated_ms`; `again`: done before."""
    return Change(key, step.links, updated_ms, not step.done, step.wave, again, step.forgotten)


_REFUSED = "Immich answered 200 and kept none of the tags: the asset is locked or belongs to another account"
