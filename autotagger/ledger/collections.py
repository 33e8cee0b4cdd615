"""Collections, each one owner's assets in one Immich library, and their canaries."""

from autotagger.ledger.base import AFRESH, NO_PROBLEM, Base, change_assets, problem
from autotagger.ledger.rows import Canary, CollectionRow
from autotagger.ledger.schema import Asset, Collection, Link, Score
from autotagger.ledger.states import LinkState, Probe, State


class Collections(Base):
    """Collections, each one owner's assets in one Immich library, and their canaries."""

    def collections(self) -> list[CollectionRow]:
        """All of them, in the order in which they were found."""
        return [
            CollectionRow(
                row.id, row.owner_id, row.library_id, Probe(row.state), row.canary, row.reason, row.decided_ms
            )
            for row in self._own(Collection.select().order_by(Collection.id), Collection)
        ]

    def probing(self) -> list[Canary]:
        """Every canary whose verdict is open."""
        query = (
            Collection.select(Collection.id, Asset.key, Asset.state, Asset.error_kind, Asset.error)
            .join(Asset, on=Collection.canary == Asset.key)
            .where(Collection.state == Probe.PROBING)
        )
        return [Canary(row[0], row[1], State(row[2]), *row[3:]) for row in self._own(query, Collection).tuples()]

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
            ours = (Link.asset == canary) & (Link.state != LinkState.FOUND)
            Link.delete().where(ours).execute()
            change_assets(Asset.key == canary, problem(State.SKIPPED, "library-closed", reason))
            self._decide(collection, Probe.CLOSED, reason, now_ms)
            self._skip_closed()

    def retry_collection(self, collection: int) -> None:
        """Forget the verdict: what was skipped for it is done again, with a new canary first."""
        with self.batch():
            self._decide(collection, Probe.UNTRIED, None, None)
            skipped = (Asset.collection == collection) & (Asset.error_kind == "library-closed")
            scores = Score.select(Score.asset)
            change_assets(skipped & Asset.key.in_(scores), {"state": State.SCORED, **NO_PROBLEM})
            change_assets(skipped & (Asset.state == State.SKIPPED), AFRESH)

    def _decide(self, collection: int, state: Probe, reason: str | None, now_ms: int | None) -> None:
        with self.batch():
            change = Collection.update(state=state, reason=reason, decided_ms=now_ms)
            change.where(Collection.id == collection).execute()
