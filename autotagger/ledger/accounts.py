"""Accounts - whose key reads and tags which assets - and their collections: one owner's assets in one Immich
library, with the canary that tells whether tags stick there."""

from typing import Any

from peewee import fn

from autotagger.errors import BadConfig
from autotagger.ledger.base import AFRESH, NO_PROBLEM, Reading, Writing, find_or_add
from autotagger.ledger.rows import Canary, CollectionRow
from autotagger.ledger.schema import Account, Asset, Collection, Link, Score
from autotagger.ledger.states import CHANGING, UNDECIDED, LinkState, Probe, State

#: Kind of the assets of a collection where tags do not stick.
CLOSED = "library-closed"
#: Problems of a picture which, when several have them, are their whole library's.
REFUSES_TAGS = frozenset({"tags-do-not-stick", "tags-refused"})


class AccountsReader(Reading):
    """Accounts and collections, as they are."""

    def account_named(self, name: str) -> int:
        """The ledger's id of an account. Raises BadConfig where no run had one of this name."""
        known = dict(Account.select(Account.name, Account.id).order_by(Account.id).tuples())
        if name not in known:
            raise BadConfig(f"the ledger has no account {name}, only {', '.join(known)}")
        return int(known[name])

    def collections(self) -> list[CollectionRow]:
        """All of them, in the order in which they were found."""
        return [
            CollectionRow(row.id, row.owner_id, row.library_id, row.state, row.canary, row.reason, row.decided_ms)
            for row in self._own(Collection.select().order_by(Collection.id), Collection)
        ]

    def probing(self) -> list[Canary]:
        """Every canary whose result is open."""
        query = (
            Collection.select(Collection.id, Asset.key, Asset.state, Asset.error_kind, Asset.error)
            .join(Asset, on=Collection.canary == Asset.key)
            .where(Collection.state == Probe.PROBING)
        )
        return [Canary(*row) for row in self._own(query, Collection).tuples()]

    def failed_canaries(self, collection: int) -> int:
        """How many assets of a collection have failed because no tag stuck to them."""
        return int(_refusing(collection).count())

    def has_more_canaries(self, collection: int) -> bool:
        """Whether a collection has assets to which tags stuck, or that are still to be tried."""
        hopeful = (State.PENDING, State.SCORED, State.VERIFIED, *CHANGING)
        here = (Asset.collection == collection) & Asset.state.in_(hopeful)
        return bool(Asset.select().where(here).exists())

    def closed_assets(self) -> int:
        """How many assets are skipped because tags do not stick in their library."""
        query = Asset.select().where((Asset.error_kind == CLOSED) & (Asset.state == State.SKIPPED))
        return int(self._own(query).count())


