"""From scored to planned to applied: what one call has to carry."""

from collections.abc import Iterable, Mapping, Sequence, Set

from peewee import chunked, fn

from autotagger.ledger.base import NO_PROBLEM, ROWS, Base, change_assets, problem
from autotagger.ledger.rows import Change, PlannedAsset, ScoredAsset, StaleAsset
from autotagger.ledger.schema import Asset, Collection, KnownTag, Link, Tag
from autotagger.ledger.states import MEANT, TO_BE_THERE, LinkState, Probe, State, What


class Applying(Base):
    """From scored to planned to applied: what one call has to carry."""

    def scored(self, limit: int, *, begun: bool = False) -> list[ScoredAsset]:
        """Scored assets of collections where tags are known to stick; `begun`: only those that had tags before."""
        query = (
            self._scored()
            .join(Collection, on=Asset.collection == Collection.id)
            .where((Asset.state == State.SCORED) & (Collection.state == Probe.OPEN))
            .order_by(Asset.due_ms, Asset.key)  # nothing scored has a due time: by key, as the index has it
            .limit(limit)
        )
        if begun:
            query = query.where(Asset.origin.is_null(False))
        return [ScoredAsset(*row) for row in self._own(query).tuples()]

    def canary_candidate(self, collection: int) -> ScoredAsset | None:
        """The first scored asset of a collection."""
        query = self._scored().where((Asset.state == State.SCORED) & (Asset.collection == collection))
        row = query.order_by(Asset.key).limit(1).tuples().first()
        return ScoredAsset(*row) if row else None

    def record_plan(
        self, planned: Iterable[tuple[int, Sequence[str], int]], *, look_first: Set[int] = frozenset()
    ) -> None:
        """(asset key, complete tags with the marker, origin): what assets should have, before any call is made.

        An asset that gets its first tags is planned; one in `look_first`, or with links of ours already, is stale
        and read before its call, unless it has the very tags: then it is verified.
        """
        planned = list(planned)
        known = self.links_of([key for key, _, _ in planned])
        rows: list[tuple[int, str, LinkState, int]] = []
        ends: dict[tuple[State, int], list[int]] = {}
        for key, names, origin in planned:
            fresh = key not in look_first and set(known[key].values()) <= {LinkState.FOUND}
            changed = revised(known[key], names, LinkState.SENT if fresh else LinkState.WANTED)
            rows += ((key, name, state, origin) for name, state in changed.items())
            # A link that was sent and never read back (its asset was gone meanwhile) is looked at first.
            open_ends = set(known[key].values()) & {*MEANT, LinkState.LEAVING}
            as_meant = not changed and open_ends == {LinkState.PROVEN}
            state = State.PLANNED if fresh else State.VERIFIED if as_meant else State.STALE
            ends.setdefault((state, origin), []).append(key)
        with self.batch():
            self._set_links(rows)
            for (state, origin), keys in ends.items():
                change = {"state": state, "due_ms": 0, "attempts": 0, "origin": origin, "removal": None}
                change_assets(Asset.key.in_(keys), change)

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

    def record_change(self, changes: Sequence[Change]) -> None:
        """What looks at assets brought: the next call is planned, or the asset is as it is meant to be."""
        if not changes:
            return
        with self.batch():
            self._leave_rest([change.key for change in changes if change.call])
            self._set_links(
                (change.key, name, state, None) for change in changes for name, state in change.links.items()
            )
            for change in changes:
                self._drop_links(change.key, change.forgotten)
            for change in changes:
                # One tag of the wave says that it is one; the whole of it are the links that are leaving.
                removal = self._ids_of(set(change.wave))[min(change.wave)] if change.wave else None
                planned = {"state": State.PLANNED, "due_ms": 0, "attempts": 0, "updated_ms": change.updated_ms}
                again = {"repairs": Asset.repairs + 1} if change.again else {}
                if change.call:
                    change_assets(Asset.key == change.key, {**planned, "removal": removal, **again})
                if change.again:
                    self._note([change.key], What.REPAIRED)
                if rejected := [name for name, state in change.links.items() if state is LinkState.REJECTED]:
                    self._note([change.key], What.REJECTED, ", ".join(sorted(rejected)))
            self._rest([change.key for change in changes if not change.call])

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

    def record_answer(self, keys: Sequence[int], answered_ms: int, look_ms: int, *, suspect: bool = False) -> None:
        """Immich answered the call. `look_ms`: our clock, when to look at the asset by itself at the latest."""
        with self.batch():
            change = {
                "state": State.APPLIED,
                "answered_ms": answered_ms,
                "due_ms": look_ms,
                "suspect": int(suspect),
            }
            change_assets(Asset.key.in_(list(keys)), change)
            self._note_calls(keys)

    # -- tags that were there before us -------------------------------------------------------------------

    def known_tags(self) -> Mapping[str, int]:
        """The tags whose assets were looked up before we used them, and the last asset key this covers. Read once:
        nobody but the writer changes it."""
        if self._known_tags is None:
            query = KnownTag.select(Tag.name, KnownTag.listed).join(Tag, on=KnownTag.tag == Tag.id)
            self._known_tags = dict(query.where(KnownTag.account == self.account).tuples())
        return self._known_tags

    def record_known(self, name: str, holders: Sequence[str], *, ours: bool, sure: bool = True) -> None:
        """A tag is about to be used for the first time. `holders`: ids of assets that have it already, through
        somebody else; `ours`: nobody had made it; `sure`: False where the holders could not be told."""
        with self.batch():
            tag = self._ids_of({name})[name]
            for chunk in chunked(holders, ROWS):
                keys = Asset.select(Asset.key).where(Asset.asset_id.in_(list(chunk))).tuples()
                rows = [{"asset": key, "tag": tag, "state": LinkState.FOUND, "origin": None} for (key,) in keys]
                self._insert(Link, rows, conflict="IGNORE")
            newest = int(Asset.select(fn.MAX(Asset.key)).scalar() or 0)
            listed = newest if sure else -1
            row = {"account": self.account, "tag": tag, "listed": listed, "ours": int(ours)}
            KnownTag.insert(**row).on_conflict_replace().execute()
        if self._known_tags is not None:
            self._known_tags[name] = listed

    # -- inside -------------------------------------------------------------------------------------------

    def _set_links(self, rows: Iterable[tuple[int, str, LinkState, int | None]]) -> None:
        """(asset key, tag name, state, origin): add links or change their state; an origin of None stays."""
        rows = list(rows)
        ids = self._ids_of({name for _, name, _, _ in rows})
        # 30 rows a picture: put together by peewee they were a third of all that the writer does.
        self._db.connection().executemany(
            "INSERT INTO link (asset, tag, state, origin) VALUES (?, ?, ?, ?) ON CONFLICT (asset, tag) "
            "DO UPDATE SET state = excluded.state, origin = coalesce(excluded.origin, origin)",
            [(key, ids[name], int(state), origin) for key, name, state, origin in rows],
        )

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

    def _drop_links(self, key: int, names: Iterable[str]) -> None:
        """Forget links that are nobody's any more."""
        ids = self._ids_of(set(names))
        for name in names:
            Link.delete().where((Link.asset == key) & (Link.tag == ids[name])).execute()

    def _leave_rest(self, keys: Sequence[int]) -> None:
        """Verified assets are about to change: from now on their links themselves say that they are proven."""
        verified = Asset.select(Asset.key).where(Asset.key.in_(list(keys)) & (Asset.state == State.VERIFIED))
        proven = Link.update(state=LinkState.PROVEN)
        proven.where(Link.asset.in_(verified) & (Link.state == LinkState.SENT)).execute()

    def _rest(self, keys: Sequence[int]) -> None:
        """Assets that are as they are meant to be: verified, or undone where nothing is meant any more."""
        links = self.links_of(keys)
        bare = [key for key in keys if not meant(links[key])]
        rested = {"due_ms": None, "suspect": 0, "removal": None}
        change_assets(Asset.key.in_(list(keys)), {"state": State.VERIFIED, **rested, **NO_PROBLEM})
        change_assets(Asset.key.in_(bare), problem(State.SKIPPED, "undone", UNDONE))
        self._note(set(keys) - set(bare), What.VERIFIED)
        self._note(bare, What.UNDONE)


