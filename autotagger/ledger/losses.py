"""What left many assets at once, by somebody else's hand: the marker of verified assets, and tags as a whole.

A verified asset has the marker. When a listing brings one without it, its column `suspect` says so: `DOUBTED`
until a look has told whether it is true, `UNMARKED` from then on until the asset is repaired, undone, or seen with
its marker again.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

from peewee import chunked, fn

from autotagger.ledger.base import ROWS, Reading
from autotagger.ledger.links import LinksWriter
from autotagger.ledger.schema import Asset, KnownTag, Link, Tag
from autotagger.ledger.states import MEANT, LinkState, State, What

#: Values of `suspect` of a verified asset.
DOUBTED, UNMARKED = 1, 2


class LossesReader(Reading):
    """What is known to have left."""

    def unmarked(self) -> int:
        """Verified assets without their marker in Immich."""
        # By name: left to itself SQLite counts among all verified ones.
        query = (
            "SELECT COUNT(*) FROM asset INDEXED BY asset_suspect WHERE suspect > 0 AND suspect = ? AND state = ?"
        )
        account = "" if self._account is None else f" AND account = {int(self._account)}"
        row = self._db.execute_sql(query + account, (UNMARKED, str(State.VERIFIED))).fetchone()
        return int(row[0])

    def expected(self) -> int:
        """Verified assets: each of them is meant to have the marker."""
        return int(self._own(Asset.select().where(Asset.state == State.VERIFIED)).count())

    def doubted(self, limit: int) -> list[tuple[int, str]]:
        """(key, asset id) of verified assets that a listing brought without the marker."""
        query = Asset.select(Asset.key, Asset.asset_id).where(_VERIFIED & (Asset.suspect == DOUBTED))
        return list(self._own(query).order_by(Asset.key).limit(limit).tuples())

    def deleted_tags(self) -> list[tuple[str, int]]:
        """Tags of ours that somebody deleted in Immich, and how many assets had them, most first."""
        query = (
            Link.select(Tag.name, fn.COUNT(Link.asset))
            .join(Tag, on=Link.tag == Tag.id)
            .switch(Link)
            .join(Asset, on=Link.asset == Asset.key)
            .where(Link.state == LinkState.DELETED)
            .group_by(Link.tag)
            .order_by(fn.COUNT(Link.asset).desc(), Tag.name)
        )
        return list(self._own(query).tuples())

    def immich_ids(self) -> dict[str, str | None]:
        """The tags that were used, with Immich's id of each where it is known."""
        query = KnownTag.select(Tag.name, KnownTag.immich_id).join(Tag, on=KnownTag.tag == Tag.id)
        return dict(query.where(KnownTag.account == self.account).tuples())

    def verified_with(self, names: Iterable[str]) -> dict[str, list[tuple[int, str]]]:
        """(key, asset id) of the verified and marked assets that are meant to have each of these tags. Looks at
        all links."""
        query = (
            Link.select(Tag.name, Asset.key, Asset.asset_id)
            .join(Tag, on=Link.tag == Tag.id)
            .switch(Link)
            .join(Asset, on=Link.asset == Asset.key)
            .where(Tag.name.in_(list(names)) & Link.state.in_(MEANT) & _VERIFIED & (Asset.suspect == 0))
        )
        found: dict[str, list[tuple[int, str]]] = {}
        for name, key, asset_id in self._own(query).tuples():
            found.setdefault(name, []).append((key, asset_id))
        return found


class LossesWriter(LossesReader, LinksWriter):
    """What a listing and the looks after it bring to light."""

    def note_markers(self, marked: Sequence[str], unmarked: Sequence[str]) -> None:
        """What a listing says of assets (ids): verified ones without the marker are doubted."""
        with self.batch():
            for ids, before, after in ((marked, Asset.suspect > 0, 0), (unmarked, Asset.suspect == 0, DOUBTED)):
                for chunk in chunked(ids, ROWS):
                    self._change(Asset.asset_id.in_(list(chunk)) & _VERIFIED & before, suspect=after)

    def doubt_all_but(self, marked: Set[str]) -> None:
        """The same of all verified assets, where `marked` are all ids that hold the marker."""
        query = self._own(Asset.select(Asset.asset_id).where(_VERIFIED))
        ids = [asset_id for (asset_id,) in query.tuples()]
        self.note_markers([one for one in ids if one in marked], [one for one in ids if one not in marked])

    def clear_doubt(self, keys: Sequence[int]) -> None:
        """Their marker is there after all."""
        self._settle_doubt(Asset.key.in_(list(keys)), 0)

    def confirm_doubts(self) -> int:
        """What is left of the doubts is true: returns how many assets have lost their marker since the last
        time."""
        doubted: Any = _VERIFIED & (Asset.suspect == DOUBTED)
        count = int(self._own(Asset.select().where(doubted)).count())
        self._settle_doubt(doubted, UNMARKED)
        return count

    def record_deleted(self, name: str, keys: Sequence[int]) -> None:
        """Somebody deleted a tag: these assets had it, and do without it from now on."""
        with self.batch():
            tag = self._ids_of({name})[name]
            for chunk in chunked(keys, ROWS):
                here = (Link.tag == tag) & Link.asset.in_(list(chunk)) & Link.state.in_(MEANT)
                Link.update(state=LinkState.DELETED).where(here).execute()
            self._note(keys, What.TAG_DELETED, name)

    def note_immich_ids(self, ids: Mapping[str, str]) -> None:
        """Immich's ids of tags that we used, as they are now."""
        known = self.immich_ids()
        changed = {name: id_ for name, id_ in ids.items() if name in known and known[name] != id_}
        if not changed:
            return
        with self.batch():
            tags = self._ids_of(set(changed))
            for name, id_ in changed.items():
                mine = (KnownTag.account == self.account) & (KnownTag.tag == tags[name])
                KnownTag.update(immich_id=id_).where(mine).execute()

    # -- inside -------------------------------------------------------------------------------------------

    def _settle_doubt(self, which: Any, suspect: int) -> None:
        with self.batch():
            mine = which if self._account is None else which & (Asset.account == self._account)
            self._change(mine & _VERIFIED & (Asset.suspect == DOUBTED), suspect=suspect)


_VERIFIED = Asset.state == State.VERIFIED
