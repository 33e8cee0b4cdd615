"""From scores to tags in Immich: exactly one call for an asset, carrying every tag and the marker.

Several calls on one asset in quick succession lose tags for good (immich.md, law 1). So the complete set is
recorded first (`planned`), sent once, and never sent in a different form before the asset has settled.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from loguru import logger

from autotagger.errors import AssetFailed, Retryable, Unreachable
from autotagger.immich.types import TagCallAnswer
from autotagger.ledger.rows import PlannedAsset, ScoredAsset
from autotagger.ledger.schema import Probe, State
from autotagger.pipeline.child import trouble_of
from autotagger.pipeline.desk import Desk
from autotagger.pipeline.pacing import Pace
from autotagger.pipeline.verdict import verdict
from autotagger.pipeline.vocabulary import Namer
from autotagger.policy.plan import TagCall, plan_calls

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
    """Plans and sends at most `batch_size` assets at a time; one that fails `max_attempts` times is set aside."""

    def __init__(
        self, desk: Desk, namer: Namer, *, origin: int, batch_size: int, max_attempts: int, pace: Pace
    ) -> None:
        self._desk = desk
        self._ledger = desk.ledger
        self._namer = namer
        self._origin = origin
        self._batch_size = batch_size
        self._max_attempts = max_attempts
        self._pace = pace

    async def apply_batch(self) -> bool:
        """Plan and send at most `batch_size` assets; returns whether there were any.

        What an earlier run planned comes first, with the tags recorded then: the same call made twice is
        harmless, a different one is not.
        """
        self._release_canaries()
        planned = self._ledger.planned(self._desk.now_ms(), self._batch_size)
        if not planned:
            self._plan(self._ledger.scored(self._batch_size))
            planned = self._ledger.planned(self._desk.now_ms(), self._batch_size)
        if not planned:
            return False
        await self._pace.take(len(planned))
        await self._send(planned)
        return True

    # -- plan ---------------------------------------------------------------------------------------------

    def _release_canaries(self) -> None:
        """One asset of every Immich library goes first and alone (immich.md, law 11)."""
        for collection in self._ledger.collections():
            if collection.state is Probe.UNTRIED and (asset := self._ledger.canary_candidate(collection.id)):
                with self._ledger.batch():
                    self._plan([asset])
                    self._ledger.probe_collection(collection.id, asset.key)

    def _plan(self, scored: Iterable[ScoredAsset]) -> None:
        self._ledger.record_plan(
            (asset.key, (*tags, self._desk.marker), self._origin) for asset, tags in self._namer.tags(scored)
        )

    # -- send ---------------------------------------------------------------------------------------------

    async def _send(self, planned: list[PlannedAsset]) -> None:
        calls = plan_calls((asset, asset.tags) for asset in planned)
        canaries = {canary.key for canary in self._ledger.probing()}
        # Every answer is awaited and recorded, also when one call finds that Immich has become unreachable.
        answers = await asyncio.gather(*map(self._call, calls), return_exceptions=True)
        with self._ledger.batch():
            for end in (end for ends in answers if isinstance(ends, list) for end in ends):
                self._record(end, is_canary=end.asset.key in canaries)
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

    async def _tag(self, call: TagCall[PlannedAsset]) -> TagCallAnswer:
        ids = await self._desk.tag_ids.resolve(call.tags)
        answer = await self._desk.client.tag_assets([asset.asset_id for asset in call.assets], list(ids.values()))
        self._desk.count("tag_calls", 1)
        return answer

    async def _read_back(
        self, asset: PlannedAsset, answer: TagCallAnswer, *, again: bool = True
    ) -> Landed | NotLanded:
        try:
            held = await self._desk.client.asset(asset.asset_id)
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
        self._desk.tag_ids.forget()
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

    def _record(self, end: Landed | NotLanded, *, is_canary: bool) -> None:
        now_ms = self._desk.now_ms()
        if isinstance(end, Landed):
            look_ms = now_ms + (SOON_LOOK_MS if is_canary or end.suspect else LOOK_MS)
            self._ledger.record_answer([end.asset.key], end.answered_ms, look_ms, suspect=end.suspect)
            self._desk.count("tagged", 1)
            self._desk.count("tags", len(end.asset.tags) - 1)  # the marker says nothing about the picture
            return
        attempts = self._ledger.attempts([end.asset.asset_id])[end.asset.asset_id]
        found = verdict(trouble_of(end.error), attempts, now_ms, self._max_attempts)
        # The scores and the plan stand: only the call is made again.
        state = State.PLANNED if found.due_ms is not None else found.state
        logger.warning("asset {}: {}; {}", end.asset.asset_id, end.error.message, found.describe(now_ms))
        self._ledger.record_problem(
            end.asset.asset_id, state, kind=end.error.kind, message=end.error.message, due_ms=found.due_ms
        )


_REFUSED = "Immich answered 200 and kept none of the tags: the asset is locked or belongs to another account"
