"""Tags on assets: what the ledger knows of each, which are to leave, and which were there before us."""

from collections.abc import Iterable, Mapping, Sequence

from peewee import chunked, fn

from autotagger.ledger.base import NO_PROBLEM, ROWS, Reading, Writing
from autotagger.ledger.rows import Selection
from autotagger.ledger.schema import Asset, KnownTag, Link, Origin, Tag, TagModel
from autotagger.ledger.states import IN_FLIGHT, MEANT, TO_BE_THERE, LinkState, State, What


def meant(links: Mapping[str, LinkState]) -> frozenset[str]:
    """The names that we mean an asset to have, marker included."""
    return frozenset(name for name, state in links.items() if state in MEANT)


def to_put(links: Mapping[str, LinkState]) -> frozenset[str]:
    """The names that a complete call carries: what is meant, and what our own calls lost of somebody else's."""
    return frozenset(name for name, state in links.items() if state in TO_BE_THERE)


def leaving(links: Mapping[str, LinkState]) -> frozenset[str]:
    """The names that we are to take off."""
    return frozenset(name for name, state in links.items() if state is LinkState.LEAVING)


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


def proven(links: Mapping[str, LinkState]) -> dict[str, LinkState]:
    """The links of a verified asset, as they are meant."""
    return {name: LinkState.PROVEN if state is LinkState.SENT else state for name, state in links.items()}


class LinksReader(Reading):
    """Links, and which of them a selection names."""

    def links_of(self, keys: Sequence[int]) -> dict[int, dict[str, LinkState]]:
        """What the ledger knows of the tags of assets, by asset key and tag name."""
        links: dict[int, dict[str, LinkState]] = {key: {} for key in keys}
        query = Link.select(Link.asset, Tag.name, Link.state).join(Tag, on=Link.tag == Tag.id)
        for chunk in chunked(keys, ROWS):
            for key, name, state in query.where(Link.asset.in_(list(chunk))).tuples():
                links[key][name] = state
        return links

    def tags_in_use(self) -> set[str]:
        """Every tag that we mean some asset to have. Looks at all links."""
        used = Link.select(Link.tag).where(Link.state.in_(MEANT)).distinct()
        return {name for (name,) in Tag.select(Tag.name).where(Tag.id.in_(used)).tuples()}

    def known_tags(self) -> Mapping[str, int]:
        """The tags whose assets were looked up before we used them, and the last asset key this covers. Read once:
        nobody but the writer changes it."""
        if self._known_tags is None:
            query = KnownTag.select(Tag.name, KnownTag.listed).join(Tag, on=KnownTag.tag == Tag.id)
            self._known_tags = dict(query.where(KnownTag.account == self.account).tuples())
        return self._known_tags

    def unused_tags_of_ours(self) -> list[str]:
        """Tags that were not in Immich before us and that we no longer mean any asset to have."""
        used = Link.select(Link.tag).join(Asset, on=Link.asset == Asset.key).distinct()
        in_use = self._own(used.where(Link.state.in_((*MEANT, LinkState.LEAVING))))
        query = KnownTag.select(Tag.name).join(Tag, on=KnownTag.tag == Tag.id)
        ours = (KnownTag.account == self.account) & (KnownTag.ours == 1) & KnownTag.tag.not_in(in_use)
        return [name for (name,) in query.where(ours).order_by(Tag.id).tuples()]

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

    # -- inside -------------------------------------------------------------------------------------------

    def _window(self, selection: Selection, after: int, window: int, *, passed_over: Sequence[State]) -> list[int]:
        query = Asset.select(Asset.key).where((Asset.key > after) & Asset.state.not_in(passed_over))
        if selection.asset_id is not None:
            query = query.where(Asset.asset_id == selection.asset_id)
        if selection.unselected:
            query = query.where(Asset.selected == 0)
        return [key for (key,) in self._own(query).order_by(Asset.key).limit(window).tuples()]

    def _leaving(self, keys: Sequence[int], selection: Selection, marker: str) -> dict[int, set[str]]:
        """Which of the links that we mean the assets to have a selection names."""
        origins = self._origins(selection)
        found: dict[int, set[str]] = {}
        for key, links in self._meant_with_origins(keys).items():
            chosen = {
                name
                for name, origin in links.items()
                if selection.tag in (None, name) and (origins is None or origin in origins)
            }
            # As long as a tag of ours stays, the marker does; it leaves with the last one.
            stays = links.keys() - chosen - {marker}
            found[key] = chosen - {marker} if stays else chosen | {marker} if chosen else chosen
        return found

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


class LinksWriter(LinksReader, Writing):
    """Links change, and tags become known."""

    def take_back(self, selection: Selection, *, marker: str, after: int = 0, window: int = ROWS) -> int | None:
        """Have the selected links of ours leave, in the next `window` assets with a key above `after`; returns
        the last key looked at, None when there are no more.

        The marker leaves with the last tag that we mean an asset to have. Assets with a call under way are passed
        over: once they have settled, start again.
        """
        keys = self._window(selection, after, window, passed_over=(*IN_FLIGHT, State.GONE))
        if not keys:
            return None
        links = [
            (key, name, LinkState.LEAVING, None)
            for key, names in self._leaving(keys, selection, marker).items()
            for name in names
        ]
        with self.batch():
            changed = sorted({key for key, *_ in links})
            self._leave_rest(changed)
            self._set_links(links)
            self._move(Asset.key.in_(changed), State.STALE, due_ms=0, attempts=0, repairs=0, **NO_PROBLEM)
            self._note(changed, What.LEAVING)
        return int(keys[-1])

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

    def forget_tags(self, names: Sequence[str]) -> None:
        """Tags were deleted: before their next use somebody else may have made them anew."""
        with self.batch():
            ids = Tag.select(Tag.id).where(Tag.name.in_(list(names)))
            KnownTag.delete().where((KnownTag.account == self.account) & KnownTag.tag.in_(ids)).execute()
        self._known_tags = None

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

    def _drop_links(self, key: int, names: Iterable[str]) -> None:
        """Forget links that are nobody's any more."""
        ids = self._ids_of(set(names))
        for name in names:
            Link.delete().where((Link.asset == key) & (Link.tag == ids[name])).execute()

    def _leave_rest(self, keys: Sequence[int]) -> None:
        """Verified assets are about to change: from now on their links themselves say that they are proven."""
        verified = Asset.select(Asset.key).where(Asset.key.in_(list(keys)) & (Asset.state == State.VERIFIED))
        now_proven = Link.update(state=LinkState.PROVEN)
        now_proven.where(Link.asset.in_(verified) & (Link.state == LinkState.SENT)).execute()

    def _ids_of(self, names: set[str]) -> dict[str, int]:
        """The ledger's ids of tag names, which are added where they are new."""
        unknown = sorted(names - self._tag_ids.keys())
        for chunk in chunked(unknown, ROWS):
            Tag.insert_many([{"name": name} for name in chunk]).on_conflict_ignore().execute()
            self._tag_ids |= dict(Tag.select(Tag.name, Tag.id).where(Tag.name.in_(list(chunk))).tuples())
        return self._tag_ids
