"""From applied to verified, and what is sent again."""

from collections.abc import Sequence
from typing import Any

from peewee import JOIN, fn

from autotagger.ledger.applying import meant
from autotagger.ledger.base import Base, change_assets
from autotagger.ledger.rows import AppliedAsset, RatedAsset
from autotagger.ledger.schema import Asset, Link, Tag
from autotagger.ledger.states import MEANT, State, What


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
        query = Asset.select(fn.MIN(Asset.answered_ms)).where(Asset.state == State.APPLIED)
        oldest = self._own(query).scalar()
        return int(oldest) if oldest is not None else None

    def unsettled(self) -> int:
        """Assets whose call was answered and is not proven yet, of all accounts."""
        return int(Asset.select().where(Asset.state == State.APPLIED).count())

    def look_later(self, key: int, look_ms: int) -> None:
        with self.batch():
            change_assets(Asset.key == key, {"due_ms": look_ms})

    def record_verified(self, keys: Sequence[int]) -> None:
        with self.batch():
            change_assets(Asset.key.in_(list(keys)), {"state": State.VERIFIED, "due_ms": None, "suspect": 0})
            self._note(keys, What.VERIFIED)

    def record_moved(self, keys: Sequence[int], visibility: str) -> None:
        """Ratings had these assets moved there, or found them there."""
        with self.batch():
            change_assets(Asset.key.in_(list(keys)), {"moved": visibility})

    def unmoved(self, tags: Sequence[str], visibility: str, *, after: int, limit: int) -> list[RatedAsset]:
        """Verified assets with one of `tags` that were not moved to `visibility`, by key, from above `after`."""
        rated = (
            Link.select(Link.asset)
            .join(Tag, on=Link.tag == Tag.id)
            .where((Link.asset == Asset.key) & Tag.name.in_(list(tags)) & Link.state.in_(MEANT))
        )
        query = (
            Asset.select(Asset.key, Asset.asset_id, Asset.moved)
            .where((Asset.state == State.VERIFIED) & Asset.due_ms.is_null() & (Asset.key > after))
            .where((Asset.moved.is_null() | (Asset.moved != visibility)) & fn.EXISTS(rated))
            .order_by(Asset.key)
            .limit(limit)
        )
        rows = list(self._own(query).tuples())
        links = self.links_of([key for key, _, _ in rows])
        return [RatedAsset(key, asset_id, moved, meant(links[key])) for key, asset_id, moved in rows]

    def tags_in_use(self) -> set[str]:
        """Every tag that we mean some asset to have. Looks at all links."""
        used = Link.select(Link.tag).where(Link.state.in_(MEANT)).distinct()
        return {name for (name,) in Tag.select(Tag.name).where(Tag.id.in_(used)).tuples()}

    # -- inside -----------------------------------------------------------------------------------------

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
                Asset.moved,
                Tag.name,
            )
            .join(Tag, JOIN.LEFT_OUTER, on=Asset.removal == Tag.id)
            .where((Asset.state == State.APPLIED) & condition)
            .order_by(Asset.due_ms)
            .limit(limit)
        )
        return [AppliedAsset(*row) for row in self._own(query).tuples()]
