"""The selection in the ledger: what enters it is begun, what leaves it keeps its tags and gets no new ones."""

from collections.abc import Sequence
from typing import Any

from peewee import chunked

from autotagger.ledger.assets import NOT_READY, AssetsWriter
from autotagger.ledger.base import AFRESH, NO_PROBLEM, NOT_SELECTED, NOT_SELECTED_WHY, ROWS, Reading
from autotagger.ledger.rows import ListedAsset
from autotagger.ledger.schema import Account, Asset, Score
from autotagger.ledger.states import UNDECIDED, State

_SKIPPED = (Asset.state == State.SKIPPED) & (Asset.error_kind == NOT_SELECTED)


class SelectingReader(Reading):
    """Counts of what the selection leaves out."""

    def not_selected(self) -> int:
        """Assets that the selection leaves out: as the last sweep counted them in Immich, where it could, else
        those that this ledger knows."""
        query = Account.select(Account.id, Account.left_out)
        if self._account is not None:
            query = query.where(Account.id == self._account)
        return sum(
            int(Asset.select().where(_SKIPPED & (Asset.account == account)).count())
            if left_out is None
            else left_out
            for account, left_out in query.tuples()
        )

    def left_with_tags(self) -> int:
        """Assets that are not in the selection any more and keep their tags."""
        return int(
            self._own(Asset.select().where((Asset.selected == 0) & (Asset.state == State.VERIFIED))).count()
        )

    def selections(self) -> dict[str, str | None]:
        """By account, the selection that the ledger's assets were last compared with."""
        return dict(Account.select(Account.name, Account.selection).tuples())


class SelectingWriter(SelectingReader, AssetsWriter):
    """Assets enter the selection and leave it."""

    def expect_selection(self, identity: str, *, everything: bool) -> None:
        """A run begins, by the selection of this identity. Where it is another than before, nothing that is
        undecided is begun before a listing has found it selected. `everything`: it leaves nothing out."""
        with self.batch():
            known = Account.select(Account.selection).where(Account.id == self.account).scalar()
            if known is None and everything:
                Account.update(selection=identity).where(Account.id == self.account).execute()
            elif known != identity:
                self._leave((Asset.account == self.account) & Asset.state.in_(UNDECIDED))

    def selection_listed(self, identity: str, sweep: int, left_out: int | None) -> None:
        """The sweep of this number is complete. By a selection that is new, what it did not list is not selected;
        else a look at each asset will tell (see `unseen`). `left_out`: assets of the library that it left out."""
        with self.batch():
            mine = Account.id == self.account
            if Account.select(Account.selection).where(mine).scalar() != identity:
                # A rating moved it out of sight, not a person.
                unlisted = (Asset.account == self.account) & (Asset.seen < sweep) & Asset.moved.is_null()
                self._change(unlisted, selected=0)
                self._leave(unlisted & Asset.state.in_(UNDECIDED))
            Account.update(selection=identity, left_out=left_out).where(mine).execute()

    def note_selected(self, assets: Sequence[ListedAsset]) -> None:
        """Listed assets that are in the selection: those that were left out are begun. To be noted before
        `note_listed` compares them."""
        waiting = {name: value for name, value in NOT_READY.items() if name != "state"}
        if not assets:
            return
        unready = {asset.asset_id for asset in assets if not asset.ready}
        with self.batch():
            for chunk in chunked([asset.asset_id for asset in assets], ROWS):
                here = Asset.asset_id.in_(list(chunk))
                self._change(here & (Asset.selected == 0), selected=1)
                entered = [key for (key,) in Asset.select(Asset.key).where(here & _SKIPPED).tuples()]
                if not entered:
                    continue
                scored = Asset.key.in_(entered) & Asset.key.in_(Score.select(Score.asset))
                self._move(scored, State.SCORED, due_ms=None, attempts=0, **NO_PROBLEM)
                self._move(Asset.key.in_(entered) & (Asset.state == State.SKIPPED), State.PENDING, **AFRESH)
                too_early = Asset.key.in_(entered) & (Asset.state == State.PENDING)
                self._move(too_early & Asset.asset_id.in_(unready & set(chunk)), State.WAITING, **waiting)
            self._skip_closed()

    def note_unselected(self, assets: Sequence[ListedAsset], *, sweep: int = 0) -> None:
        """Listed assets that are not in the selection: nothing is begun with them, and their tags stay."""
        if not assets:
            return
        with self.batch():
            self.add_listed(assets)
            for chunk in chunked([asset.asset_id for asset in assets], ROWS):
                here = Asset.asset_id.in_(list(chunk))
                self._change(here & (Asset.selected == 1) & Asset.moved.is_null(), selected=0)
                if sweep:
                    self._change(here & (Asset.seen != sweep), seen=sweep)
                self._leave(here & Asset.state.in_(UNDECIDED))

    def _leave(self, which: Any) -> None:
        self._change(which, selected=0)
        self._set_aside(which, State.SKIPPED, NOT_SELECTED, NOT_SELECTED_WHY)
