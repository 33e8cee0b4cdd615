"""Tag calls: decided and written down, made, answered, and proven by what Immich holds afterwards."""

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

from peewee import fn

from autotagger.ledger.base import AFRESH, NO_PROBLEM, NOT_SELECTED, NOT_SELECTED_WHY
from autotagger.ledger.links import LinksReader, LinksWriter, leaving, meant, proven, revised, to_put
from autotagger.ledger.rows import (
    AppliedAsset,
    Change,
    HeldAsset,
    PlannedAsset,
    RatedAsset,
    RestingAsset,
    StaleAsset,
)
from autotagger.ledger.schema import Asset, Link, Origin, Policy, Score, Tag
from autotagger.ledger.states import CHANGING, GOING, MEANT, LinkState, State, What

#: States in which a look at an asset decides what comes next.
_LOOKED_AT = (State.STALE, State.APPLIED, State.VERIFIED)
UNDONE = "our tags were taken off again (undo); `autotagger retry --asset ID` has it tagged again"


class CallsReader(LinksReader):
    """Assets whose call is to be made, was made, or is proven."""

    def stale(self, now_ms: int, limit: int) -> list[StaleAsset]:
        """Assets to be read and planned, longest waiting first."""
        query = (
            Asset.select(Asset.key, Asset.asset_id)
            .where((Asset.state == State.STALE) & (Asset.due_ms <= now_ms))
            .order_by(Asset.due_ms, Asset.key)
            .limit(limit)
        )
        rows = list(self._own(query).tuples())
        links = self.links_of([key for key, _ in rows])
        return [StaleAsset(key, asset_id, links[key]) for key, asset_id in rows]

    def planned(self, now_ms: int, limit: int) -> list[PlannedAsset]:
        """Assets whose call is to be made now, or whose answer was lost, with the tags recorded for them."""
        query = (
            Asset.select(Asset.key, Asset.asset_id, Asset.updated_ms, Asset.removal.is_null(False))
            .where((Asset.state == State.PLANNED) & (Asset.due_ms <= now_ms))
            .order_by(Asset.due_ms, Asset.key)
            .limit(limit)
        )
        rows = list(self._own(query).tuples())
        links = self.links_of([row[0] for row in rows])
        return [
            PlannedAsset(
                *(key, asset_id, updated_ms, to_put(links[key])),
                leaving=leaving(links[key]) if is_wave else frozenset(),
                fresh=_is_fresh(links[key]),
            )
            for key, asset_id, updated_ms, is_wave in rows
        ]

    def applied(self, asset_ids: Sequence[str]) -> list[AppliedAsset]:
        """Those of the named assets that are applied and not verified."""
        return self._applied(Asset.asset_id.in_(list(asset_ids)))

    def applied_due(self, now_ms: int, limit: int) -> list[AppliedAsset]:
        """Applied assets to look at one by one, longest waiting first."""
        return self._applied(Asset.due_ms <= now_ms, limit)

    def oldest_answer_ms(self) -> int | None:
        """Immich's clock at the oldest answer that is not verified."""
        query = Asset.select(fn.MIN(Asset.answered_ms)).where(Asset.state == State.APPLIED)
        oldest = self._own(query).scalar()
        return int(oldest) if oldest is not None else None

    def unsettled(self) -> int:
        """Assets whose call was answered and is not proven yet, of all accounts."""
        return int(Asset.select().where(Asset.state == State.APPLIED).count())

    def unfinished(self) -> int:
        """Assets that are being changed, or whose change is not proven yet."""
        return int(self._own(Asset.select().where(Asset.state.in_(CHANGING))).count())

    def resting(self, after: int, limit: int) -> list[RestingAsset]:
        """The next verified assets with a key above `after`. Their links are proven: they were read back, or
        their marker was."""
        return self._resting(Asset.key > after, limit)

    def resting_of(self, keys: Sequence[int]) -> list[RestingAsset]:
        """Those of the assets that are verified."""
        return self._resting(Asset.key.in_(list(keys)))

    def _resting(self, which: Any, limit: int | None = None) -> list[RestingAsset]:
        query = (
            Asset.select(Asset.key, Asset.asset_id, Asset.file_name, Asset.checksum)
            .where((Asset.state == State.VERIFIED) & which)
            .order_by(Asset.key)
            .limit(limit)
        )
        rows = list(self._own(query).tuples())
        links = self.links_of([row[0] for row in rows])
        return [
            RestingAsset(key, asset_id, file_name, checksum, proven(links[key]))
            for key, asset_id, file_name, checksum in rows
        ]

    def unmoved(self, tags: Sequence[str], visibility: str, *, after: int, limit: int) -> list[RatedAsset]:
        """Verified assets with one of `tags` that were not moved to `visibility`, by key, from above `after`."""
        rated = (
            Link.select(Link.asset)
            .join(Tag, on=Link.tag == Tag.id)
            .where((Link.asset == Asset.key) & Tag.name.in_(list(tags)) & Link.state.in_(MEANT))
        )
        query = (
            Asset.select(Asset.key, Asset.asset_id, Asset.moved)
            .where((Asset.state == State.VERIFIED) & Asset.due_ms.is_null() & (Asset.key > after))
            .where((Asset.moved.is_null() | (Asset.moved != visibility)) & fn.EXISTS(rated))
            .order_by(Asset.key)
            .limit(limit)
        )
        rows = list(self._own(query).tuples())
        links = self.links_of([key for key, _, _ in rows])
        return [RatedAsset(key, asset_id, moved, meant(links[key])) for key, asset_id, moved in rows]

    def outdated(self, model: int, policy: str) -> int:
        """How many verified assets another model than `model` scored, or another policy decided."""
        return int(self._outdated(model, policy).count())

    def outdated_in_flight(self, model: int, policy: str) -> int:
        """How many assets that are being changed were decided by another model or policy."""
        changing = Asset.state.in_(CHANGING)
        return int(self._own(Asset.select().where(changing & self._is_outdated(model, policy))).count())

    # -- inside -------------------------------------------------------------------------------------------

    def _applied(self, condition: Any, limit: int | None = None) -> list[AppliedAsset]:
        query = (
            Asset.select(
                Asset.key,
                Asset.asset_id,
                Asset.collection,
                Asset.updated_ms,
                Asset.answered_ms,
                Asset.repairs,
                Asset.suspect,
                Asset.moved,
                Asset.removal.is_null(False),
            )
            .where((Asset.state == State.APPLIED) & condition)
            .order_by(Asset.due_ms)
            .limit(limit)
        )
        return [AppliedAsset(*row) for row in self._own(query).tuples()]

    def _outdated(self, model: int, policy: str) -> Any:
        query = Asset.select(Asset.key).where((Asset.state == State.VERIFIED) & self._is_outdated(model, policy))
        return self._own(query).order_by(Asset.key)

    def _is_outdated(self, model: int, policy: str) -> Any:
        today = (
            Origin.select(Origin.id)
            .join(Policy, on=Origin.policy == Policy.id)
            .where((Origin.model == model) & (Policy.identity == policy))
        )
        # What left the selection keeps its tags.
        return (Asset.selected == 1) & (Asset.origin.is_null() | Asset.origin.not_in(today))


