"""What becomes of assets while nobody looks: edited, replaced, deleted, restored."""

from collections.abc import Mapping, Sequence
from typing import Any

from peewee import chunked, fn

from autotagger.ledger.applying import UNDONE
from autotagger.ledger.base import AFRESH, NO_PROBLEM, NOT_READY, ROWS, change_assets, problem
from autotagger.ledger.revising import IN_FLIGHT, Revising
from autotagger.ledger.rows import ListedAsset
from autotagger.ledger.schema import Asset, Score
from autotagger.ledger.states import MEANT, LinkState, State, What

#: Assets that are being changed: what a listing says of them counts when they are at rest again.
CHANGING = (State.STALE, *IN_FLIGHT)
#: States in which another picture behind the asset means: score it (again).
_SCORED_ANEW = (State.PENDING, State.WAITING, State.FAILED, State.SCORED, State.VERIFIED)
#: Those of them in which it was scored, or failed to be, as what it was taken for.
_SCORED_BEFORE = (State.FAILED, State.SCORED, State.VERIFIED)
#: Problem of an asset whose preview was not there.
PREVIEW_MISSING = "preview-missing"
DELETED = "deleted in Immich, or in its trash; its tags are remembered in case it comes back"


class Watching(Revising):
    """What becomes of assets while nobody looks."""

    def next_sweep(self) -> int:
        """The number of the next sweep."""
        return int(Asset.select(fn.MAX(Asset.seen)).scalar() or 0) + 1

    def note_listed(self, assets: Sequence[ListedAsset], *, sweep: int = 0) -> None:
        """Compare what a listing says with what the ledger knows, and act on the difference. `sweep`: its number,
        0 for a poll.

        Another checksum or thumbhash is another picture: it is scored again, and what the ledger knows of the
        asset's links stays. So it is with what turns out to be of another kind: an animation that was listed
        before Immich knew its length, or that earlier versions of `ledger rebuild` took for a still picture. One
        that was gone is back. One that waited for Immich waits no longer when Immich is done. Assets that are
        being changed are passed over: the next listing after that brings them again.
        """
        with self.batch():
            for chunk in chunked(assets, ROWS):
                listed = {asset.asset_id: asset for asset in chunk}
                here = Asset.asset_id.in_(list(listed))
                query = Asset.select(
                    *(Asset.key, Asset.asset_id, Asset.state, Asset.error_kind),
                    *(Asset.checksum, Asset.thumbhash, Asset.kind),
                )
                for row in query.where(here).namedtuples():
                    self._compare(row, listed[row.asset_id])
                if sweep:
                    change_assets(here & (Asset.seen != sweep), {"seen": sweep})
            self._skip_closed()

    def unseen(self, sweep: int, limit: int) -> list[tuple[int, str]]:
        """(key, asset id) of assets at rest that the complete sweep of this number did not list, longest unseen
        first. It may have had gaps, or its filters may leave them out: only a look at each tells."""
        query = Asset.select(Asset.key, Asset.asset_id).where(
            (Asset.seen < sweep) & Asset.state.not_in((State.GONE, *CHANGING))
        )
        return list(self._own(query).order_by(Asset.seen, Asset.key).limit(limit).tuples())

    def record_gone(self, keys: Sequence[int]) -> None:
        """Assets that Immich no longer has, or has in its trash."""
        with self.batch():
            self._leave_rest(keys)
            self._note(keys, What.GONE)
            change_assets(
                Asset.key.in_(list(keys)) & Asset.state.not_in(CHANGING), problem(State.GONE, "gone", DELETED)
            )

    # -- inside -------------------------------------------------------------------------------------------

    def _compare(self, row: Any, listed: ListedAsset) -> None:
        """One known asset and what a listing says of it."""
        learned = row.thumbhash is None and listed.thumbhash is not None
        known = {"checksum": row.checksum, "thumbhash": row.thumbhash, "kind": row.kind}
        looks = {
            "checksum": listed.checksum or row.checksum,
            "thumbhash": listed.thumbhash or row.thumbhash,
            "kind": listed.kind,
        }
        change: Mapping[str, Any] = {}
        if row.state in CHANGING:
            # Nothing is taken over, so that the next listing still sees what is different.
            looks = {**known, "thumbhash": looks["thumbhash"] if learned else row.thumbhash}
        elif row.state == State.GONE:
            change = self._restored(row.key, another=_is_another(row, listed))
        elif (_is_another(row, listed) and row.state in _SCORED_ANEW) or (
            row.kind != listed.kind and row.state in _SCORED_BEFORE
        ):
            self._leave_rest([row.key])
            # By their absence a retry knows that the picture has to be fetched.
            Score.delete().where(Score.asset == row.key).execute()
            self._note([row.key], What.CHANGED)
            change = AFRESH
        elif row.state == State.WAITING and (
            (learned and row.error_kind == PREVIEW_MISSING)
            or (listed.ready and row.error_kind == NOT_READY["error_kind"])
        ):
            change = AFRESH
        if change or looks != known:
            change_assets(Asset.key == row.key, {**looks, **change})

    def _restored(self, key: int, *, another: bool) -> Mapping[str, Any]:
        """What happens to an asset that is back. Where it has links of ours they are looked at; where all of them
        had been taken off again (undo), they stay off."""
        ours = {state for state in self.links_of([key])[key].values() if state is not LinkState.FOUND}
        if ours and not ours & {*MEANT, LinkState.LEAVING}:
            return problem(State.SKIPPED, "undone", UNDONE)
        if ours and not another and Score.select().where(Score.asset == key).exists():
            return {"state": State.STALE, "due_ms": 0, "attempts": 0, **NO_PROBLEM}
        return AFRESH


def _is_another(row: Any, listed: ListedAsset) -> bool:
    """Whether there is another picture behind an asset now. What is not known yet is no difference."""
    pairs = ((row.checksum, listed.checksum), (row.thumbhash, listed.thumbhash))
    return any(before and now and before != now for before, now in pairs)
