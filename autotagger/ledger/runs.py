"""What our work comes from: runs, models, policies, and the origin that links carry."""

import json
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from peewee import JOIN, fn

from autotagger.ledger.base import Reading, Writing, find_or_add
from autotagger.ledger.rows import ModelRow
from autotagger.ledger.schema import Origin, Policy, Run, Score, TagModel, read


class RunsReader(Reading):
    """Runs and models that there were."""

    def last_run(self) -> tuple[int, int | None, dict[str, Any]] | None:
        """When the newest run started and ended, and its summary."""
        row = Run.select().order_by(Run.id.desc()).first()
        return (row.started_ms, row.ended_ms, read(json.loads, row.summary or "{}")) if row else None

    def model_id(self, identity: str) -> int | None:
        """The ledger's id of a model, None where it has scored nothing."""
        found = TagModel.select(TagModel.id).where(TagModel.identity == identity).scalar()
        return int(found) if found is not None else None

    def newest_rules(self) -> tuple[str, str] | None:
        """The identities of the model and the policy that the newest run decides by."""
        query = (
            Origin.select(TagModel.identity, Policy.identity)
            .join(TagModel, on=Origin.model == TagModel.id)
            .switch(Origin)
            .join(Policy, on=Origin.policy == Policy.id)
            .where(Origin.run == Run.select(fn.MAX(Run.id)))
            .order_by(Origin.id.desc())
        )
        row = query.tuples().first()
        return (row[0], row[1]) if row else None

    def labels(self, model: int) -> list[tuple[str, str]]:
        """(name, category) of every label of a model, in the order of its scores."""
        return read(_unpacked, TagModel.get_by_id(model).labels)

    def models(self) -> list[ModelRow]:
        """Every model, most stored scores first."""
        query = (
            TagModel.select(TagModel.id, TagModel.identity, TagModel.name, fn.COUNT(Score.asset))
            .join(Score, JOIN.LEFT_OUTER, on=Score.model == TagModel.id)
            .group_by(TagModel.id)
            .order_by(fn.COUNT(Score.asset).desc(), TagModel.id.desc())
        )
        return [ModelRow(*row) for row in query.tuples()]


class RunsWriter(RunsReader, Writing):
    """Runs begin and end; models and policies become known."""

    def start_run(self, version: str, now_ms: int) -> int:
        """The number of a new run of this `version` of autotagger."""
        with self.batch():
            return int(Run.insert(started_ms=now_ms, version=version).execute())

    def end_run(self, run: int, summary: Mapping[str, Any], now_ms: int) -> None:
        """Keep what a run came to."""
        with self.batch():
            Run.update(ended_ms=now_ms, summary=json.dumps(summary)).where(Run.id == run).execute()

    def model(self, identity: str, name: str, labels: Sequence[tuple[str, str]]) -> int:
        """The ledger's id of a model; its labels are kept, so that its scores can be read without the model."""
        packed = zlib.compress(json.dumps(list(labels)).encode("utf-8"))
        with self.batch():
            return find_or_add(TagModel, {"identity": identity}, {"name": name, "labels": packed})

    def origin(self, *, model: int, policy: str, settings: str, run: int) -> int:
        """The id that links carry: which model scored, which policy decided, in which run."""
        with self.batch():
            policy_id = find_or_add(Policy, {"identity": policy}, {"settings": settings})
            return find_or_add(Origin, {"model": model, "policy": policy_id, "run": run}, {})


def _unpacked(labels: bytes) -> list[tuple[str, str]]:
    return [(name, category) for name, category in json.loads(zlib.decompress(bytes(labels)))]