class AccountsWriter(AccountsReader, Writing):
    """Accounts are registered, and collections found, opened and closed."""

    def register_account(self, name: str, user_id: str | None) -> int:
        """The ledger's id of the account of an Immich user, whom a configuration calls `name`.

        Whatever the ledger has of this user becomes the account's, also what another key listed that shares the
        user's timeline. `user_id` None: the key may not tell whose it is, and the name has to do.
        """
        with self.batch():
            if user_id is None:
                known = Account.get_or_none(Account.name == name)
                return int(known.id if known else Account.insert(name=name).execute())
            account = self._account_of(user_id)
            taken = (Account.name == name) & (Account.id != (account or 0))
            Account.update(name=fn.PRINTF("%s (%d)", Account.name, Account.id)).where(taken).execute()
            if account is None:
                account = int(Account.insert(name=name, user_id=user_id).execute())
            Account.update(name=name, user_id=user_id).where(Account.id == account).execute()
            self._hand_over(user_id, account)
            return account

    def probe_collection(self, collection: int, canary: int) -> None:
        """This asset (by key) is the canary."""
        with self.batch():
            Collection.update(state=Probe.PROBING, canary=canary).where(Collection.id == collection).execute()

    def open_collection(self, collection: int, now_ms: int) -> None:
        """Tags stick here."""
        self._decide(collection, Probe.OPEN, None, now_ms)

    def open_all_collections(self, now_ms: int) -> None:
        """Marked assets were found in every collection that there is: tags stick there."""
        with self.batch():
            Collection.update(state=Probe.OPEN, decided_ms=now_ms).execute()

    def untry_collection(self, collection: int) -> None:
        """The canary is gone: another asset is to be tried."""
        self._decide(collection, Probe.UNTRIED, None, None)

    def close_collection(self, collection: int, reason: str, now_ms: int) -> None:
        """Tags do not stick here: whatever was not applied is skipped, and what the canaries got is forgotten."""
        with self.batch():
            failed = [key for (key,) in _refusing(collection).tuples()]
            canaries = {Collection.get_by_id(collection).canary, *failed}
            ours = Link.asset.in_(canaries) & (Link.state != LinkState.FOUND)
            Link.delete().where(ours).execute()
            self._set_aside(Asset.key.in_(canaries), State.SKIPPED, CLOSED, reason)
            self._decide(collection, Probe.CLOSED, reason, now_ms)
            self._skip_closed()

    def retry_collection(self, collection: int) -> None:
        """Open a closed library again: what was skipped for it is done again, with a new canary first."""
        with self.batch():
            self._decide(collection, Probe.UNTRIED, None, None)
            here = (Asset.collection == collection) & (Asset.state == State.SKIPPED) & (Asset.error_kind == CLOSED)
            self._move(here & Asset.key.in_(Score.select(Score.asset)), State.SCORED, **NO_PROBLEM)
            self._move(here, State.PENDING, **AFRESH)

    # -- inside -------------------------------------------------------------------------------------------

    def _decide(self, collection: int, state: Probe, reason: str | None, now_ms: int | None) -> None:
        with self.batch():
            change = Collection.update(state=state, reason=reason, decided_ms=now_ms)
            change.where(Collection.id == collection).execute()

    def _skip_closed(self) -> None:
        """Nothing of a closed collection is fetched or applied."""
        for row in Collection.select().where(Collection.state == Probe.CLOSED):
            here = (Asset.collection == row.id) & Asset.state.in_(UNDECIDED)
            self._set_aside(here, State.SKIPPED, CLOSED, row.reason or "")

    def _collection_ids(self, wanted: set[tuple[str, str]]) -> dict[tuple[str, str], int]:
        """The ids of the collections of (owner, library), which become this account's."""
        ids = {}
        for owner, library in wanted:
            key = {"owner_id": owner, "library_id": library}
            ids[owner, library] = found = find_or_add(Collection, key, {"account": self.account})
            elsewhere = (Collection.id == found) & (Collection.account != self.account)
            Collection.update(account=self.account).where(elsewhere).execute()
        return ids

    def _account_of(self, user_id: str) -> int | None:
        """The account of a user; or one that never told its user and whose key tagged this user's assets."""
        known = Account.get_or_none(Account.user_id == user_id)
        if known:
            return int(known.id)
        query: Any = (
            Account.select(Account.id)
            .join(Collection, on=Collection.account == Account.id)
            .where(Account.user_id.is_null() & (Collection.owner_id == user_id) & (Collection.state == Probe.OPEN))
        )
        adopted = query.scalar()
        unused = Account.select(Account.id).where(
            Account.user_id.is_null() & Account.id.not_in(Collection.select(Collection.account))
        )
        adopted = adopted or unused.scalar()
        return int(adopted) if adopted else None

    def _hand_over(self, user_id: str, account: int) -> None:
        """The user's assets are the account's. Where another key could not tag them, its own may."""
        strays = (Collection.owner_id == user_id) & (Collection.account != account)
        for collection, state in list(Collection.select(Collection.id, Collection.state).where(strays).tuples()):
            Collection.update(account=account).where(Collection.id == collection).execute()
            self._change(Asset.collection == collection, account=account)
            if state == Probe.CLOSED:
                self.retry_collection(collection)


def _refusing(collection: int) -> Any:
    failed = (Asset.state == State.FAILED) & Asset.error_kind.in_(REFUSES_TAGS)
    return Asset.select(Asset.key).where((Asset.collection == collection) & failed)
