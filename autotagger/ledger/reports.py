"""What people ask: counts, listings, everything about one asset, what went wrong, what people took off.

Pages go by the asset's key and never by number: page 10,000 costs what page 1 does.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from operator import itemgetter
from typing import Any

from peewee import JOIN, SQL, fn

from autotagger.errors import AssetFailed
from autotagger.ledger.base import ROWS, Reading
from autotagger.ledger.filtering import conditions
from autotagger.ledger.links import REJECTED
from autotagger.ledger.rows import AssetFilter, AssetRow, Deed, LinkRow, Problem, Rejection
from autotagger.ledger.schema import Account, Asset, Collection, Event, Link, Origin, Policy, Score, Tag, TagModel
from autotagger.ledger.states import MEANT, SET_ASIDE, LinkState, State, What

#: Which asset, how it stands, and why.
_STANDING = (Asset.asset_id, Asset.file_name, Asset.state, Asset.error_kind, Asset.error, Asset.attempts)
#: A tag that people took off so many assets is proposed for the blacklist: one or two may be single wrong
#: pictures, at five somebody does not want the tag.
REJECTED_OFTEN = 5

#: What a listing can be ordered by, the key settling what is equal: indexes, except for the name, for which the
#: whole table is read once (an index of names would cost 40 bytes an asset).
SORTS = ("asset", "state", "collection", "name")


class ReportsReader(Reading):
    """Counts and listings; nothing here is asked on a picture's way."""

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

    def failures(self) -> dict[str, int]:
        """Failed assets by class, most first."""
        # All troubles are counted, by the index that holds nothing else: failed ones alone would be looked up.
        query = Asset.select(Asset.error_kind, Asset.state, fn.COUNT(Asset.key))
        query = query.where(Asset.error_kind.is_null(False)).group_by(Asset.error_kind, Asset.state)
        failed = [(kind, count) for kind, state, count in query.tuples() if state == State.FAILED]
        return dict(sorted(failed, key=lambda one: -one[1]))

    def failed_in(self, run: int) -> dict[str, int]:
        """Assets that failed in the run of this number and still do, by class, most first."""
        here = (Event.asset == Asset.key) & (Event.what == What.FAILED) & (Event.run == run)
        query = Asset.select(Asset.error_kind, fn.COUNT(Asset.key))
        query = query.where(Asset.error_kind.is_null(False) & (Asset.state == State.FAILED))
        query = query.where(fn.EXISTS(Event.select(SQL("1")).where(here))).group_by(Asset.error_kind)
        return dict(sorted(query.tuples(), key=lambda one: -one[1]))

    def troubles(self) -> list[str]:
        """Every class of trouble that an asset is in."""
        kinds = Asset.select(Asset.error_kind).where(Asset.error_kind.is_null(False)).distinct()
        return [kind for (kind,) in kinds.tuples()]

    def problems(self, limit: int) -> list[Problem]:
        """Failed, waiting and skipped assets, with the reasons."""
        query = (
            Asset.select(*_STANDING, Asset.due_ms)
            .where(Asset.state.in_(SET_ASIDE))
            .order_by(Asset.state, Asset.error_kind, Asset.key)
            .limit(limit)
        )
        return [Problem(*row) for row in query.tuples()]

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
        for asset_id, rows in groupby(query, key=itemgetter(0)):
            yield asset_id, frozenset(name for _, name in rows)

    def assets(self, chosen: AssetFilter, *, sort: str = "asset", limit: int | None = None) -> Iterator[AssetRow]:
        """Assets that `chosen` describes, in the order of `sort` (one of SORTS), at most `limit` of them."""
        orders = {
            "asset": (),
            "name": (Asset.file_name,),
            "state": (Asset.state, Asset.due_ms),
            "collection": (Asset.collection, Asset.state),
        }
        query = self._filtered(chosen).order_by(*orders[sort], Asset.key).limit(limit)
        for row in query.tuples().iterator():
            yield AssetRow(*row)

    def find(self, asset_id: str) -> AssetRow | None:
        """One asset; None where the ledger does not know it."""
        return next(self.assets(AssetFilter(asset_id=asset_id)), None)

    def known(self, asset_id: str) -> AssetRow:
        """One asset. Raises AssetFailed where the ledger does not know it."""
        row = self.find(asset_id)
        if row is None:
            raise AssetFailed(f"the ledger does not know asset {asset_id}: no listing has found it yet")
        return row

    def links_told(self, key: int) -> list[LinkRow]:
        """Every tag that the ledger knows of an asset, with whose it is and where it comes from. What a verified
        asset was sent is proven, whatever its rows say (see LinkState)."""
        query = (
            Link.select(Tag.name, Link.state, TagModel.name, Origin.policy, Origin.run)
            .join(Tag, on=Link.tag == Tag.id)
            .switch(Link)
            .join(Origin, JOIN.LEFT_OUTER, on=Link.origin == Origin.id)
            .join(TagModel, JOIN.LEFT_OUTER, on=Origin.model == TagModel.id)
            .where(Link.asset == key)
            .order_by(Link.state, Tag.name)
        )
        rows = [LinkRow(*row) for row in query.tuples()]
        if not Asset.select().where((Asset.key == key) & (Asset.state == State.VERIFIED)).exists():
            return rows
        return [replace(row, state=LinkState.PROVEN) if row.state is LinkState.SENT else row for row in rows]

    def history(self, key: int) -> list[Deed]:
        """What was done to an asset, oldest first."""
        query = Event.select(Event.at_ms, Event.run, Event.what, Event.note).where(Event.asset == key)
        query = query.order_by(Event.at_ms, Event.what)
        models = {str(id_): name for id_, name in TagModel.select(TagModel.id, TagModel.name).tuples()}
        return [
            Deed(at_ms, run, what, models.get(note, note) if what is What.SCORED else note)
            for at_ms, run, what, note in query.tuples()
        ]

    def rejections(self, limit: int | None = None) -> Iterator[Rejection]:
        """Tags of ours that a person took off, by asset."""
        query = (
            Link.select(Asset.asset_id, Asset.file_name, Tag.name, TagModel.name, Origin.run)
            .join(Asset, on=Link.asset == Asset.key)
            .switch(Link)
            .join(Tag, on=Link.tag == Tag.id)
            .switch(Link)
            .join(Origin, JOIN.LEFT_OUTER, on=Link.origin == Origin.id)
            .join(TagModel, JOIN.LEFT_OUTER, on=Origin.model == TagModel.id)
            .where(REJECTED)
            .order_by(Link.asset)
            .limit(limit)
        )
        for row in self._own(query).tuples().iterator():
            yield Rejection(*row)

    def unwanted(self, least: int = REJECTED_OFTEN) -> list[tuple[str, int]]:
        """Tags that people took off at least `least` assets, and how many, most first: for the blacklist."""
        query = (
            Link.select(Tag.name, fn.COUNT(Link.asset))
            .join(Tag, on=Link.tag == Tag.id)
            .where(REJECTED)
            .group_by(Link.tag)
            .having(fn.COUNT(Link.asset) >= least)
            .order_by(fn.COUNT(Link.asset).desc(), Tag.name)
        )
        return list(query.tuples())

    def tags_of(self, keys: Sequence[int]) -> dict[int, list[str]]:
        """The names that we mean assets to have, by key, in alphabetical order; at most ROWS keys at once."""
        found: dict[int, list[str]] = {key: [] for key in keys}
        query = Link.select(Link.asset, Tag.name).join(Tag, on=Link.tag == Tag.id)
        for key, name in (
            query.where(Link.asset.in_(list(keys)) & Link.state.in_(MEANT)).order_by(Tag.name).tuples()
        ):
            found[key].append(name)
        return found

    def pages(self, chosen: AssetFilter, size: int = ROWS) -> Iterator[list[AssetRow]]:
        """Everything that `chosen` describes, in pages in the order of the keys; a run may go on meanwhile."""
        after = chosen.after
        while page := list(self.assets(chosen.behind(after), limit=size)):
            yield page
            after = page[-1].key

    # -- inside -------------------------------------------------------------------------------------------

    def _filtered(self, chosen: AssetFilter) -> Any:
        query = (
            Asset.select(
                Asset.key,
                *_STANDING,
                Asset.repairs,
                Asset.due_ms,
                Asset.kind,
                Asset.mime,
                Asset.checksum,
                Asset.updated_ms,
                Asset.answered_ms,
                Asset.collection,
                Collection.library_id,
                Account.name,
                TagModel.name,
                Policy.identity,
                Origin.run,
            )
            .join(Collection, on=Asset.collection == Collection.id)
            .join(Account, on=Asset.account == Account.id)
            .switch(Asset)
            .join(Score, JOIN.LEFT_OUTER, on=Score.asset == Asset.key)
            .join(TagModel, JOIN.LEFT_OUTER, on=Score.model == TagModel.id)
            .switch(Asset)
            .join(Origin, JOIN.LEFT_OUTER, on=Asset.origin == Origin.id)
            .join(Policy, JOIN.LEFT_OUTER, on=Origin.policy == Policy.id)
        )
        for condition in conditions(chosen):
            query = query.where(condition)
        return query
