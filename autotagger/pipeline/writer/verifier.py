"""Proof that what was applied is in Immich: a listing of the marker for most, a full read-back for some, repair.

An asset has settled when its own background jobs have written it back; only then does its state mean anything
(docs/immich.md, "Has Immich settled?"). Marker and tags arrive in one INSERT, so on a fresh asset that has
settled the marker proves the tags.
"""

import asyncio
from collections.abc import Mapping

from loguru import logger

from autotagger.errors import AssetFailed, AssetGone, Retryable, Unreachable
from autotagger.immich.sweep import tagged
from autotagger.immich.types import TaggedAsset, settled
from autotagger.ledger.accounts import REFUSES_TAGS
from autotagger.ledger.links import leaving, meant
from autotagger.ledger.rows import AppliedAsset, Canary
from autotagger.ledger.states import CHANGING, LinkState, Probe, State
from autotagger.pipeline.writer.account_context import AccountContext
from autotagger.pipeline.writer.applier import LOOKED_AT_ONCE, change
from autotagger.pipeline.writer.rating_actions import RatingActions, Seen
from autotagger.pipeline.writer.reconcile import Step, reconcile, wave_of
from autotagger.pipeline.writer.sampling import is_sampled
from autotagger.pipeline.writer.strangers import contest

#: Single looks under way in one round, so that verifying does not flood a server whose queue is hours long.
LOOKS_AT_ONCE = 50
#: A second look at an unsettled asset comes after twice the time of the first, within these bounds.
FIRST_LOOK_MS = 1_000
LAST_LOOK_MS = 3_600_000
#: Immich can die between its INSERT and the background job, which then never comes. A day later what is there
#: counts: proof enough when it is all, and repaired when it is not.
NEVER_SETTLES_MS = 86_400_000
#: A canary is never left alone for longer, and when it has waited so long (our clock) that is told.
CANARY_LOOK_MS, TELL_CANARY_MS = 30_000, 120_000
#: One background job of Immich on two cores (docs/immich.md: eight assets a second).
JOB_MS = 125
#: Complete calls made again for one asset before its loss is reported.
MAX_REPAIRS = 3
#: A library closed by its canary is tried again after a day: a mount may have been repaired.
CANARY_AGAIN_MS = 86_400_000

#: So many canaries in a row have to fail before their library is closed: one .xmp may be broken (law 17).
CANARIES = 3
#: What is said of a picture, and of a whole library: Immich's own folder of uploads is nobody's to mount.
DO_NOT_STICK = "Immich dropped the tags again: it cannot write the .xmp file of this picture"
EXTERNAL = (
    "it cannot write the .xmp files of this external library. Mount it read-write (or put a writable overlay on "
    "it); it is tried again after a day"
)
UPLOADS = (
    "it cannot write the .xmp files beside its uploads. Look for the reason in Immich's log (a full disk, or a "
    "folder that is not its own); it is tried again after a day"
)


