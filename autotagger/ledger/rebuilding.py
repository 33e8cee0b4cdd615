"""Writing a lost ledger anew from what Immich holds."""

from collections.abc import Sequence

from autotagger.ledger.applying import Applying
from autotagger.ledger.base import change_assets
from autotagger.ledger.rows import HeldAsset
from autotagger.ledger.schema import Asset, Collection
from autotagger.ledger.states import LinkState, Probe, State, What


class Rebuilding(Applying):
    """Writing a lost ledger anew from what Immich holds."""

    def record_held(self, held: Sequence[HeldAsset], origin: int) -> None:
        """Listed assets that hold the marker are verified: `ours` of their tags are proven links of `origin`, and
        `others` somebody else's."""
        with self.batch():
            ids = [asset.asset_id for asset in held]
            keys = dict(Asset.select(Asset.asset_id, Asset.key).where(Asset.asset_id.in_(ids)).tuples())
            self._set_links(
                (keys[asset.asset_id], name, state, origin if state is LinkState.PROVEN else None)
                for asset in held
                for names, state in ((asset.ours, LinkState.PROVEN), (asset.others, LinkState.FOUND))
                for name in sorted(names)
            )
            verified = {"state": State.VERIFIED, "due_ms": None, "origin": origin}
            change_assets(Asset.key.in_(list(keys.values())), verified)
            self._note(keys.values(), What.FOUND)

    def open_all_collections(self, now_ms: int) -> None:
        """Marked assets were found in every collection that there is: tags stick there."""
        with self.batch():
            Collection.update(state=Probe.OPEN, decided_ms=now_ms).execute()
