"""Tags on assets: what the ledger knows of each, which are to leave, and which were there before us."""

from collections.abc import Callable, Iterable, Mapping, Sequence, Set

from peewee import SQL, NodeList, chunked, fn

from autotagger.ledger.base import NO_PROBLEM, ROWS, Reading, Writing
from autotagger.ledger.rows import Selection
from autotagger.ledger.schema import Asset, KnownTag, Link, Origin, Tag, TagMeaning, TagModel
from autotagger.ledger.states import GOING, IN_FLIGHT, MEANT, TO_BE_THERE, LinkState, State, What
from autotagger.meaning import meaning_of_tag


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
        elif known[name] in GOING:
            changed[name] = LinkState.PROVEN  # whether it left already is seen by the look that follows
    for name in known.keys() - set(names):
        if known[name] is LinkState.WANTED:
            changed[name] = LinkState.REMOVED
        elif known[name] in MEANT:
            changed[name] = retired(known[name])
    return changed


def retired(state: LinkState) -> LinkState:
    """What a link becomes that is to be taken off: only of one that was read back, a look can tell whether a
    person took it off before us."""
    return LinkState.RETIRED if state is LinkState.PROVEN else LinkState.LEAVING


def unwanted_meanings(links: Mapping[str, LinkState], meanings: Callable[[str], Set[str]]) -> frozenset[str]:
    """What a person does not want an asset to say: the meanings of the tags taken off, unless another tag that is
    there says the same (a label can have two names)."""
    off = {name for name, state in links.items() if state is LinkState.REJECTED}
    there = {name for name, state in links.items() if state in _THERE}
    return frozenset().union(*map(meanings, off)) - frozenset().union(*map(meanings, there))


_THERE = (LinkState.SENT, LinkState.PROVEN, LinkState.FOUND, LinkState.RETIRED)


def proven(links: Mapping[str, LinkState]) -> dict[str, LinkState]:
    """The links of a verified asset, as they are meant."""
    return {name: LinkState.PROVEN if state is LinkState.SENT else state for name, state in links.items()}


#: The partial index `link_unusual` serves a query only where its own condition is written out in it.
REJECTED = NodeList(
    (Link.state, SQL(f"= {int(LinkState.REJECTED)} AND"), Link.state, SQL("NOT IN (0, 1)")),
)


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

    def meanings_of(self, name: str) -> frozenset[str]:
        """What a tag stood for whenever a policy decided on it; else what its name says."""
        if not self._meanings:  # read once: nobody but the writer adds some
            query = TagMeaning.select(Tag.name, TagMeaning.meaning).join(Tag, on=TagMeaning.tag == Tag.id)
            for tag, meaning in query.tuples():
                self._meanings[tag] = self._meanings.get(tag, frozenset()) | {meaning}
        return self._meanings.get(name) or frozenset({meaning_of_tag(name)})

    def taken_off(self, keys: Sequence[int]) -> dict[int, frozenset[str]]:
        """The meanings that a person took off assets, or off an identical picture of the same account (one that
        was imported again has another id); by key, of those assets alone where there are any."""
        twin = Asset.alias()
        same_looks = (twin.thumbhash == Asset.thumbhash) | twin.thumbhash.is_null() | Asset.thumbhash.is_null()
        same = (twin.checksum == Asset.checksum) & (Asset.checksum != "") & same_looks
        query = (
            Asset.select(Asset.key, twin.key)
            .join(twin, on=(twin.account == Asset.account) & ((twin.key == Asset.key) | same))
            .where(fn.EXISTS(Link.select(SQL("1")).where((Link.asset == twin.key) & REJECTED)))
        )
        pairs = [
            pair for chunk in chunked(keys, ROWS) for pair in query.where(Asset.key.in_(list(chunk))).tuples()
        ]
        links = self.links_of(sorted({other for _, other in pairs}))
        found: dict[int, frozenset[str]] = {}
        for key, other in pairs:
            if meanings := unwanted_meanings(links[other], self.meanings_of):
                found[key] = found.get(key, frozenset()) | meanings
        return found

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
        in_use = self._own(used.where(Link.state.in_((*MEANT, *GOING))))
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

    def leaving_of(self, keys: Sequence[int], selection: Selection, *, marker: str) -> dict[int, set[str]]:
        """Which links of the assets a selection names, by key."""
        chunks = (self._leaving(list(chunk), selection, marker) for chunk in chunked(keys, ROWS))
        return {key: names for found in chunks for key, names in found.items()}

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
        for key, found_links in self._meant_with_origins(keys).items():
            links = {name: origin for name, (origin, _) in found_links.items()}
            chosen = {
                name
                for name, origin in links.items()
                if selection.tag in (None, name) and (origins is None or origin in origins)
            }
            # As long as a tag of ours stays, the marker does; it leaves with the last one.
            stays = {name for name, (_, state) in found_links.items() if state in MEANT} - chosen - {marker}
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

    def _meant_with_origins(self, keys: Sequence[int]) -> dict[int, dict[str, tuple[int, LinkState]]]:
        """Links that are meant, or left with their tag and may come back with it from the .xmp."""
        query = Link.select(Link.asset, Tag.name, Link.origin, Link.state).join(Tag, on=Link.tag == Tag.id)
        query = query.where(Link.asset.in_(list(keys)) & Link.state.in_((*MEANT, LinkState.DELETED)))
        found: dict[int, dict[str, tuple[int, LinkState]]] = {}
        for key, name, origin, state in query.tuples():
            found.setdefault(key, {})[name] = (origin, state)
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
        chosen = {key: names for key, names in self._leaving(keys, selection, marker).items() if names}
        changed = sorted(chosen)
        with self.batch():
            self._leave_rest(changed)
            known = self.links_of(changed)
            self._set_links(
                (key, name, retired(known[key][name]), None) for key, names in chosen.items() for name in names
            )
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

    def record_meanings(self, meanings: Mapping[str, Iterable[str]], *, known_only: bool = False) -> None:
        """What tags stand for, by their names, beside what they stood for before; `known_only`: only of tags that
        the ledger knows already."""
        if known_only:
            names = {name for (name,) in Tag.select(Tag.name).tuples()}
            meanings = {name: means for name, means in meanings.items() if name in names}
        with self.batch():
            ids = self._ids_of(set(meanings))
            rows = [{"tag": ids[name], "meaning": one} for name, means in meanings.items() for one in means]
            self._insert(TagMeaning, rows, conflict="IGNORE")
        self._meanings.clear()

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
