"""Every question to the ledger and every change of it. One writer; any number of readers.

All times are epoch milliseconds; `now_ms` is our clock and comes from the caller.
"""

import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from peewee import JOIN, chunked, fn

from autotagger.ledger.database import open_for_reading, open_for_writing, told_plainly
from autotagger.ledger.rows import (
    AppliedAsset,
    Canary,
    CollectionRow,
    ListedAsset,
    ModelRow,
    PlannedAsset,
    Problem,
    ScoredAsset,
    Work,
)
from autotagger.ledger.schema import (
    Asset,
    Collection,
    Link,
    Origin,
    Policy,
    Probe,
    Run,
    Score,
    State,
    Tag,
    TagModel,
)

#: SQLite binds at most 32,766 variables in one statement; our widest row has ten.
_ROWS = 500


class Ledger:
    """The open ledger. Every method that changes something is one transaction unless called inside `batch`.

    Raises StartupFailed, which ends the run with nothing half-written, when the file cannot be used.
    """

    def __init__(self, path: Path, *, writable: bool) -> None:
        self.path = path
        # peewee cannot annotate what its databases return
        self._db: Any = open_for_writing(path) if writable else open_for_reading(path)
        self._tag_ids: dict[str, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Everything inside is one transaction: all of it is kept, or nothing."""
        with told_plainly(self.path), self._db.atomic("IMMEDIATE"):
            yield

    # -- runs and where things come from ------------------------------------------------------------------

    def start_run(self, version: str, now_ms: int) -> int:
        with self.batch():
            return int(Run.insert(started_ms=now_ms, version=version).execute())

    def end_run(self, run: int, summary: Mapping[str, Any], now_ms: int) -> None:
        with self.batch():
            Run.update(ended_ms=now_ms, summary=json.dumps(summary)).where(Run.id == run).execute()

    def last_run(self) -> tuple[int, int | None, dict[str, Any]] | None:
        """When the newest run started and ended, and its summary."""
        row = Run.select().order_by(Run.id.desc()).first()
        return (row.started_ms, row.ended_ms, json.loads(row.summary or "{}")) if row else None

    def model(self, identity: str, name: str, labels: Sequence[tuple[str, str]]) -> int:
        """The ledger's id of a model; its labels are kept, so that its scores can be read without the model."""
        packed = zlib.compress(json.dumps(list(labels)).encode("utf-8"))
        with self.batch():
            return _find_or_add(TagModel, {"identity": identity}, {"name": name, "labels": packed})

    def labels(self, model: int) -> list[tuple[str, str]]:
        """(name, category) of every label of a model, in the order of its scores."""
        row = TagModel.get_by_id(model)
        return [(name, category) for name, category in json.loads(zlib.decompress(bytes(row.labels)))]

    def models(self) -> list[ModelRow]:
        """Every model, most stored scores first."""
        query = (
            TagModel.select(TagModel.id, TagModel.identity, TagModel.name, fn.COUNT(Score.asset))
            .join(Score, JOIN.LEFT_OUTER, on=Score.model == TagModel.id)
            .group_by(TagModel.id)
            .order_by(fn.COUNT(Score.asset).desc(), TagModel.id.desc())
        )
        return [ModelRow(*row) for row in query.tuples()]

    def origin(self, *, model: int, policy: str, settings: str, run: int) -> int:
        """The id that links carry: which model scored, which policy decided, in which run."""
        with self.batch():
            policy_id = _find_or_add(Policy, {"identity": policy}, {"settings": settings})
            return _find_or_add(Origin, {"model": model, "policy": policy_id, "run": run}, {})

    # -- discover -----------------------------------------------------------------------------------------

    def add_listed(self, assets: Sequence[ListedAsset]) -> int:
        """Add the assets that are new, as pending; returns how many. One that was `gone` and is listed again
        (restored from the trash) is pending again; every other known asset stays as it is."""
        with self.batch():
            collections = self._collection_ids({(asset.owner_id, asset.library_id) for asset in assets})
            added = 0
            for chunk in chunked(assets, _ROWS):
                rows = [
                    {
                        "asset_id": asset.asset_id,
                        "collection": collections[asset.owner_id, asset.library_id],
                        "kind": asset.kind,
                        "mime": asset.mime,
                        "file_name": asset.file_name,
                        "checksum": asset.checksum,
                        "updated_ms": asset.updated_ms,
                        "state": State.PENDING,
                        "due_ms": 0,
                    }
                    for asset in chunk
                ]
                before = self._db.connection().total_changes
                Asset.insert_many(rows).on_conflict_ignore().execute()
                added += self._db.connection().total_changes - before
                ids = [asset.asset_id for asset in chunk]
                _set(Asset.asset_id.in_(ids) & (Asset.state == State.GONE), _AFRESH)
            self._skip_closed()
            return added

    def add_marked(self, asset_ids: Sequence[str]) -> None:
        """Assets that hold the marker already: what we had not begun with them is not to be done."""
        not_begun = (State.PENDING, State.SCORED, State.WAITING, State.FAILED)
        with self.batch():
            for chunk in chunked(asset_ids, _ROWS):
                _set(
                    Asset.asset_id.in_(list(chunk)) & Asset.state.in_(not_begun),
                    _problem(State.SKIPPED, "already-marked", "already marked in Immich by another run"),
                )

    def due(self, now_ms: int, limit: int) -> list[Work]:
        """Assets to fetch now: new ones, and those whose time to be tried again has come."""
        query = (
            Asset.select(Asset.asset_id, Asset.kind, Asset.mime, Asset.file_name)
            .where(Asset.state.in_(_TO_FETCH) & (Asset.due_ms <= now_ms))
            .order_by(Asset.due_ms, Asset.key)
            .limit(limit)
        )
        return [Work(*row) for row in query.tuples()]

    # -- score --------------------------------------------------------------------------------------------

    def record_scores(self, model: int, scored: Sequence[tuple[str, bytes]]) -> None:
        """Keep the packed scores of assets (by id): they are `scored`, whatever kept them before."""
        with self.batch():
            for chunk in chunked(scored, _ROWS):
                packed = dict(chunk)
                keys = dict(
                    Asset.select(Asset.asset_id, Asset.key)
                    .where(Asset.asset_id.in_(list(packed)) & Asset.state.in_(_TO_FETCH))
                    .tuples()
                )
                rows = [
                    {"asset": key, "model": model, "packed": packed[asset_id]} for asset_id, key in keys.items()
                ]
                if rows:
                    Score.insert_many(rows).on_conflict_replace().execute()
                _set(Asset.key.in_(list(keys.values())), {"state": State.SCORED, "due_ms": None, **_NO_PROBLEM})
            self._skip_closed()

    def stored_scores(self, model: int, *, most: int | None = None) -> Iterator[tuple[int, bytes]]:
        """(asset key, packed scores) of what `model` scored, in the order of the keys.

        `most`: where there are more, so many at most, evenly spread and always the same.
        """
        query = Score.select(Score.asset, Score.packed).where(Score.model == model).order_by(Score.asset)
        step = -(-query.count() // most) if most else 1
        for number, (key, packed) in enumerate(query.tuples().iterator()):
            if number % step == 0:
                yield key, bytes(packed)

    def scores_of(self, asset_id: str) -> ScoredAsset | None:
        """The stored scores of one asset, whatever its state; None where there are none."""
        row = self._scored().where(Asset.asset_id == asset_id).tuples().first()
        return ScoredAsset(*row) if row else None

    def rescore_others(self, model: int) -> None:
        """What another model scored and nobody applied yet is scored again, by `model`."""
        others = Score.select(Score.asset).where(Score.model != model)
        with self.batch():
            _set((Asset.state == State.SCORED) & Asset.key.in_(others), _AFRESH)

    def attempts(self, asset_ids: Sequence[str]) -> dict[str, int]:
        """How often each of these assets was tried before."""
        query = Asset.select(Asset.asset_id, Asset.attempts).where(Asset.asset_id.in_(list(asset_ids)))
        return dict(query.tuples())

    def record_problem(self, asset_id: str, state: State, *, kind: str, message: str, due_ms: int | None) -> None:
        """An asset that cannot go on now: `due_ms` says when it is tried again, None that it is not."""
        with self.batch():
            problem = _problem(state, kind, message) | {"due_ms": due_ms, "attempts": Asset.attempts + 1}
            _set(Asset.asset_id == asset_id, problem)

    # -- plan and apply -----------------------------------------------------------------------------------

    def scored(self, limit: int) -> list[ScoredAsset]:
        """Scored assets of collections where tags are known to stick."""
        query = (
            self._scored()
            .join(Collection, on=Asset.collection == Collection.id)
            .where((Asset.state == State.SCORED) & (Collection.state == Probe.OPEN))
            .order_by(Asset.key)
            .limit(limit)
        )
        return [ScoredAsset(*row) for row in query.tuples()]

    def canary_candidate(self, collection: int) -> ScoredAsset | None:
        """The first scored asset of a collection."""
        query = self._scored().where((Asset.state == State.SCORED) & (Asset.collection == collection))
        row = query.order_by(Asset.key).limit(1).tuples().first()
        return ScoredAsset(*row) if row else None

    def record_plan(self, planned: Iterable[tuple[int, Sequence[str], int]]) -> None:
        """(asset key, complete tags with the marker, origin) before the calls are made."""
        planned = list(planned)
        with self.batch():
            self._add_tags({name for _, names, _ in planned for name in names})
            links = [
                {"asset": key, "tag": self._tag_ids[name], "origin": origin}
                for key, names, origin in planned
                for name in names
            ]
            for chunk in chunked(links, _ROWS):
                Link.insert_many(chunk).on_conflict_ignore().execute()
            _set(
                Asset.key.in_([key for key, _, _ in planned]), {"state": State.PLANNED, "due_ms": 0, "attempts": 0}
            )

    def planned(self, now_ms: int, limit: int) -> list[PlannedAsset]:
        """Assets whose call is to be made now, or whose answer was lost, with the tags recorded for them."""
        query = (
            Asset.select(Asset.key, Asset.asset_id, Asset.updated_ms)
            .where((Asset.state == State.PLANNED) & (Asset.due_ms <= now_ms))
            .order_by(Asset.due_ms, Asset.key)
            .limit(limit)
        )
        rows = list(query.tuples())
        links = self._names_of([row[0] for row in rows])
        return [
            PlannedAsset(key, asset_id, updated_ms, frozenset(links.get(key, ())))
            for key, asset_id, updated_ms in rows
        ]

    def record_answer(self, keys: Sequence[int], answered_ms: int, look_ms: int, *, suspect: bool = False) -> None:
        """Immich answered the call. `look_ms`: our clock, when to look at the asset by itself at the latest."""
        with self.batch():
            change = {
                "state": State.APPLIED,
                "answered_ms": answered_ms,
                "due_ms": look_ms,
                "suspect": int(suspect),
            }
            _set(Asset.key.in_(list(keys)), change)

    # -- verify -------------------------------------------------------------------------------------------

    def applied(self, asset_ids: Sequence[str]) -> list[AppliedAsset]:
        """Those of the named assets that are applied and not verified."""
        return self._applied(Asset.asset_id.in_(list(asset_ids)))

    def applied_due(self, now_ms: int, limit: int) -> list[AppliedAsset]:
        """Applied assets to look at one by one, longest waiting first."""
        return self._applied(Asset.due_ms <= now_ms, limit)

    def oldest_answer_ms(self) -> int | None:
        """Immich's clock at the oldest answer that is not verified."""
        oldest = Asset.select(fn.MIN(Asset.answered_ms)).where(Asset.state == State.APPLIED).scalar()
        return int(oldest) if oldest is not None else None

    def look_later(self, key: int, look_ms: int) -> None:
        with self.batch():
            _set(Asset.key == key, {"due_ms": look_ms})

    def record_verified(self, keys: Sequence[int]) -> None:
        with self.batch():
            _set(Asset.key.in_(list(keys)), {"state": State.VERIFIED, "due_ms": None, "suspect": 0})

    def plan_repair(self, key: int, updated_ms: int) -> None:
        """One more complete call for an asset that has settled without all of its tags."""
        with self.batch():
            change = {
                "state": State.PLANNED,
                "updated_ms": updated_ms,
                "repairs": Asset.repairs + 1,
                "due_ms": 0,
                "attempts": 0,
            }
            _set(Asset.key == key, change)

    def tag_names(self) -> list[str]:
        """Every name that was ever planned for an asset, oldest first."""
        return [name for (name,) in Tag.select(Tag.name).order_by(Tag.id).tuples()]

    def tags_of(self, key: int) -> frozenset[str]:
        """The names we mean an asset to have, the marker included."""
        return frozenset(self._names_of([key]).get(key, ()))

    # -- collections and their canaries -------------------------------------------------------------------

    def collections(self) -> list[CollectionRow]:
        return [
            CollectionRow(
                row.id, row.owner_id, row.library_id, Probe(row.state), row.canary, row.reason, row.decided_ms
            )
            for row in Collection.select().order_by(Collection.id)
        ]

    def probing(self) -> list[Canary]:
        """Every canary whose verdict is open."""
        query = (
            Collection.select(Collection.id, Asset.key, Asset.state, Asset.error_kind, Asset.error)
            .join(Asset, on=Collection.canary == Asset.key)
            .where(Collection.state == Probe.PROBING)
        )
        return [Canary(row[0], row[1], State(row[2]), *row[3:]) for row in query.tuples()]

    def probe_collection(self, collection: int, canary: int) -> None:
        with self.batch():
            Collection.update(state=Probe.PROBING, canary=canary).where(Collection.id == collection).execute()

    def open_collection(self, collection: int, now_ms: int) -> None:
        """Tags stick here."""
        self._decide(collection, Probe.OPEN, None, now_ms)

    def untry_collection(self, collection: int) -> None:
        """The canary is gone: another asset is to be tried."""
        self._decide(collection, Probe.UNTRIED, None, None)

    def close_collection(self, collection: int, reason: str, now_ms: int) -> None:
        """Tags do not stick here: whatever was not applied is skipped, and what the canary got is forgotten."""
        with self.batch():
            canary = Collection.get_by_id(collection).canary
            Link.delete().where(Link.asset == canary).execute()
            _set(Asset.key == canary, _problem(State.SKIPPED, "library-closed", reason))
            self._decide(collection, Probe.CLOSED, reason, now_ms)
            self._skip_closed()

    def retry_collection(self, collection: int) -> None:
        """Forget the verdict: what was skipped for it is done again, with a new canary first."""
        with self.batch():
            self._decide(collection, Probe.UNTRIED, None, None)
            skipped = (Asset.collection == collection) & (Asset.error_kind == "library-closed")
            scores = Score.select(Score.asset)
            _set(skipped & Asset.key.in_(scores), {"state": State.SCORED, **_NO_PROBLEM})
            _set(skipped & (Asset.state == State.SKIPPED), _AFRESH)

    # -- reports ------------------------------------------------------------------------------------------

    def counts(self) -> dict[State, int]:
        """Assets by state; every state is there."""
        query = Asset.select(Asset.state, fn.COUNT(Asset.key)).group_by(Asset.state)
        return dict.fromkeys(State, 0) | {State(state): count for state, count in query.tuples()}

    def failures(self) -> dict[str, int]:
        """Failed assets by class."""
        query = Asset.select(Asset.error_kind, fn.COUNT(Asset.key)).where(Asset.state == State.FAILED)
        return dict(query.group_by(Asset.error_kind).order_by(fn.COUNT(Asset.key).desc()).tuples())

    def problems(self, limit: int) -> list[Problem]:
        """Failed, waiting and skipped assets, with the reasons."""
        states = (State.FAILED, State.WAITING, State.SKIPPED)
        query = (
            Asset.select(
                Asset.asset_id,
                Asset.file_name,
                Asset.state,
                Asset.error_kind,
                Asset.error,
                Asset.attempts,
                Asset.due_ms,
            )
            .where(Asset.state.in_(states))
            .order_by(Asset.state, Asset.error_kind, Asset.key)
            .limit(limit)
        )
        return [Problem(row[0], row[1], State(row[2]), *row[3:]) for row in query.tuples()]

    def repairs(self) -> int:
        """Repair calls made, ever."""
        return int(Asset.select(fn.SUM(Asset.repairs)).scalar() or 0)

    def links(self) -> Iterator[tuple[str, frozenset[str]]]:
        """Every asset that we gave tags, with all of them (marker included), by asset id."""
        query = (
            Link.select(Asset.asset_id, Tag.name)
            .join(Asset, on=Link.asset == Asset.key)
            .switch(Link)
            .join(Tag, on=Link.tag == Tag.id)
            .order_by(Link.asset)
            .tuples()
            .iterator()
        )
        current: str | None = None
        names: set[str] = set()
        for asset_id, name in query:
            if asset_id != current:
                if current is not None:
                    yield current, frozenset(names)
                current, names = asset_id, set()
            names.add(name)
        if current is not None:
            yield current, frozenset(names)

    # -- inside -------------------------------------------------------------------------------------------

    def _collection_ids(self, wanted: set[tuple[str, str]]) -> dict[tuple[str, str], int]:
        return {
            (owner, library): _find_or_add(Collection, {"owner_id": owner, "library_id": library}, {})
            for owner, library in wanted
        }

    def _skip_closed(self) -> None:
        """Nothing of a closed collection is fetched or applied."""
        for row in Collection.select().where(Collection.state == Probe.CLOSED):
            begun = (*_TO_FETCH, State.SCORED)
            here = (Asset.collection == row.id) & Asset.state.in_(begun)
            _set(here, _problem(State.SKIPPED, "library-closed", row.reason))

    def _decide(self, collection: int, state: Probe, reason: str | None, now_ms: int | None) -> None:
        with self.batch():
            change = Collection.update(state=state, reason=reason, decided_ms=now_ms)
            change.where(Collection.id == collection).execute()

    def _scored(self) -> Any:
        return Asset.select(Asset.key, Asset.asset_id, Score.model, Score.packed).join(
            Score, on=Score.asset == Asset.key
        )

    def _applied(self, condition: Any, limit: int | None = None) -> list[AppliedAsset]:
        query = (
            Asset.select(
                Asset.key,
                Asset.asset_id,
                Asset.collection,
                Asset.updated_ms,
                Asset.answered_ms,
                Asset.repairs,
                Asset.suspect,
            )
            .where((Asset.state == State.APPLIED) & condition)
            .order_by(Asset.due_ms)
            .limit(limit)
        )
        return [AppliedAsset(*row) for row in query.tuples()]

    def _add_tags(self, names: set[str]) -> None:
        unknown = sorted(names - self._tag_ids.keys())
        for chunk in chunked(unknown, _ROWS):
            Tag.insert_many([{"name": name} for name in chunk]).on_conflict_ignore().execute()
            self._tag_ids |= dict(Tag.select(Tag.name, Tag.id).where(Tag.name.in_(list(chunk))).tuples())

    def _names_of(self, keys: Sequence[int]) -> dict[int, list[str]]:
        names: dict[int, list[str]] = {}
        query = Link.select(Link.asset, Tag.name).join(Tag, on=Link.tag == Tag.id)
        for key, name in query.where(Link.asset.in_(list(keys))).tuples():
            names.setdefault(key, []).append(name)
        return names


_TO_FETCH = (State.PENDING, State.WAITING, State.FAILED)
_NO_PROBLEM: dict[str, Any] = {"error_kind": None, "error": None}
_AFRESH: dict[str, Any] = {"state": State.PENDING, "due_ms": 0, "attempts": 0, **_NO_PROBLEM}


def _problem(state: State, kind: str, message: str) -> dict[str, Any]:
    return {"state": state, "error_kind": kind, "error": message[:500], "due_ms": None}


def _set(condition: Any, change: Mapping[str, Any]) -> None:
    Asset.update(**change).where(condition).execute()


def _find_or_add(table: Any, key: Mapping[str, Any], rest: Mapping[str, Any]) -> int:
    table.insert(**key, **rest).on_conflict_ignore().execute()
    conditions = [getattr(table, name) == value for name, value in key.items()]
    return int(table.select(table.id).where(*conditions).scalar())
