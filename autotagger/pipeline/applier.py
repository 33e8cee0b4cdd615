"""From scores to tags in Immich: exactly one call for an asset, carrying every tag and the marker.

Several calls on one asset in quick succession lose tags for good (immich.md, law 1). So the complete set is
recorded first (`planned`), sent once, and never sent in a different form before the asset has settled.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from loguru import logger

from autotagger.errors import AssetFailed, Retryable, Unreachable
from autotagger.immich.client import ImmichClient
from autotagger.immich.types import TagCallAnswer
from autotagger.ledger.schema import Probe, State
from autotagger.ledger.store import Ledger, PlannedAsset, ScoredAsset
from autotagger.pipeline.child import trouble_of
from autotagger.pipeline.pacing import Pace
from autotagger.pipeline.tag_ids import TagIds
from autotagger.pipeline.verdict import verdict
from autotagger.pipeline.vocabulary import Namer
from autotagger.policy.plan import TagCall, plan_calls

#: A canary is looked at from the first second; everything else is proven by the marker listing, and looked
#: at one by one only when that has not named it for ten minutes.
CANARY_LOOK_MS = 1_000
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
    """Plans and sends. `count` adds to the run's figures; `now_ms` is our clock."""

    def __init__(
        self,
        ledger: Ledger,
        client: ImmichClient,
        tag_ids: TagIds,
        namer: Namer,
        *,
        origin: int,
        marker: str,
        batch_size: int,
        max_attempts: int,
        pace: Pace,
        now_ms: Callable[[], int],
        count: Callable[[str, int], None],
    ) -> None:
        self._ledger = ledger
        self._client = client
        self._tag_ids = tag_ids
        self._namer = namer
        self._origin = origin
        self._marker = marker
        self._batch_size = batch_size
        self._max_attempts = max_attempts
        self._pace = pace
        self._now_ms = now_ms
        self._count = count

    async def apply_batch(self) -> bool:
        """Plan and send at most `batch_size` assets; returns whether there were any.

        What an earlier run planned comes first, with the tags recorded then: the same call made twice is
        harmless, a different one is not.
        """
        self._release_canaries()
        planned = self._ledger.planned(self._now_ms(), self._batch_size)
        if not planned:
            self._plan(self._ledger.scored(self._batch_size))
            planned = self._ledger.planned(self._now_ms(), self._batch_size)
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
            (asset.key, (*tags, self._marker), self._origin) for asset, tags in self._namer.tags(scored)
        )

    # -- send ---------------------------------------------------------------------------------------------

    async def _send(self, planned: list[PlannedAsset]) -> None:
        calls = plan_calls((asset, asset.tags) for asset in planned)
        canaries = {key for _, key, _, _ in self._ledger.probing()}
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
        ids = await self._tag_ids.resolve(call.tags)
        answer = await self._client.tag_assets([asset.asset_id for asset in call.assets], list(ids.values()))
        self._count("tag_calls", 1)
        return answer

    async def _read_back(
        self, asset: PlannedAsset, answer: TagCallAnswer, *, again: bool = True
    ) -> Landed | NotLanded:
        try:
            held = await self._client.asset(asset.asset_id)
        except Unreachable:
            raise
        except Retryable:
            return Landed(asset, answer.answered_ms, suspect=True)
        except AssetFailed as error:
            return NotLanded(asset, error)
        if asset.tags <= held.tags:
            # Where a call of an earlier run had arrived, its background job may have ended before this answer.
            arrived = answer.answered_ms if answer.count else min(answer.answered_ms, held.asset.updated_ms)
            return Landed(asset, arrived, suspect=not answer.count)
        self._tag_ids.forget()
        if self._marker in held.tags:
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
        now_ms = self._now_ms()
        if isinstance(end, Landed):
            look_ms = now_ms + (CANARY_LOOK_MS if is_canary else LOOK_MS)
            self._ledger.record_answer([end.asset.key], end.answered_ms, look_ms, suspect=end.suspect)
            self._count("tagged", 1)
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
