"""Counts and lists for people."""

from collections.abc import Iterator

from peewee import fn

from autotagger.ledger.base import Base
from autotagger.ledger.rows import Problem
from autotagger.ledger.schema import Asset, Link, Tag
from autotagger.ledger.states import MEANT, State


class Reports(Base):
    """Counts and lists for people."""

    def failures(self) -> dict[str, int]:
        """Failed assets by class, most first."""
        # All troubles are counted, by the index that holds nothing else: failed ones alone would be looked up.
        query = Asset.select(Asset.error_kind, Asset.state, fn.COUNT(Asset.key))
        query = query.where(Asset.error_kind.is_null(False)).group_by(Asset.error_kind, Asset.state)
        failed = [(kind, count) for kind, state, count in query.tuples() if state == State.FAILED]
        return dict(sorted(failed, key=lambda one: -one[1]))

    def troubles(self) -> list[str]:
        """Every class of trouble that an asset is in."""
        kinds = Asset.select(Asset.error_kind).where(Asset.error_kind.is_null(False)).distinct()
        return [kind for (kind,) in kinds.tuples()]

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
        """Every asset that we mean to have tags of ours, with all of them (marker included), by asset id."""
        query = (
            Link.select(Asset.asset_id, Tag.name)
            .join(Asset, on=Link.asset == Asset.key)
            .switch(Link)
            .join(Tag, on=Link.tag == Tag.id)
            .where(Link.state.in_(MEANT))
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
