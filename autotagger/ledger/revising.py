"""Bringing back what was done: assets that are to get other tags (retag), none (undo), or another look."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from peewee import chunked

from autotagger.ledger.applying import Applying
from autotagger.ledger.base import AFRESH, NO_PROBLEM, ROWS, change_assets
from autotagger.ledger.schema import MEANT, Asset, Link, LinkState, Origin, Policy, Score, State, Tag, TagModel

#: Assets with a call under way: what they hold is not known before they have settled.
IN_FLIGHT = (State.PLANNED, State.APPLIED)


@dataclass(frozen=True, slots=True)
class Selection:
    """Which links of ours a command means; what is None selects everything. `model`: a model's name."""

    run: int | None = None
    model: str | None = None
    tag: str | None = None
    asset_id: str | None = None


class Revising(Applying):
    """Bringing back what was done."""

    def outdated(self, model: int, policy: str) -> int:
        """How many verified assets another model than `model` scored, or another policy decided."""
        return int(self._outdated(model, policy).count())

    def reopen_outdated(self, model: int, policy: str, limit: int) -> int:
        """Have at most `limit` of them decided again: from their scores where those are of `model`, else from a
        new inference. Returns how many."""
        keys = [key for (key,) in self._outdated(model, policy).limit(limit).tuples()]
        with self.batch():
            self._leave_rest(keys)
            mine = Score.select(Score.asset).where(Score.model == model)
            change_assets(Asset.key.in_(keys) & Asset.key.in_(mine), {"state": State.SCORED, "due_ms": None})
            change_assets(Asset.key.in_(keys) & (Asset.state == State.VERIFIED), AFRESH)
        return len(keys)

    def reopen(self, keys: Sequence[int]) -> None:
        """Have verified assets compared with Immich and mended."""
        with self.batch():
            for chunk in chunked(keys, ROWS):
                self._leave_rest(list(chunk))
                at_rest = Asset.key.in_(list(chunk)) & (Asset.state == State.VERIFIED)
                change_assets(at_rest, {"state": State.STALE, "due_ms": 0, "attempts": 0})

    def take_back(self, selection: Selection, *, marker: str, after: int = 0, window: int = ROWS) -> int | None:
        """Have the selected links of ours leave, in the next `window` assets with a key above `after`; returns
        the last key looked at, None when there are no more.

        The marker leaves with the last tag that we mean an asset to have. Assets with a call under way are passed
        over: once they have settled, start again.
        """
        at_rest = Asset.select(Asset.key).where((Asset.key > after) & Asset.state.not_in((*IN_FLIGHT, State.GONE)))
        if selection.asset_id is not None:
            at_rest = at_rest.where(Asset.asset_id == selection.asset_id)
        keys = [key for (key,) in at_rest.order_by(Asset.key).limit(window).tuples()]
        if not keys:
            return None
        origins = self._origins(selection)
        leaving: list[tuple[int, str, LinkState, None]] = []
        for key, links in self._meant_with_origins(keys).items():
            chosen = {
                name
                for name, origin in links.items()
                if selection.tag in (None, name) and (origins is None or origin in origins)
            }
            stays = links.keys() - chosen - {marker}
            # As long as a tag of ours stays, the marker does; it leaves with the last one.
            gone = chosen - {marker} if stays else chosen | {marker} if chosen else chosen
            leaving += ((key, name, LinkState.LEAVING, None) for name in gone)
        with self.batch():
            changed = sorted({key for key, *_ in leaving})
            self._leave_rest(changed)
            self._set_links(leaving)
            change = {"state": State.STALE, "due_ms": 0, "attempts": 0, "repairs": 0, **NO_PROBLEM}
            change_assets(Asset.key.in_(changed), change)
        return int(keys[-1])

    def unfinished(self) -> int:
        """Assets that are being changed, or whose change is not proven yet."""
        return int(Asset.select().where(Asset.state.in_((State.STALE, *IN_FLIGHT))).count())

    # -- inside -------------------------------------------------------------------------------------------

    def _outdated(self, model: int, policy: str) -> Any:
        today = (
            Origin.select(Origin.id)
            .join(Policy, on=Origin.policy == Policy.id)
            .where((Origin.model == model) & (Policy.identity == policy))
        )
        other = Asset.origin.is_null() | Asset.origin.not_in(today)
        return Asset.select(Asset.key).where((Asset.state == State.VERIFIED) & other).order_by(Asset.key)

    def _leave_rest(self, keys: Sequence[int]) -> None:
        """Verified assets are about to change: from now on their links themselves say that they are proven."""
        verified = Asset.select(Asset.key).where(Asset.key.in_(list(keys)) & (Asset.state == State.VERIFIED))
        proven = Link.update(state=LinkState.PROVEN)
        proven.where(Link.asset.in_(verified) & (Link.state == LinkState.SENT)).execute()

    def _origins(self, selection: Selection) -> set[int] | None:
        """The origins that a selection names; None: all of them."""
        if selection.run is None and selection.model is None:
            return None
        query = Origin.select(Origin.id).join(TagModel, on=Origin.model == TagModel.id)
        if selection.run is not None:
            query = query.where(Origin.run == selection.run)
        if selection.model is not None:
            query = query.where(TagModel.name == selection.model)
        return {origin for (origin,) in query.tuples()}

    def _meant_with_origins(self, keys: Sequence[int]) -> dict[int, dict[str, int]]:
        query = Link.select(Link.asset, Tag.name, Link.origin).join(Tag, on=Link.tag == Tag.id)
        found: dict[int, dict[str, int]] = {}
        for key, name, origin in query.where(Link.asset.in_(list(keys)) & Link.state.in_(MEANT)).tuples():
            found.setdefault(key, {})[name] = origin
        return found
