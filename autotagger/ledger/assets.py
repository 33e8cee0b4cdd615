"""Assets: listed, fetched, in trouble, tried again or dismissed, edited, deleted and restored."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from peewee import chunked, fn

from autotagger.ledger.accounts import CLOSED, AccountsWriter
from autotagger.ledger.base import AFRESH, NO_PROBLEM, ROWS, Reading
from autotagger.ledger.calls import UNDONE
from autotagger.ledger.links import LinksWriter
from autotagger.ledger.rows import ListedAsset, Work
from autotagger.ledger.schema import Asset, Event, Link, Score
from autotagger.ledger.states import CHANGING, GOING, MEANT, SET_ASIDE, TO_FETCH, UNDECIDED, LinkState, State, What
from autotagger.ledger.strangers import ALREADY_MARKED, CAME_WITH_IT, GOT_THE_MARKER

#: A new asset: to be fetched at once, or when a later listing says that Immich is done with it.
BEGINNING: dict[str, Any] = {"state": State.PENDING, "due_ms": 0, **NO_PROBLEM}
NOT_READY: dict[str, Any] = {
    "state": State.WAITING,
    "due_ms": None,
    "error_kind": "not-ready",
    "error": "just uploaded: Immich is still reading its metadata",
}
MARKED_BY_OTHERS = "already marked in Immich, and not by this ledger's runs"
#: Problem of an asset whose preview was not there.
PREVIEW_MISSING = "preview-missing"
TRASHED = "in Immich's trash; its tags are remembered in case it comes back"
DELETED = (
    "Immich does not show it: it is in the locked folder, or deleted for good (Immich does not tell which); its "
    "tags are remembered in case it comes back"
)
#: States in which another picture behind the asset means: score it (again).
_SCORED_ANEW = (*UNDECIDED, State.VERIFIED)
#: Those of them in which it was scored, or failed to be, as what it was taken for.
_SCORED_BEFORE = (State.FAILED, State.SCORED, State.VERIFIED)
#: Kinds of trouble that are the picture's: another try fetches it and scores it anew. After every other kind the
#: stored scores are as good as they were.
OF_THE_PICTURE = frozenset(
    {
        PREVIEW_MISSING,
        "not-ready",
        "broken-picture",
        "empty-picture",
        "not-a-picture",
        "too-large",
        "too-many-pixels",
        "bad-scores",
        "inference",
        "spill",  # of earlier versions
        "killed-worker",
    }
)
#: Somebody said that it is not to be tried again.
DISMISSED = "dismissed"
#: Kinds that somebody decided: tried again only when they are asked for by name.
DECIDED = frozenset({"undone", CLOSED, DISMISSED})
#: What a history says of an asset that came to these states by trouble.
_TOLD = {state: What[state.name] for state in (*SET_ASIDE, State.GONE)}


class AssetsReader(Reading):
    """Assets to be fetched, looked for, or tried again."""

    def due(
        self, now_ms: int, limit: int, accounts: Iterable[int] | None = None, *, begun: bool = False
    ) -> list[Work]:
        """Assets to fetch now: new ones, and those whose time to be tried again has come; `accounts`: only of
        these; `begun`: only those that had tags before."""
        query = (
            Asset.select(Asset.asset_id, Asset.kind, Asset.mime, Asset.file_name, Asset.account, Asset.checksum)
            .where(Asset.state.in_(TO_FETCH) & (Asset.due_ms <= now_ms))
            .order_by(Asset.due_ms, Asset.key)
            .limit(limit)
        )
        if accounts is not None:
            query = query.where(Asset.account.in_(list(accounts)))
        if begun:
            query = query.where(Asset.origin.is_null(False))
        return [Work(*row) for row in query.tuples()]

    def has(self, *states: State) -> bool:
        """Whether any asset of the account stands in one of these states."""
        return bool(self._own(Asset.select().where(Asset.state.in_(states))).exists())

    def attempts(self, asset_ids: Sequence[str]) -> dict[str, int]:
        """How often each of these assets was tried before."""
        query = Asset.select(Asset.asset_id, Asset.attempts).where(Asset.asset_id.in_(list(asset_ids)))
        return dict(query.tuples())

    def next_sweep(self) -> int:
        """The number of the next sweep."""
        return int(Asset.select(fn.MAX(Asset.seen)).scalar() or 0) + 1

    def unseen(self, sweep: int, limit: int) -> list[tuple[int, str]]:
        """(key, asset id) of assets at rest that the complete sweep of this number did not list, longest unseen
        first. It may have had gaps, or its filters may leave them out: only a look at each tells. What is known
        not to be selected is not looked for."""
        query = Asset.select(Asset.key, Asset.asset_id).where(
            (Asset.seen < sweep) & (Asset.selected == 1) & Asset.state.not_in((State.GONE, *CHANGING))
        )
        return list(self._own(query).order_by(Asset.seen, Asset.key).limit(limit).tuples())

    def retriable(self, kind: str | None = None, asset_id: str | None = None) -> int:
        """How many assets `retry` would have tried again."""
        return int(_to_retry(kind, asset_id).count())

    def dismissable(self, kind: str | None, asset_id: str | None) -> int:
        """How many assets `dismiss` would set aside."""
        return int(_to_dismiss(kind, asset_id).count())


class AssetsWriter(AssetsReader, LinksWriter, AccountsWriter):
    """Assets come, are in trouble, change, and go."""

    def add_listed(self, assets: Sequence[ListedAsset]) -> int:
        """Add the assets that are new; returns how many. They are pending, or waiting until Immich is done
        with them. What is known already stays as it is: see `note_listed`."""
        with self.batch():
            collections = self._collection_ids({(asset.owner_id, asset.library_id) for asset in assets})
            mine = {"account": self.account}
            added = 0
            for chunk in chunked(assets, ROWS):
                rows = [
                    {
                        "asset_id": asset.asset_id,
                        "collection": collections[asset.owner_id, asset.library_id],
                        "kind": asset.kind,
                        "mime": asset.mime,
                        "file_name": asset.file_name,
                        "checksum": asset.checksum,
                        **mine,
                        "updated_ms": asset.updated_ms,
                        "thumbhash": asset.thumbhash,
                        **(BEGINNING if asset.ready else NOT_READY),
                    }
                    for asset in chunk
                ]
                before = self.changes
                self._insert(Asset, rows, conflict="IGNORE")
                added += self.changes - before
                ids = [asset.asset_id for asset in chunk]
                self._change(Asset.asset_id.in_(ids) & (Asset.account != self.account), **mine)
            self._skip_closed()
            return added

    def add_marked(self, asset_ids: Sequence[str], came: Sequence[ListedAsset] = ()) -> None:
        """Assets that hold the marker already: what we had not begun with them is not to be done. Where the
        marker is of our own putting (another picture is scored again), it is. `came`: those of them that a listing
        brought, which are added where they are new."""
        with self.batch():
            self._skip_marked(asset_ids, GOT_THE_MARKER)
            if came:
                self.add_listed(came)
                self._skip_marked([asset.asset_id for asset in came], CAME_WITH_IT)

    def _skip_marked(self, asset_ids: Sequence[str], how: int) -> None:
        for chunk in chunked(asset_ids, ROWS):
            not_begun = Asset.state.in_(UNDECIDED) & Asset.origin.is_null()
            here = Asset.asset_id.in_(list(chunk)) & not_begun
            self._set_aside(here, State.SKIPPED, ALREADY_MARKED, MARKED_BY_OTHERS, due_ms=how)

    def note_listed(self, assets: Sequence[ListedAsset], *, sweep: int = 0) -> None:
        """Compare what a listing says with what the ledger knows, and act on the difference. `sweep`: its number,
        0 for a poll.

        Another checksum or thumbhash is another picture: it is scored again, and what the ledger knows of the
        asset's links stays. So it is with what turns out to be of another kind: an animation that was listed
        before Immich knew its length, or that earlier versions of `ledger rebuild` took for a still picture. One
        that was gone is back. One that waited for Immich waits no longer when Immich is done. Assets that are
        being changed are passed over: the next listing after that brings them again.
        """
        with self.batch():
            for chunk in chunked(assets, ROWS):
                listed = {asset.asset_id: asset for asset in chunk}
                here = Asset.asset_id.in_(list(listed))
                query = Asset.select(
                    *(Asset.key, Asset.asset_id, Asset.state, Asset.error_kind),
                    *(Asset.checksum, Asset.thumbhash, Asset.kind),
                )
                for row in query.where(here).namedtuples():
                    self._compare(row, listed[row.asset_id])
                if sweep:
                    self._change(here & (Asset.seen != sweep), seen=sweep)
            self._skip_closed()

    def record_problem(
        self, asset_id: str, state: State, *, kind: str, message: str, due_ms: int | None, scoring: bool = False
    ) -> None:
        """An asset that cannot go on now: `due_ms` says when it is tried again, None that it is not. `scoring`: it
        could not be fetched or scored; one that has gone on meanwhile is left alone."""
        with self.batch():
            here = Asset.asset_id == asset_id
            if scoring:
                here &= Asset.state.in_(TO_FETCH)
            key = Asset.select(Asset.key).where(here).scalar()
            if key is not None:
                attempts = Asset.attempts + 1
                self._set_aside(Asset.key == key, state, kind, message, due_ms=due_ms, attempts=attempts)
                self._note_trouble(key, state, kind)

    def record_gone(self, keys: Sequence[int], *, trashed: bool = False) -> None:
        """Assets that Immich does not show any more, or has in its trash. One that is being changed is left alone:
        its call will tell."""
        with self.batch():
            resting = self._standing(keys, [state for state in State if state not in CHANGING])
            self._leave_rest(resting)
            self._note(resting, What.GONE)
            self._set_aside(Asset.key.in_(resting), State.GONE, "gone", TRASHED if trashed else DELETED)

    def retry(self, kind: str | None = None, asset_id: str | None = None) -> int:
        """Have failed and waiting assets tried again now, and what waits for its next call; returns how many.

        `kind`: only those with this class of trouble; `asset_id`: only this one. What was undone or dismissed, and
        what is in a library where tags do not stick, takes part only where one of the two is given; the library is
        opened again then. Scores are kept where the trouble was not the picture's.
        """
        with self.batch():
            count = self.retriable(kind, asset_id)
            while keys := [key for (key,) in _to_retry(kind, asset_id).limit(ROWS).tuples()]:
                self._retry_keys(keys)
        return count

    def dismiss(self, kind: str | None, asset_id: str | None) -> int:
        """Set assets in trouble aside for good, and one that is named also before it is in trouble; returns how
        many. `retry`, asked for them by name, takes them back."""
        with self.batch():
            count = self.dismissable(kind, asset_id)
            while keys := [key for (key,) in _to_dismiss(kind, asset_id).limit(ROWS).tuples()]:
                # The reason stays to be read.
                told = fn.PRINTF("set aside by a person; before: %s", fn.COALESCE(Asset.error_kind, Asset.state))
                chosen = Asset.key.in_(keys)
                self._move(chosen, State.SKIPPED, error_kind=DISMISSED, error=told, due_ms=None)
                self._note(keys, What.SKIPPED, DISMISSED)
        return count

    # -- inside -------------------------------------------------------------------------------------------

    def _compare(self, row: Any, listed: ListedAsset) -> None:
        """One known asset and what a listing says of it."""
        learned = row.thumbhash is None and listed.thumbhash is not None
        known = {"checksum": row.checksum, "thumbhash": row.thumbhash, "kind": row.kind}
        looks = {
            "checksum": listed.checksum or row.checksum,
            "thumbhash": listed.thumbhash or row.thumbhash,
            "kind": listed.kind,
        }
        here = Asset.key == row.key
        if row.state in CHANGING:
            # Nothing is taken over, so that the next listing still sees what is different.
            looks = {**known, "thumbhash": looks["thumbhash"] if learned else row.thumbhash}
        elif row.state is State.GONE:
            became, columns = self._restored(row.key, another=_is_another(row, listed))
            self._move(here, became, **columns)
        elif (_is_another(row, listed) and row.state in _SCORED_ANEW) or (
            row.kind != listed.kind and row.state in _SCORED_BEFORE
        ):
            self._leave_rest([row.key])
            # By their absence a retry knows that the picture has to be fetched.
            Score.delete().where(Score.asset == row.key).execute()
            self._note([row.key], What.CHANGED)
            self._move(here, State.PENDING, **AFRESH)
        elif row.state is State.WAITING and (
            (learned and row.error_kind == PREVIEW_MISSING)
            or (listed.ready and row.error_kind == NOT_READY["error_kind"])
        ):
            self._move(here, State.PENDING, **AFRESH)
        if looks != known:
            self._change(here, **looks)

    def _restored(self, key: int, *, another: bool) -> tuple[State, Mapping[str, Any]]:
        """What happens to an asset that is back. Where it has links of ours they are looked at; where all of them
        had been taken off again (undo), they stay off."""
        ours = {state for state in self.links_of([key])[key].values() if state is not LinkState.FOUND}
        if ours and not ours & {*MEANT, *GOING}:
            return State.SKIPPED, {"error_kind": "undone", "error": UNDONE, "due_ms": None}
        scored = Score.select().where(Score.asset == key).exists()
        return State.STALE if ours and not another and scored else State.PENDING, AFRESH

    def _retry_keys(self, keys: Sequence[int]) -> None:
        chosen = Asset.key.in_(list(keys))
        closed = (Asset.state == State.SKIPPED) & (Asset.error_kind == CLOSED)
        for (collection,) in Asset.select(Asset.collection).where(chosen & closed).distinct().tuples():
            self.retry_collection(collection)
        scored = {key for (key,) in Score.select(Score.asset).where(Score.asset.in_(list(keys))).tuples()}
        live = Link.state.in_((*MEANT, *GOING))
        begun = {key for (key,) in Link.select(Link.asset).where(Link.asset.in_(list(scored)) & live).tuples()}
        afresh = {**AFRESH, "repairs": 0}
        # A call that failed and is to be made again is made now, the very same one.
        self._change(chosen & Asset.state.in_((State.PLANNED, State.STALE)), **afresh)
        set_aside = chosen & Asset.state.in_(SET_ASIDE)
        known = Asset.error_kind.not_in(OF_THE_PICTURE)
        self._move(set_aside & known & Asset.key.in_(begun), State.STALE, **afresh)
        self._move(set_aside & known & Asset.key.in_(scored - begun), State.SCORED, **afresh)
        self._move(set_aside, State.PENDING, **afresh)
        self._note(keys, What.RETRIED)

    def _note_trouble(self, key: int, state: State, kind: str) -> None:
        """The same trouble again only moves the last line's time: what waits for months fills no history."""
        what = _TOLD.get(state, What.DELAYED)
        mine = Event.asset == key
        last = Event.select().where(mine).order_by(Event.at_ms.desc(), Event.what.desc()).first()
        if last and (last.what, last.note) == (what, kind):
            Event.delete().where(mine & (Event.at_ms == last.at_ms) & (Event.what == what)).execute()
        self._note([key], what, kind)


