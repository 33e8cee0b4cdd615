"""Scores of pictures: kept, and read again to decide tags from them."""

from collections.abc import Iterator, Sequence
from typing import Any

from peewee import SQL, chunked, fn

from autotagger.ledger.accounts import REFUSES_TAGS, AccountsWriter
from autotagger.ledger.base import AFRESH, NO_PROBLEM, ROWS, Reading
from autotagger.ledger.filtering import conditions
from autotagger.ledger.rows import AssetFilter, ScoredAsset
from autotagger.ledger.schema import Asset, Collection, Event, Score
from autotagger.ledger.states import TO_FETCH, Probe, State, What

_OURS = Asset.state.not_in((State.SKIPPED, State.GONE)) & (Asset.selected == 1)


class ScoresReader(Reading):
    """Stored scores."""

    def scored(self, limit: int, *, begun: bool = False) -> list[ScoredAsset]:
        """Scored assets of collections where tags are known to stick; `begun`: only those that had tags before."""
        query = (
            self._scored()
            .join(Collection, on=Asset.collection == Collection.id)
            .where((Asset.state == State.SCORED) & (Collection.state == Probe.OPEN))
            .order_by(Asset.due_ms, Asset.key)  # nothing scored has a due time: by key, as the index has it
            .limit(limit)
        )
        if begun:
            query = query.where(Asset.origin.is_null(False))
        return [ScoredAsset(*row) for row in self._own(query).tuples()]

    def scored_again(self) -> int:
        """How many scored assets had tags of ours before: they are to have others."""
        changed = (Asset.state == State.SCORED) & Asset.origin.is_null(False)
        return int(self._own(Asset.select().where(changed)).count())

    def canary_candidate(self, collection: int) -> ScoredAsset | None:
        """The first scored asset of a collection that never failed as its canary (docs/immich.md, law 17); where
        all of them did, the one whose failure is longest ago."""
        query = self._scored().where((Asset.state == State.SCORED) & (Asset.collection == collection))
        failure = (Event.asset == Asset.key) & Event.note.in_(REFUSES_TAGS)
        failed = fn.EXISTS(Event.select(SQL("1")).where(failure))
        last_ms = Event.select(fn.MAX(Event.at_ms)).where(failure)
        row = query.where(~failed).order_by(Asset.key).limit(1).tuples().first()
        row = row or query.where(failed).order_by(last_ms, Asset.key).limit(1).tuples().first()
        return ScoredAsset(*row) if row else None

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

    def needs_inference(self, model: int) -> bool:
        """Whether verified assets are scored by another model than `model`, or not at all."""
        mine = Score.select(Score.asset).where(Score.model == model)
        return bool(
            Asset.select().where((Asset.state == State.VERIFIED) & _OURS & Asset.key.not_in(mine)).exists()
        )

    def twin_scores(self, asset_ids: Sequence[str], model: int) -> dict[str, bytes]:
        """The packed scores that a model gave an identical picture, by the id of the asset that can have them too.

        Identical: the same checksum, and the same thumbhash where both are known (it changes when a picture is
        edited or replaced). In an external library Immich's checksum is that of the path: there both must be.
        """
        twin, here, there = Asset.alias(), Collection.alias(), Collection.alias()
        same_looks = twin.thumbhash == Asset.thumbhash
        untold = twin.thumbhash.is_null() | Asset.thumbhash.is_null()
        uploads = (here.library_id == "") & (there.library_id == "")
        query: Any = (
            Asset.select(Asset.asset_id, Score.packed)
            .join(here, on=Asset.collection == here.id)
            .join(twin, on=(twin.checksum == Asset.checksum) & (twin.key != Asset.key))
            .join(there, on=twin.collection == there.id)
            .join(Score, on=Score.asset == twin.key)
            .where((Score.model == model) & twin.state.not_in(TO_FETCH))
            .where((Asset.checksum != "") & (same_looks | (untold & uploads)))
        )
        found: dict[str, bytes] = {}
        for chunk in chunked(asset_ids, ROWS):
            rows = query.where(Asset.asset_id.in_(list(chunk))).tuples()
            found |= {asset_id: bytes(packed) for asset_id, packed in rows}
        return found

    def _scored(self) -> Any:
        return Asset.select(Asset.key, Asset.asset_id, Score.model, Score.packed).join(
            Score, on=Score.asset == Asset.key
        )


class ScoresWriter(ScoresReader, AccountsWriter):
    """Scores arrive, and are out of date."""

    def record_scores(self, model: int, scored: Sequence[tuple[str, bytes]]) -> None:
        """Keep the packed scores of assets (by id): they are `scored`, whatever kept them before. Scores of an
        asset that has gone on meanwhile are dropped."""
        with self.batch():
            for chunk in chunked(scored, ROWS):
                packed = dict(chunk)
                query = Asset.select(Asset.key, Asset.asset_id).where(
                    Asset.asset_id.in_(list(packed)) & Asset.state.in_(TO_FETCH)
                )
                ids = dict(sorted(query.tuples()))  # rows that come in the order of a table lie closest in it
                rows = [{"asset": key, "model": model, "packed": packed[ids[key]]} for key in ids]
                self._insert(Score, rows, conflict="REPLACE")
                self._move(Asset.key.in_(list(ids)), State.SCORED, due_ms=None, **NO_PROBLEM)
                self._note(ids, What.SCORED, str(model))
            self._skip_closed()

    def rescore_others(self, model: int) -> None:
        """What another model scored and nobody applied yet is scored again, by `model`."""
        others = Score.select().where((Score.asset == Asset.key) & (Score.model != model))
        with self.batch():
            self._move((Asset.state == State.SCORED) & fn.EXISTS(others), State.PENDING, **AFRESH)
