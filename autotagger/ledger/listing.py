"""What the sweep found, and what is to be fetched."""

from collections.abc import Iterable, Sequence

from peewee import chunked

from autotagger.ledger.base import (
    BEGINNING,
    NOT_READY,
    ROWS,
    TO_FETCH,
    Base,
    change_assets,
    find_or_add,
    problem,
)
from autotagger.ledger.rows import ListedAsset, Work
from autotagger.ledger.schema import Asset, Collection
from autotagger.ledger.states import State


class Listing(Base):
    """What the sweep found, and what is to be fetched."""

    def add_listed(self, assets: Sequence[ListedAsset]) -> int:
        """Add the assets that are new; returns how many. They are pending, or waiting until Immich is done
        with them. What is known already stays as it is: see `Watching.note_listed`."""
        with self.batch():
            collections = self._collection_ids({(asset.owner_id, asset.library_id) for asset in assets})
            mine = {"account": self.account}
            added = 0
            for chunk in chunked(assets, ROWS):
                rows = [
                    {
                        "asset_id": asset.asset_id,
                        "collection": collections[asset.owner_id, asset.library_id],
                        "kind": asset.kind,
                        "mime": asset.mime,
                        "file_name": asset.file_name,
                        "checksum": asset.checksum,
                        **mine,
                        "updated_ms": asset.updated_ms,
                        "thumbhash": asset.thumbhash,
                        **(BEGINNING if asset.ready else NOT_READY),
                    }
                    for asset in chunk
                ]
                before = self.changes
                self._insert(Asset, rows, conflict="IGNORE")
                added += self.changes - before
                ids = [asset.asset_id for asset in chunk]
                change_assets(Asset.asset_id.in_(ids) & (Asset.account != self.account), mine)
            self._skip_closed()
            return added

    def add_marked(self, asset_ids: Sequence[str]) -> None:
        """Assets that hold the marker already: what we had not begun with them is not to be done. Where the
        marker is of our own putting (another picture is scored again), it is."""
        not_begun = (State.PENDING, State.SCORED, State.WAITING, State.FAILED)
        with self.batch():
            for chunk in chunked(asset_ids, ROWS):
                change_assets(
                    Asset.asset_id.in_(list(chunk)) & Asset.state.in_(not_begun) & Asset.origin.is_null(),
                    problem(State.SKIPPED, "already-marked", "already marked in Immich by another run"),
                )

    def due(
        self, now_ms: int, limit: int, accounts: Iterable[int] | None = None, *, begun: bool = False
    ) -> list[Work]:
        """Assets to fetch now: new ones, and those whose time to be tried again has come; `accounts`: only of
        these; `begun`: only those that had tags before."""
        query = (
            Asset.select(Asset.asset_id, Asset.kind, Asset.mime, Asset.file_name, Asset.account, Asset.checksum)
            .where(Asset.state.in_(TO_FETCH) & (Asset.due_ms <= now_ms))
            .order_by(Asset.due_ms, Asset.key)
            .limit(limit)
        )
        if accounts is not None:
            query = query.where(Asset.account.in_(list(accounts)))
        if begun:
            query = query.where(Asset.origin.is_null(False))
        return [Work(*row) for row in query.tuples()]

    def _collection_ids(self, wanted: set[tuple[str, str]]) -> dict[tuple[str, str], int]:
        ids = {}
        for owner, library in wanted:
            key = {"owner_id": owner, "library_id": library}
            ids[owner, library] = found = find_or_add(Collection, key, {"account": self.account})
            elsewhere = (Collection.id == found) & (Collection.account != self.account)
            Collection.update(account=self.account).where(elsewhere).execute()
        return ids