class CallsWriter(CallsReader, LinksWriter):
    """Every step of a call is written down, before it where a crash could otherwise lose a tag."""

    def record_plan(
        self, planned: Iterable[tuple[int, Sequence[str], int]], *, look_first: Set[int] = frozenset()
    ) -> None:
        """(asset key, complete tags with the marker, origin): what assets should have, before any call is made.

        An asset that gets its first tags is planned; one in `look_first`, or with links of ours already, is stale
        and read before its call, unless it has the very tags: then it is verified. One that is not scored any more
        (another picture is behind it since) is left alone.
        """
        planned = list(planned)
        with self.batch():
            known = self.links_of(self._standing([key for key, _, _ in planned], (State.SCORED,)))
            rows: list[tuple[int, str, LinkState, int]] = []
            ends: dict[tuple[State, int], list[int]] = {}
            for key, names, origin in (plan for plan in planned if plan[0] in known):
                fresh = key not in look_first and set(known[key].values()) <= {LinkState.FOUND}
                changed = revised(known[key], names, LinkState.SENT if fresh else LinkState.WANTED)
                rows += ((key, name, state, origin) for name, state in changed.items())
                # A link that was sent and never read back (its asset was gone meanwhile) is looked at first.
                open_ends = set(known[key].values()) & {*MEANT, *GOING}
                as_meant = not changed and open_ends == {LinkState.PROVEN}
                state = State.PLANNED if fresh else State.VERIFIED if as_meant else State.STALE
                ends.setdefault((state, origin), []).append(key)
            self._set_links(rows)
            for (state, origin), keys in ends.items():
                self._move(Asset.key.in_(keys), state, due_ms=0, attempts=0, origin=origin, removal=None)

    def record_change(self, changes: Sequence[Change]) -> None:
        """What looks at assets brought: the next call is planned, or the asset is as it is meant to be. An asset
        that a listing had begun anew during the look is left alone."""
        if not changes:
            return
        with self.batch():
            there = set(self._standing([change.key for change in changes], _LOOKED_AT))
            changes = [change for change in changes if change.key in there]
            self._leave_rest([change.key for change in changes if change.call])
            self._set_links(
                (change.key, name, state, None) for change in changes for name, state in change.links.items()
            )
            for change in changes:
                self._drop_links(change.key, change.forgotten)
                if change.call:
                    self._plan_next(change)
                if change.again:
                    self._note([change.key], What.REPAIRED)
                if rejected := [name for name, state in change.links.items() if state is LinkState.REJECTED]:
                    self._note([change.key], What.REJECTED, ", ".join(sorted(rejected)))
            self._rest([change.key for change in changes if not change.call])

    def record_answer(self, keys: Sequence[int], answered_ms: int, look_ms: int, *, suspect: bool = False) -> None:
        """Immich answered the call. `look_ms`: our clock, when to look at the asset by itself at the latest."""
        with self.batch():
            self._move(
                Asset.key.in_(list(keys)),
                State.APPLIED,
                answered_ms=answered_ms,
                due_ms=look_ms,
                suspect=int(suspect),
            )
            self._note_calls(keys)

    def look_later(self, key: int, look_ms: int) -> None:
        """Immich has not settled: look at the asset again at `look_ms`, our clock."""
        with self.batch():
            self._change(Asset.key == key, due_ms=look_ms)

    def record_verified(self, keys: Sequence[int]) -> None:
        """Immich holds what is meant."""
        with self.batch():
            self._move(Asset.key.in_(list(keys)), State.VERIFIED, due_ms=None, suspect=0)
            self._note(keys, What.VERIFIED)

    def record_moved(self, keys: Sequence[int], visibility: str) -> None:
        """Ratings had these assets moved there, or found them there."""
        with self.batch():
            self._change(Asset.key.in_(list(keys)), moved=visibility)

    def reopen_outdated(self, model: int, policy: str, limit: int, *, after: int = 0) -> list[int]:
        """Have at most `limit` outdated assets, with keys above `after`, decided again: from their scores where
        those are of `model`, else from a new inference. Returns their keys, in order."""
        query = self._outdated(model, policy).where(Asset.key > after)
        keys = [key for (key,) in query.limit(limit).tuples()]
        with self.batch():
            self._leave_rest(keys)
            scores = Score.select(Score.asset).where(Score.asset.in_(keys) & (Score.model == model))
            mine = {key for (key,) in scores.tuples()}
            self._move(Asset.key.in_(mine), State.SCORED, due_ms=None)
            self._move(Asset.key.in_(set(keys) - mine), State.PENDING, **AFRESH)
            self._note(keys, What.REOPENED)
        return keys

    def score_again(self, key: int, checksum: str) -> None:
        """Another picture is behind a verified asset: it is fetched and scored anew, and keeps its links until
        then. An asset that a listing had begun anew already is left alone."""
        with self.batch():
            if self._standing([key], (State.VERIFIED,)):
                self._leave_rest([key])
                self._move(Asset.key == key, State.PENDING, checksum=checksum, **AFRESH)
                Score.delete().where(Score.asset == key).execute()  # they are the other picture's
                self._note([key], What.CHANGED)

    def record_held(self, held: Sequence[HeldAsset], origin: int) -> None:
        """A ledger is written anew, and listed assets hold the marker: they are verified, `ours` of their tags are
        proven links of `origin`, and `others` somebody else's."""
        with self.batch():
            ids = [asset.asset_id for asset in held]
            keys = dict(Asset.select(Asset.asset_id, Asset.key).where(Asset.asset_id.in_(ids)).tuples())
            self._set_links(
                (keys[asset.asset_id], name, state, origin if state is LinkState.PROVEN else None)
                for asset in held
                for names, state in ((asset.ours, LinkState.PROVEN), (asset.others, LinkState.FOUND))
                for name in sorted(names)
            )
            self._move(
                Asset.key.in_(list(keys.values())), State.VERIFIED, due_ms=None, origin=origin, **NO_PROBLEM
            )
            self._note(keys.values(), What.FOUND)

    # -- inside -------------------------------------------------------------------------------------------

    def _plan_next(self, change: Change) -> None:
        # One tag of the wave says that it is one; the whole of it are the links that are leaving.
        removal = self._ids_of(set(change.wave))[min(change.wave)] if change.wave else None
        again = {"repairs": Asset.repairs + 1} if change.again else {}
        here, now = Asset.key == change.key, {"due_ms": 0, "attempts": 0, "updated_ms": change.updated_ms}
        self._move(here, State.PLANNED, **now, removal=removal, **again)

    def _rest(self, keys: Sequence[int]) -> None:
        """Assets that are as they are meant to be: verified, or undone where nothing is meant any more."""
        links = self.links_of(keys)
        bare = [key for key in keys if not meant(links[key])]
        full = sorted(set(keys) - set(bare))
        self._move(Asset.key.in_(full), State.VERIFIED, due_ms=None, suspect=0, removal=None, **NO_PROBLEM)
        self._set_aside(Asset.key.in_(bare), State.SKIPPED, "undone", UNDONE, suspect=0, removal=None)
        # One that left the selection is tagged again if it comes back there.
        outside = Asset.key.in_(bare) & (Asset.selected == 0)
        self._change(outside, error_kind=NOT_SELECTED, error=NOT_SELECTED_WHY)
        self._note(full, What.VERIFIED)
        self._note(bare, What.UNDONE)

    def _note_calls(self, keys: Sequence[int]) -> None:
        """Which call was answered: one that put on everything, or a wave that took tags off."""
        self._db.connection().executemany(
            "INSERT OR REPLACE INTO event (asset, at_ms, what, run, note) "
            "SELECT asset.key, ?, iif(removal IS NULL, ?, ?), ?, iif(removal IS NULL, NULL, "
            "(SELECT group_concat(tag.name, ', ') FROM link JOIN tag ON tag.id = link.tag "
            "WHERE link.asset = asset.key AND link.state = ?)) FROM asset WHERE asset.key = ?",
            [
                (self._clock(), int(What.TAGGED), int(What.UNTAGGED), self.run, int(LinkState.LEAVING), key)
                for key in keys
            ],
        )


def _is_fresh(links: Mapping[str, LinkState]) -> bool:
    return set(links.values()) <= {LinkState.FOUND, LinkState.SENT}