UNDONE = "our tags were taken off again (undo); `autotagger retry --asset ID` has it tagged again"


def meant(links: Mapping[str, LinkState]) -> frozenset[str]:
    """The names that we mean an asset to have, marker included."""
    return frozenset(name for name, state in links.items() if state in MEANT)


def to_put(links: Mapping[str, LinkState]) -> frozenset[str]:
    """The names that a complete call carries: all that is meant, and what a call of ours lost of somebody else's."""
    return frozenset(name for name, state in links.items() if state in TO_BE_THERE)


def leaving(links: Mapping[str, LinkState]) -> frozenset[str]:
    """The names that we are to take off."""
    return frozenset(name for name, state in links.items() if state is LinkState.LEAVING)


def _is_fresh(links: Mapping[str, LinkState]) -> bool:
    return set(links.values()) <= {LinkState.FOUND, LinkState.SENT}


def revised(known: Mapping[str, LinkState], names: Sequence[str], new: LinkState) -> dict[str, LinkState]:
    """The links that change when an asset is to have `names`; `new`: the state of what it does not have yet."""
    changed: dict[str, LinkState] = {}
    for name in names:
        if known.get(name) in (None, LinkState.REMOVED):
            changed[name] = new
        elif known[name] is LinkState.LEAVING:
            changed[name] = LinkState.PROVEN  # whether it left already is seen by the look that follows
    for name in known.keys() - set(names):
        if known[name] is LinkState.WANTED:
            changed[name] = LinkState.REMOVED
        elif known[name] in MEANT:
            changed[name] = LinkState.LEAVING
    return changed
