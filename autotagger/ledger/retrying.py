"""Having another try at what was set aside."""

from collections.abc import Sequence
from typing import Any

from autotagger.ledger.base import AFRESH, NO_PROBLEM, ROWS, change_assets
from autotagger.ledger.collections import Collections
from autotagger.ledger.schema import Asset, Link, Score
from autotagger.ledger.states import MEANT, LinkState, State, What

#: Kinds of trouble that are the picture's: another try fetches it and scores it anew. After every other kind the
#: stored scores are as good as they were.
OF_THE_PICTURE = frozenset(
    {
        "preview-missing",
        "not-ready",
        "broken-picture",
        "empty-picture",
        "not-a-picture",
        "too-large",
        "too-many-pixels",
        "bad-scores",
        "inference",
        "spill",  # of earlier versions
        "killed-worker",
    }
)
#: Kinds that somebody decided: tried again only when they are asked for by name.
DECIDED = frozenset({"undone", "library-closed"})
#: Links that Immich has, may have, or is to have from us.
_LIVE = (*MEANT, LinkState.LEAVING)
_AGAIN: dict[str, Any] = {"due_ms": 0, "attempts": 0, "repairs": 0, **NO_PROBLEM}


class Retrying(Collections):
    """Having another try at what was set aside."""

    def retriable(self, kind: str | None = None, asset_id: str | None = None) -> int:
        """How many assets `retry` would have tried again."""
        return int(self._to_retry(kind, asset_id).count())

    def retry(self, kind: str | None = None, asset_id: str | None = None) -> int:
        """Have failed and waiting assets tried again now, and what waits for its next call; returns how many.

        `kind`: only those with this class of trouble; `asset_id`: only this one. What was undone, and what is in a
        library where tags do not stick, takes part only where one of the two is given; a library's verdict is
        forgotten then. Scores are kept where the trouble was not the picture's.
        """
        with self.batch():
            count = self.retriable(kind, asset_id)
            while keys := [key for (key,) in self._to_retry(kind, asset_id).limit(ROWS).tuples()]:
                self._retry_keys(keys)
        return count

    def _retry_keys(self, keys: Sequence[int]) -> None:
        chosen = Asset.key.in_(list(keys))
        closed = (Asset.state == State.SKIPPED) & (Asset.error_kind == "library-closed")
        for (collection,) in Asset.select(Asset.collection).where(chosen & closed).distinct().tuples():
            self.retry_collection(collection)
        scored = {key for (key,) in Score.select(Score.asset).where(Score.asset.in_(list(keys))).tuples()}
        live = Link.select(Link.asset).where(Link.asset.in_(list(keys)) & Link.state.in_(_LIVE)).distinct()
        begun = scored & {key for (key,) in live.tuples()}
        known = Asset.error_kind.not_in(OF_THE_PICTURE)
        # A call that failed and is to be made again is made now, the very same one.
        change_assets(chosen & (Asset.state.in_((State.PLANNED, State.STALE))), _AGAIN)
        set_aside = chosen & Asset.state.in_((State.FAILED, State.WAITING, State.SKIPPED))
        change_assets(set_aside & known & Asset.key.in_(begun), {"state": State.STALE, **_AGAIN})
        change_assets(set_aside & known & Asset.key.in_(scored - begun), {"state": State.SCORED, **_AGAIN})
        change_assets(set_aside, AFRESH)
        self._note(keys, What.RETRIED)

    def _to_retry(self, kind: str | None, asset_id: str | None) -> Any:
        named = kind is not None or asset_id is not None
        skipped = (Asset.state == State.SKIPPED) & Asset.error_kind.in_(DECIDED if named else ())
        delayed = Asset.state.in_((State.PLANNED, State.STALE)) & Asset.error_kind.is_null(False)
        query = Asset.select(Asset.key).where(Asset.state.in_((State.FAILED, State.WAITING)) | skipped | delayed)
        if kind is not None:
            query = query.where(Asset.error_kind == kind)
        if asset_id is not None:
            query = query.where(Asset.asset_id == asset_id)
        return query.order_by(Asset.key)
