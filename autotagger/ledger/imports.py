"""Files that were imported into Immich anew: other ids, the same checksums, and perhaps our tags in their .xmp.

What the ledger knows of the tags of the asset before goes over to the new one, so that `undo` finds them and what
a person took off stays off. The asset before has none any more then.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from peewee import JOIN, fn

from autotagger.ledger.assets import AssetsWriter
from autotagger.ledger.base import Reading
from autotagger.ledger.calls import UNDONE
from autotagger.ledger.rows import ListedAsset
from autotagger.ledger.schema import Asset, Link, Score
from autotagger.ledger.states import CHANGING, GOING, MEANT, LinkState, State, What


class Imported(NamedTuple):
    """An asset (`old`, a key) that is gone, or may be, and a later one with the same file."""

    old: int
    old_id: str
    is_gone: bool
    new: int


class ImportsReader(Reading):
    """Which assets have taken another's place."""

    def imported(self) -> list[Imported]:
        """Assets with tags of ours, and later assets of the same file that are at rest."""
        new: Any = Asset.alias()
        ours = Link.select().where((Link.asset == Asset.key) & (Link.state != LinkState.FOUND))
        query = (
            Asset.select(Asset.key, Asset.asset_id, Asset.state, fn.MAX(new.key))
            .join(new, JOIN.INNER, on=(Asset.checksum == new.checksum))
            .where((Asset.checksum != "") & (new.account == Asset.account) & (new.key > Asset.key))
            .where(new.state.not_in((State.GONE, *CHANGING)) & Asset.state.not_in(CHANGING) & fn.EXISTS(ours))
            .group_by(Asset.key)
        )
        rows = self._own(query).tuples()
        return [Imported(old, id_, state is State.GONE, key) for old, id_, state, key in rows]

    def gone_with_tags(self) -> list[tuple[int, str]]:
        """(key, asset id) of assets that are gone and that we mean to have tags."""
        meant = Link.select().where((Link.asset == Asset.key) & Link.state.in_((*MEANT, LinkState.DELETED)))
        query = Asset.select(Asset.key, Asset.asset_id).where((Asset.state == State.GONE) & fn.EXISTS(meant))
        return list(self._own(query).order_by(Asset.key).tuples())


class ImportsWriter(AssetsWriter, ImportsReader):
    """The new asset takes over."""

    def add_imported(self, marked: Sequence[ListedAsset]) -> None:
        """Of assets that hold the marker, add the new ones with the file of an asset that has tags of ours."""
        if not marked:
            return
        with self.batch():
            ids = [asset.asset_id for asset in marked]
            known = {row for (row,) in Asset.select(Asset.asset_id).where(Asset.asset_id.in_(ids)).tuples()}
            fresh = [asset for asset in marked if asset.asset_id not in known and asset.checksum]
            sums = [asset.checksum for asset in fresh]
            ours = Link.select().where((Link.asset == Asset.key) & (Link.state != LinkState.FOUND))
            query = Asset.select(Asset.checksum).where(Asset.checksum.in_(sums) & fn.EXISTS(ours))
            before = {checksum for (checksum,) in self._own(query).tuples()}
            mine = [asset for asset in fresh if asset.checksum in before]
            if mine:
                self.add_marked([], mine)

    def take_over(self, imported: Sequence[Imported]) -> int:
        """What is known of the tags of assets that are gone goes over to the new ones; returns how many."""
        with self.batch():
            gone = [one for one in imported if one.is_gone]
            for one in gone:
                self._take_over(one)
        return len(gone)

    def revive(self, keys: Sequence[int]) -> None:
        """Assets that are in the trash, or back, are changed like all others."""
        with self.batch():
            gone = self._standing(keys, (State.GONE,))
            self._move(Asset.key.in_(gone), State.STALE, due_ms=0, attempts=0, error_kind=None, error=None)

    def record_taken_off(self, key: int, names: Sequence[str]) -> None:
        """Tags are off an asset that Immich does not show, or were off it already."""
        with self.batch():
            self._set_links((key, name, LinkState.REMOVED, None) for name in names)

    # -- inside -------------------------------------------------------------------------------------------

    def _take_over(self, one: Imported) -> None:
        before = {
            tag: (state, origin)
            for tag, state, origin in Link.select(Link.tag, Link.state, Link.origin)
            .where((Link.asset == one.old) & (Link.state != LinkState.FOUND))
            .tuples()
        }
        own = {tag for (tag,) in Link.select(Link.tag).where(Link.asset == one.new).tuples()}
        decided = Asset.select(Asset.origin).where(Asset.key == one.new).scalar() is not None
        after = _decided(before) if decided else _undecided(before)
        rows = [
            {"asset": one.new, "tag": tag, "state": state, "origin": before[tag][1]}
            for tag, state in after.items()
            if tag not in own
        ]
        self._leave_rest([one.new])
        self._insert(Link, rows, conflict="REPLACE")
        Link.delete().where((Link.asset == one.old) & (Link.state != LinkState.FOUND)).execute()
        if not decided:
            self._inherit(one)
        self._note([one.new], What.TAKEN_OVER)
        self._begin_with({row["state"] for row in rows}, one.new, decided=decided)

    def _inherit(self, one: Imported) -> None:
        origin, moved = Asset.select(Asset.origin, Asset.moved).where(Asset.key == one.old).tuples().first()
        self._change(Asset.key == one.new, origin=origin, moved=moved)
        score = Score.select(Score.model, Score.packed).where(Score.asset == one.old).tuples().first()
        if score and not Score.select().where(Score.asset == one.new).exists():
            row = {"asset": one.new, "model": score[0], "packed": score[1]}
            self._insert(Score, [row], conflict="IGNORE")

    def _begin_with(self, states: set[LinkState], key: int, *, decided: bool) -> None:
        """The new asset is read before anything else, or is left alone where all was undone."""
        here = Asset.key == key
        live = states & {*MEANT, *GOING}
        if live and self._standing([key], (State.VERIFIED, State.SKIPPED)):
            self._move(here, State.STALE, due_ms=0, attempts=0, repairs=0, error_kind=None, error=None)
        elif states and not live and not decided and LinkState.REMOVED in states:
            self._set_aside(here, State.SKIPPED, "undone", UNDONE)


def _undecided(before: Mapping[int, tuple[LinkState, int | None]]) -> dict[int, LinkState]:
    """The links of an asset that takes over all: what was there may be there, or not, which a look tells."""
    return {
        tag: LinkState.SENT if state in (LinkState.SENT, LinkState.PROVEN) else state
        for tag, (state, _) in before.items()
    }


def _decided(before: Mapping[int, tuple[LinkState, int | None]]) -> dict[int, LinkState]:
    """The same where its own tags were decided meanwhile: what came along beside them leaves."""
    return {
        tag: LinkState.LEAVING if state in (*MEANT, *GOING) else state
        for tag, (state, _) in before.items()
        if state is not LinkState.LOST
    }