def _to_retry(kind: str | None, asset_id: str | None) -> Any:
    named = kind is not None or asset_id is not None
    skipped = (Asset.state == State.SKIPPED) & Asset.error_kind.in_(DECIDED if named else ())
    delayed = Asset.state.in_((State.PLANNED, State.STALE)) & Asset.error_kind.is_null(False)
    trouble = Asset.state.in_((State.FAILED, State.WAITING)) | skipped | delayed
    return _chosen(trouble, kind, asset_id)


def _to_dismiss(kind: str | None, asset_id: str | None) -> Any:
    return _chosen(Asset.state.in_(UNDECIDED if asset_id else (State.FAILED, State.WAITING)), kind, asset_id)


def _chosen(which: Any, kind: str | None, asset_id: str | None) -> Any:
    query = Asset.select(Asset.key).where(which)
    if kind is not None:
        query = query.where(Asset.error_kind == kind)
    if asset_id is not None:
        query = query.where(Asset.asset_id == asset_id)
    return query.order_by(Asset.key)


def _is_another(row: Any, listed: ListedAsset) -> bool:
    """Whether there is another picture behind an asset now. What is not known yet is no difference."""
    pairs = ((row.checksum, listed.checksum), (row.thumbhash, listed.thumbhash))
    return any(before and now and before != now for before, now in pairs)
