"""Scores of pictures, and what kept a picture from being scored."""

from collections.abc import Iterator, Sequence

from peewee import chunked, fn

from autotagger.ledger.base import AFRESH, NO_PROBLEM, ROWS, TO_FETCH, Base, change_assets, problem
from autotagger.ledger.filtering import conditions
from autotagger.ledger.rows import AssetFilter, ScoredAsset
from autotagger.ledger.schema import Asset, Event, Score
from autotagger.ledger.states import State, What

_OURS = Asset.state.not_in((State.SKIPPED, State.GONE))


class Scoring(Base):
    """Scores of pictures, and what kept a picture from being scored."""

    def record_scores(self, model: int, scored: Sequence[tuple[str, bytes]]) -> None:
        """Keep the packed scores of assets (by id): they are `scored`, whatever kept them before."""
        with self.batch():
            for chunk in chunked(scored, ROWS):
                packed = dict(chunk)
                query = Asset.select(Asset.key, Asset.asset_id).where(
                    Asset.asset_id.in_(list(packed)) & Asset.state.in_(TO_FETCH)
                )
                ids = dict(sorted(query.tuples()))  # rows that come in the order of a table lie closest in it
                rows = [{"asset": key, "model": model, "packed": packed[ids[key]]} for key in ids]
                self._insert(Score, rows, conflict="REPLACE")
                change_assets(Asset.key.in_(list(ids)), {"state": State.SCORED, "due_ms": None, **NO_PROBLEM})
                self._note(ids, What.SCORED, str(model))
            self._skip_closed()

    def stored_scores(self, model: int, *, limit: int | None = None) -> Iterator[tuple[int, bytes]]:
        """(asset key, packed scores) of what `model` scored, in the order of the keys.

        `limit`: where there are more, so many at most, evenly spread and always the same.
        """
        query = Score.select(Score.asset, Score.packed).where(Score.model == model).order_by(Score.asset)
        step = -(-query.count() // limit) if limit else 1
        for number, (key, packed) in enumerate(query.tuples().iterator()):
            if number % step == 0:
                yield key, bytes(packed)

    def scores_of(self, asset_id: str) -> ScoredAsset | None:
        """The stored scores of one asset, whatever its state; None where there are none."""
        row = self._scored().where(Asset.asset_id == asset_id).tuples().first()
        return ScoredAsset(*row) if row else None

    def taggable(self, model: int, limit: int, chosen: AssetFilter) -> list[ScoredAsset]:
        """The first of the chosen assets that have scores of `model` and are ours to tag."""
        query = self._scored().where(Score.model == model, _OURS, *conditions(chosen))
        return [ScoredAsset(*row) for row in query.order_by(Asset.key).limit(limit).tuples()]

    def unscored(self, model: int, chosen: AssetFilter) -> int:
        """How many of the chosen assets that are ours to tag have no scores of `model`."""
        mine = Score.select(Score.asset).where(Score.model == model)
        return int(Asset.select().where(_OURS, Asset.key.not_in(mine), *conditions(chosen)).count())

    def rescore_others(self, model: int) -> None:
        """What another model scored and nobody applied yet is scored again, by `model`."""
        others = Score.select().where((Score.asset == Asset.key) & (Score.model != model))
        with self.batch():
            change_assets((Asset.state == State.SCORED) & fn.EXISTS(others), AFRESH)

    def attempts(self, asset_ids: Sequence[str]) -> dict[str, int]:
        """How often each of these assets was tried before."""
        query = Asset.select(Asset.asset_id, Asset.attempts).where(Asset.asset_id.in_(list(asset_ids)))
        return dict(query.tuples())

    def record_problem(self, asset_id: str, state: State, *, kind: str, message: str, due_ms: int | None) -> None:
        """An asset that cannot go on now: `due_ms` says when it is tried again, None that it is not."""
        with self.batch():
            change = problem(state, kind, message) | {"due_ms": due_ms, "attempts": Asset.attempts + 1}
            change_assets(Asset.asset_id == asset_id, change)
            self._note_trouble(asset_id, state, kind)

    def _note_trouble(self, asset_id: str, state: State, kind: str) -> None:
        """The same trouble again only moves the last line's time: what waits for months fills no history."""
        key = Asset.select(Asset.key).where(Asset.asset_id == asset_id).scalar()
        if key is None:
            return
        what = _AS_TOLD.get(state, What.DELAYED)
        mine = Event.asset == key
        last = Event.select().where(mine).order_by(Event.at_ms.desc(), Event.what.desc()).first()
        if last and (last.what, last.note) == (what, kind):
            Event.delete().where(mine & (Event.at_ms == last.at_ms) & (Event.what == what)).execute()
        self._note([key], what, kind)


_AS_TOLD = {
    State.FAILED: What.FAILED,
    State.WAITING: What.WAITING,
    State.SKIPPED: What.SKIPPED,
    State.GONE: What.GONE,
}
