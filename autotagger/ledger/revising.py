"""Bringing back what was done: assets that are to get other tags (retag), none (undo), or another look."""

from collections.abc import Mapping, Sequence
from typing import Any

from autotagger.ledger.applying import Applying
from autotagger.ledger.base import AFRESH, NO_PROBLEM, ROWS, change_assets
from autotagger.ledger.rows import RestingAsset, Selection
from autotagger.ledger.schema import Asset, KnownTag, Link, Origin, Policy, Score, Tag, TagModel
from autotagger.ledger.states import MEANT, LinkState, State, What

#: Assets with a call under way: what they hold is not known before they have settled.
IN_FLIGHT = (State.PLANNED, State.APPLIED)


class Revising(Applying):
    """Bringing back what was done."""

    def outdated(self, model: int, policy: str) -> int:
        """How many verified assets another model than `model` scored, or another policy decided."""
        return int(self._outdated(model, policy).count())

    def reopen_outdated(self, model: int, policy: str, limit: int, *, after: int = 0) -> list[int]:
        """Have at most `limit` of them, with keys above `after`, decided again: from their scores where those are
        of `model`, else from a new inference. Returns their keys, in order."""
        query = self._outdated(model, policy).where(Asset.key > after)
        keys = [key for (key,) in query.limit(limit).tuples()]
        with self.batch():
            self._leave_rest(keys)
            scores = Score.select(Score.asset).where(Score.asset.in_(keys) & (Score.model == model))
            mine = {key for (key,) in scores.tuples()}
            change_assets(Asset.key.in_(mine), {"state": State.SCORED, "due_ms": None})
            change_assets(Asset.key.in_(set(keys) - mine), AFRESH)
            self._note(keys, What.REOPENED)
        return keys

    def outdated_in_flight(self, model: int, policy: str) -> int:
        """How many assets that are being changed were decided by another model or policy."""
        changing = Asset.state.in_((State.STALE, *IN_FLIGHT))
        return int(self._own(Asset.select().where(changing & self._is_outdated(model, policy))).count())

    def needs_inference(self, model: int) -> bool:
        """Whether verified assets are scored by another model than `model`, or not at all."""
        mine = Score.select(Score.asset).where(Score.model == model)
        return bool(Asset.select().where((Asset.state == State.VERIFIED) & Asset.key.not_in(mine)).exists())

    def resting(self, after: int, limit: int) -> list[RestingAsset]:
        """The next verified assets with a key above `after`. Their links are proven: they were read back, or
        their marker was."""
        query = (
            Asset.select(Asset.key, Asset.asset_id, Asset.file_name, Asset.checksum)
            .where((Asset.state == State.VERIFIED) & (Asset.key > after))
            .order_by(Asset.key)
            .limit(limit)
        )
        rows = list(self._own(query).tuples())
        links = self.links_of([row[0] for row in rows])
        return [
            RestingAsset(key, asset_id, file_name, checksum, _proven(links[key]))
            for key, asset_id, file_name, checksum in rows
        ]

    def score_again(self, key: int, checksum: str) -> None:
        """Another picture is behind an asset: it is fetched and scored anew, and keeps its links until then."""
        with self.batch():
            self._leave_rest([key])
            change_assets(Asset.key == key, {**AFRESH, "checksum": checksum})
            Score.delete().where(Score.asset == key).execute()  # they are the other picture's
            self._note([key], What.CHANGED)

    def take_back(self, selection: Selection, *, marker: str, after: int = 0, window: int = ROWS) -> int | None:
        """Have the selected links of ours leave, in the next `window` assets with a key above `after`; returns
        the last key looked at, None when there are no more.

        The marker leaves with the last tag that we mean an asset to have. Assets with a call under way are passed
        over: once they have settled, start again.
        """
        keys = self._window(selection, after, window, passed_over=(*IN_FLIGHT, State.GONE))
        if not keys:
            return None
        leaving = [
            (key, name, LinkState.LEAVING, None)
            for key, names in self._leaving(keys, selection, marker).items()
            for name in names
        ]
        with self.batch():
            changed = sorted({key for key, *_ in leaving})
            self._leave_rest(changed)
            self._set_links(leaving)
            change = {"state": State.STALE, "due_ms": 0, "attempts": 0, "repairs": 0, **NO_PROBLEM}
            change_assets(Asset.key.in_(changed), change)
            self._note(changed, What.LEAVING)
        return int(keys[-1])

    def selected(self, selection: Selection, *, marker: str) -> bool:
        """Whether any asset still has links that `take_back` would have leave."""
        after = 0
        while True:
            keys = self._window(selection, after, ROWS, passed_over=(State.GONE,))
            if not keys:
                return False
            if any(self._leaving(keys, selection, marker).values()):
                return True
            after = keys[-1]

    def unused_tags_of_ours(self) -> list[str]:
        """Tags that were not in Immich before us and that we no longer mean any asset to have."""
        used = Link.select(Link.tag).join(Asset, on=Link.asset == Asset.key).distinct()
        in_use = self._own(used.where(Link.state.in_((*MEANT, LinkState.LEAVING))))
        query = KnownTag.select(Tag.name).join(Tag, on=KnownTag.tag == Tag.id)
        ours = (KnownTag.account == self.account) & (KnownTag.ours == 1) & KnownTag.tag.not_in(in_use)
        return [name for (name,) in query.where(ours).order_by(Tag.id).tuples()]

    def forget_tags(self, names: Sequence[str]) -> None:
        """Tags were deleted: before their next use somebody else may have made them anew."""
        with self.batch():
            ids = Tag.select(Tag.id).where(Tag.name.in_(list(names)))
            KnownTag.delete().where((KnownTag.account == self.account) & KnownTag.tag.in_(ids)).execute()
        self._known_tags = None

    def unfinished(self) -> int:
        """Assets that are being changed, or whose change is not proven yet."""
        return int(self._own(Asset.select().where(Asset.state.in_((State.STALE, *IN_FLIGHT)))).count())

    # -- inside -------------------------------------------------------------------------------------------

    def _window(self, selection: Selection, after: int, window: int, *, passed_over: Sequence[State]) -> list[int]:
        query = Asset.select(Asset.key).where((Asset.key > after) & Asset.state.not_in(passed_over))
        if selection.asset_id is not None:
            query = query.where(Asset.asset_id == selection.asset_id)
        return [key for (key,) in self._own(query).order_by(Asset.key).limit(window).tuples()]

    def _leaving(self, keys: Sequence[int], selection: Selection, marker: str) -> dict[int, set[str]]:
        """Which of the links that we mean the assets to have a selection names."""
        origins = self._origins(selection)
        leaving: dict[int, set[str]] = {}
        for key, links in self._meant_with_origins(keys).items():
            chosen = {
                name
                for name, origin in links.items()
                if selection.tag in (None, name) and (origins is None or origin in origins)
            }
            # As long as a tag of ours stays, the marker does; it leaves with the last one.
            stays = links.keys() - chosen - {marker}
            leaving[key] = chosen - {marker} if stays else chosen | {marker} if chosen else chosen
        return leaving

    def _outdated(self, model: int, policy: str) -> Any:
        query = Asset.select(Asset.key).where((Asset.state == State.VERIFIED) & self._is_outdated(model, policy))
        return self._own(query).order_by(Asset.key)

    def _is_outdated(self, model: int, policy: str) -> Any:
        today = (
            Origin.select(Origin.id)
            .join(Policy, on=Origin.policy == Policy.id)
            .where((Origin.model == model) & (Policy.identity == policy))
        )
        return Asset.origin.is_null() | Asset.origin.not_in(today)

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


def _proven(links: Mapping[str, LinkState]) -> dict[str, LinkState]:
    """The links of a verified asset, as they are meant."""
    return {name: LinkState.PROVEN if state is LinkState.SENT else state for name, state in links.items()}
