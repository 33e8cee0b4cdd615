"""From applied to verified, and what is sent again."""

from collections.abc import Sequence
from typing import Any

from peewee import JOIN, fn

from autotagger.ledger.base import Base, change_assets
from autotagger.ledger.rows import AppliedAsset
from autotagger.ledger.schema import Asset, Link, LinkState, State, Tag, What


class Proof(Base):
    """From applied to verified, and what is sent again."""

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
            change_assets(Asset.key == key, {"due_ms": look_ms})

    def record_verified(self, keys: Sequence[int]) -> None:
        with self.batch():
            change_assets(Asset.key.in_(list(keys)), {"state": State.VERIFIED, "due_ms": None, "suspect": 0})
            self._note(keys, What.VERIFIED)

    def tag_names(self) -> list[str]:
        """Every name that was ever planned for an asset, oldest first."""
        used = Link.select(Link.tag).where(Link.state != LinkState.FOUND).distinct()
        return [name for (name,) in Tag.select(Tag.name).where(Tag.id.in_(used)).order_by(Tag.id).tuples()]

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
                Tag.name,
            )
            .join(Tag, JOIN.LEFT_OUTER, on=Asset.removal == Tag.id)
            .where((Asset.state == State.APPLIED) & condition)
            .order_by(Asset.due_ms)
            .limit(limit)
        )
        return [AppliedAsset(*row) for row in query.tuples()]