class Verifier:
    """One `look` is one round. `sample`: share of assets read back in full.

    `actions` are done with what is proven.
    """

    def __init__(self, context: AccountContext, *, sample: float, actions: RatingActions) -> None:
        self._context = context
        self._ledger = context.ledger
        self._sample = sample
        self._actions = actions
        self._waiting_since_ms: dict[int, int] = {}  # canaries, by key
        self._told_waiting: set[int] = set()
        self._told_closed: set[int] = set()  # collections

    async def look(self) -> None:
        """Verify what the marker listing proves; read back what is sampled or suspect."""
        oldest = self._ledger.oldest_answer_ms()
        marker_id = await self._context.tag_ids.known(self._context.marker)
        if oldest is None or marker_id is None:
            return
        waiting: list[dict[str, tuple[int, str]]] = []
        async for page in tagged(self._context.client, marker_id, updated_after_ms=oldest - 1):
            looks = {asset.id: (asset.updated_ms, asset.visibility) for asset in page}
            if self._actions:  # they move assets from one part of the listing to another: after it (law 3)
                waiting.append(looks)
            else:
                await self._judge(looks)
        for looks in waiting:
            await self._judge(looks)

    async def _judge(self, looks: Mapping[str, tuple[int, str]]) -> None:
        """Verify, of assets that hold the marker, those that have settled. `looks`: updatedAt and visibility."""
        if others := self._ledger.untouched(looks):
            self._ledger.add_marked(others)
            contest(self._context)
        rows = self._ledger.applied(list(looks))
        ripe = [row for row in rows if settled(row.updated_ms, looks[row.asset_id][0], row.answered_ms)]
        canaries = self._canaries()
        await self._read_all([row for row in ripe if self._must_read(row, canaries)])
        proven = [row for row in ripe if not self._must_read(row, canaries)]
        shown = {row.asset_id: looks[row.asset_id][1] for row in proven}
        self._verified(await self._acted_upon(proven, shown))

    async def look_at_due(self) -> bool:
        """Look one by one at assets whose time has come, or whose rating; returns whether there were any."""
        due = self._ledger.applied_due(self._context.now_ms(), LOOKS_AT_ONCE)
        await self._read_all(due)
        caught_up = await self._actions.catch_up(LOOKS_AT_ONCE - len(due)) if len(due) < LOOKS_AT_ONCE else False
        return bool(due) or caught_up

    def judge_canaries(self) -> bool:
        """Open or close the libraries whose canary was decided; returns whether there were any."""
        judged = False
        for canary in self._ledger.probing():
            if canary.state is State.VERIFIED:
                self._ledger.open_collection(canary.collection, self._context.now_ms())
            elif canary.state is State.FAILED and canary.kind in REFUSES_TAGS:
                self._judge_failed(canary)
            elif canary.state in CHANGING:
                continue
            else:  # it failed for itself, is gone, or gone and back again: another one
                self._ledger.untry_collection(canary.collection)
            judged = True
        return judged

    def retry_closed(self) -> None:
        """Give libraries that were closed long enough ago another canary; say which others stay closed."""
        for collection in self._ledger.collections():
            if collection.state is not Probe.CLOSED:
                continue
            if self._context.now_ms() - (collection.decided_ms or 0) >= CANARY_AGAIN_MS:
                self._ledger.retry_collection(collection.id)
                self._told_closed.discard(collection.id)
            else:
                self._tell_closed(collection.id, collection.reason or "")

    # -- inside -------------------------------------------------------------------------------------------

    def _judge_failed(self, canary: Canary) -> None:
        """Tags do not stick to a canary: another one is tried, until enough of them have failed, or all that an
        external library has."""
        library = next(row.library_id for row in self._ledger.collections() if row.id == canary.collection)
        failed = self._ledger.failed_canaries(canary.collection)
        all_failed = not self._ledger.has_more_canaries(canary.collection)
        if failed < CANARIES and not (all_failed and (library or canary.kind == "tags-refused")):
            logger.warning(
                "tags do not stick to the first picture of a library ({}): another one is tried", canary.message
            )
            self._ledger.untry_collection(canary.collection)
            return
        reason = canary.message or ""
        if canary.kind == "tags-do-not-stick":
            reason = f"Immich dropped the tags of {failed} pictures again: {EXTERNAL if library else UPLOADS}"
        self._ledger.close_collection(canary.collection, reason, self._context.now_ms())
        self._tell_closed(canary.collection, reason)

    def _tell_closed(self, collection: int, reason: str) -> None:
        if collection not in self._told_closed:
            self._told_closed.add(collection)
            logger.warning("a whole library is skipped: {}", reason)

    def _canaries(self) -> set[int]:
        return {canary.key for canary in self._ledger.probing()}

    def _must_read(self, row: AppliedAsset, canaries: set[int]) -> bool:
        """Repaired and suspect ones, canaries, and a sample that depends on nothing but the asset's id."""
        return is_sampled(row.asset_id, self._sample) or bool(row.suspect or row.repairs) or row.key in canaries

    async def _read_all(self, rows: list[AppliedAsset]) -> None:
        if not rows:
            return
        canaries = self._canaries()
        await asyncio.gather(*(self._read(row, is_canary=row.key in canaries) for row in rows))

    async def _read(self, row: AppliedAsset, *, is_canary: bool) -> None:
        try:
            held = await self._context.client.asset(row.asset_id)
        except AssetFailed as error:
            # Immich may have its own words for a refusal: they are this asset's, and never the writer's end.
            state = State.GONE if isinstance(error, AssetGone) else State.FAILED
            self._ledger.record_problem(row.asset_id, state, kind=error.kind, message=error.message, due_ms=None)
            return
        except Unreachable:
            raise
        except Retryable as error:
            logger.warning("asset {} could not be read back: {}; checked again later", row.asset_id, error.message)
            await self._look_later(row, is_canary=is_canary)
            return
        self._context.count("read_back", 1)
        if not await self._may_judge(row, held):
            await self._look_later(row, is_canary=is_canary)
            return
        links = self._ledger.links_of([row.key])[row.key]
        contested = self._ledger.is_contested(self._context.now_ms())
        step = reconcile(links, held.tags, self._context.marker, after_wave=row.is_wave, contested=contested)
        if is_canary and step.missing and step.missing == meant(links):
            self._ledger.record_problem(
                row.asset_id, State.FAILED, kind="tags-do-not-stick", message=DO_NOT_STICK, due_ms=None
            )
        elif step.missing or (row.is_wave and wave_of(leaving(links), self._context.marker) & step.surplus):
            self._repair(row, held.asset.updated_ms, step)
        elif step.done and await self._actions.act([_seen(row, held.asset.visibility, {**links, **step.links})]):
            await self._look_later(row, is_canary=is_canary)
        else:  # as meant, or the next wave: the marker is to leave, or what is to leave after a put
            self._ledger.record_change([change(row.key, step, held.asset.updated_ms)])
            self._context.count("proven", int(step.done))

    async def _may_judge(self, row: AppliedAsset, held: TaggedAsset) -> bool:
        """Whether what Immich holds is its last word: the asset has settled, or nothing came of it for a day.

        All of it by the database's clock. When somebody has set that to before the call, any change since has to
        do: which came first cannot be told any more. A wave is several calls, each with a background job, so it
        has settled when none of them has written for as long as the asset's next one could take.
        """
        now_ms = await self._context.clock.now_ms()
        age_ms = now_ms - row.answered_ms
        updated_ms = held.asset.updated_ms
        if age_ms > NEVER_SETTLES_MS:
            return True
        if age_ms < 0:
            return updated_ms != row.updated_ms
        if not settled(row.updated_ms, updated_ms, row.answered_ms):
            return False
        if not row.is_wave:
            return True
        turn_ms = min(self._ledger.unsettled(), LOOKED_AT_ONCE) * JOB_MS
        return now_ms - updated_ms >= max(FIRST_LOOK_MS, turn_ms, updated_ms - row.answered_ms)

    async def _acted_upon(self, rows: list[AppliedAsset], shown: Mapping[str, str]) -> list[int]:
        """Do what the ratings ask for. Answers the keys of the assets that are done."""
        keys = [row.key for row in rows]
        if not self._actions:
            return keys
        links = self._ledger.links_of(keys)
        later = await self._actions.act(_seen(row, shown[row.asset_id], links[row.key]) for row in rows)
        return [key for key in keys if key not in later]

    def _verified(self, keys: list[int]) -> None:
        if keys:
            self._ledger.record_verified(keys)
            self._context.count("proven", len(keys))

    async def _look_later(self, row: AppliedAsset, *, is_canary: bool) -> None:
        """Look again after as long as it has been waiting, by the clock that told the time of its call. Where that
        was set since, nobody can tell how long that is."""
        age_ms = await self._context.clock.now_ms() - row.answered_ms
        wait_ms = min(max(age_ms, FIRST_LOOK_MS), CANARY_LOOK_MS if is_canary else LAST_LOOK_MS)
        if is_canary:
            self._tell_waiting(row)
        self._ledger.look_later(row.key, self._context.now_ms() + wait_ms)

    def _tell_waiting(self, row: AppliedAsset) -> None:
        """A canary that waits for minutes keeps a whole library waiting: one line says so."""
        since_ms = self._waiting_since_ms.setdefault(row.key, self._context.now_ms())
        if self._context.now_ms() - since_ms < TELL_CANARY_MS or row.key in self._told_waiting:
            return
        self._told_waiting.add(row.key)
        logger.info(
            "asset {} is the first of its library to be tagged; Immich has not written it back for {} minutes; "
            "the others wait until it has (its background jobs may be many)",
            row.asset_id,
            (self._context.now_ms() - since_ms) // 60_000,
        )

    def _repair(self, row: AppliedAsset, updated_ms: int, step: Step) -> None:
        """What the call should have brought about is not there: the same once more, a limited number of times."""
        self._context.tag_ids.forget()
        wrong = sorted(step.missing or step.surplus)
        if row.repairs >= MAX_REPAIRS:
            names = ", ".join(wrong[:5])
            how = "lost" if step.missing else "brought back"
            message = f"Immich {how} {len(wrong)} tags again after {row.repairs} repairs: {names}"
            logger.error("asset {}: {}", row.asset_id, message)
            self._ledger.record_problem(row.asset_id, State.FAILED, kind="tags-lost", message=message, due_ms=None)
            self._context.count("lost", 1)
            return
        if step.missing:
            logger.warning("asset {} settled without {} of its tags; all are sent again", row.asset_id, len(wrong))
        else:
            logger.info(
                "asset {} settled with {} of the tags that were taken off; they are taken off once more",
                row.asset_id,
                len(wrong),
            )
        self._ledger.record_change([change(row.key, step, updated_ms, again=True)])
        self._context.count("repaired", 1)


def _seen(row: AppliedAsset, visibility: str, links: Mapping[str, LinkState]) -> Seen:
    return Seen(row.key, row.asset_id, visibility, meant(links), row.moved)
