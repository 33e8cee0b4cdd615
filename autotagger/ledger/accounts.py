"""Accounts: whose key reads and tags which assets, and pictures that several of them hold."""

from collections.abc import Sequence
from typing import Any

from peewee import SQL, chunked, fn

from autotagger.errors import BadConfig
from autotagger.ledger.base import ROWS, TO_FETCH
from autotagger.ledger.collections import Collections
from autotagger.ledger.schema import Account, Asset, Collection, Score
from autotagger.ledger.states import Probe, State


class Accounts(Collections):
    """Accounts: whose key reads and tags which assets, and pictures that several of them hold."""

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

    def account_named(self, name: str) -> int:
        """The ledger's id of an account. Raises BadConfig where no run had one of this name."""
        known = dict(Account.select(Account.name, Account.id).order_by(Account.id).tuples())
        if name not in known:
            raise BadConfig(f"the ledger knows no account {name}: there is {', '.join(known)}")
        return int(known[name])

    def counts(self) -> dict[State, int]:
        """Assets by state; every state is there."""
        accounts = self.account_counts().values()
        return {state: sum(mine[state] for mine in accounts) for state in State}

    def account_counts(self) -> dict[str, dict[State, int]]:
        """Assets by account name and state; every account and every state is there."""
        names = dict(Account.select(Account.id, Account.name).order_by(Account.id).tuples())
        counts = {name: dict.fromkeys(State, 0) for name in names.values()}
        # Counted state by state in an index: grouping a million assets takes SQLite twice as long.
        here = Asset.select(fn.COUNT(SQL("*"))).where(Asset.collection == Collection.id)
        query = Collection.select(Collection.account, *(here.where(Asset.state == state) for state in State))
        for account, *found in query.tuples():
            for state, count in zip(State, found, strict=True):
                counts[names[account]][state] += count
        return counts

    def has(self, *states: State) -> bool:
        """Whether any asset of the account stands in one of these states."""
        return bool(self._own(Asset.select().where(Asset.state.in_(states))).exists())

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

    # -- inside -------------------------------------------------------------------------------------------

    def _account_of(self, user_id: str) -> int | None:
        """The account of a user; or one that never told its user and whose key tagged this user's assets."""
        known = Account.get_or_none(Account.user_id == user_id)
        if known:
            return int(known.id)
        query = (
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
            Asset.update(account=account).where(Asset.collection == collection).execute()
            if state == Probe.CLOSED:
                self.retry_collection(collection)
