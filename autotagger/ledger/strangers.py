"""Assets that hold the marker by other hands: a second autotagger's, an earlier ledger's, or copies of ours that
Immich made when a person resolved duplicates (docs/immich.md, law 14)."""

from collections.abc import Iterable, Mapping, Sequence, Set

from peewee import chunked, fn

from autotagger.ledger.base import AFRESH, ROWS, Reading
from autotagger.ledger.links import LinksWriter
from autotagger.ledger.rows import Stranger
from autotagger.ledger.schema import Account, Asset, Link, Run, Score, Tag
from autotagger.ledger.states import GOING, MEANT, UNDECIDED, LinkState, State, What

#: Kind of an asset that is skipped because it was marked when we found it.
ALREADY_MARKED = "already-marked"
#: What `due_ms` says of such an asset until it was looked at: whether we had listed it without the marker before.
GOT_THE_MARKER, CAME_WITH_IT = 0, 1
#: So long after another autotagger was seen, nobody can tell its removals from a person's.
CONTESTED_MS = 30 * 86_400_000


class StrangersReader(Reading):
    """What others marked."""

    def strangers(self) -> int:
        """Assets that are skipped because somebody else marked them."""
        here = (Asset.error_kind == ALREADY_MARKED) & (Asset.state == State.SKIPPED)
        return int(self._own(Asset.select().where(here)).count())

    def new_strangers(self, limit: int) -> list[Stranger]:
        """Those that nobody has looked at yet."""
        here = (Asset.state == State.SKIPPED) & (Asset.error_kind == ALREADY_MARKED) & Asset.due_ms.is_null(False)
        query = Asset.select(Asset.key, Asset.asset_id, Asset.due_ms).where(here).order_by(Asset.key).limit(limit)
        return [
            Stranger(key, asset_id, due_ms == GOT_THE_MARKER)
            for key, asset_id, due_ms in self._own(query).tuples()
        ]

    def untouched(self, asset_ids: Iterable[str]) -> list[str]:
        """Those of the assets that no call of ours was ever decided for."""
        found: list[str] = []
        for chunk in chunked(asset_ids, ROWS):
            here = Asset.asset_id.in_(list(chunk)) & Asset.state.in_(UNDECIDED) & Asset.origin.is_null()
            found += (asset_id for (asset_id,) in self._own(Asset.select(Asset.asset_id).where(here)).tuples())
        return found

    def keys_of(self, asset_ids: Iterable[str]) -> dict[str, tuple[int, State]]:
        """Key and state of those of the assets that the ledger knows."""
        found: dict[str, tuple[int, State]] = {}
        for chunk in chunked(asset_ids, ROWS):
            query = Asset.select(Asset.asset_id, Asset.key, Asset.state)
            rows = query.where(Asset.asset_id.in_(list(chunk))).tuples()
            found |= {asset_id: (key, state) for asset_id, key, state in rows}
        return found

    def ids_of(self, keys: Sequence[int]) -> dict[str, int]:
        """The keys of assets, by their ids."""
        found: dict[str, int] = {}
        for chunk in chunked(keys, ROWS):
            found |= dict(Asset.select(Asset.asset_id, Asset.key).where(Asset.key.in_(list(chunk))).tuples())
        return found

    def gone_keys(self, limit: int) -> list[int]:
        """Assets (keys) that are gone with tags of ours, the latest first."""
        here = (Asset.state == State.GONE) & Asset.origin.is_null(False)
        query = self._own(Asset.select(Asset.key).where(here)).order_by(Asset.key.desc()).limit(limit)
        return [key for (key,) in query.tuples()]

    def tagged_assets(self) -> dict[str, int]:
        """The keys of all verified assets, by id."""
        query = Asset.select(Asset.asset_id, Asset.key).where(Asset.state == State.VERIFIED)
        return dict(self._own(query).tuples())

    def origins_of(self, keys: Sequence[int]) -> dict[int, dict[str, int]]:
        """The links of ours that assets have, or had before they were undone, with where they come from."""
        had = (*MEANT, *GOING, LinkState.REMOVED)
        query = Link.select(Link.asset, Tag.name, Link.origin).join(Tag, on=Link.tag == Tag.id)
        found: dict[int, dict[str, int]] = {key: {} for key in keys}
        for chunk in chunked(keys, ROWS):
            ours = Link.asset.in_(list(chunk)) & Link.state.in_(had) & Link.origin.is_null(False)
            for key, name, origin in query.where(ours).tuples():
                found[key][name] = origin
        return found

    def contested_ms(self) -> int | None:
        """When another autotagger was last seen to set the marker, our clock; None: never."""
        query = Account.select(fn.MAX(Account.contested_ms))
        if self._account is not None:
            query = query.where(Account.id == self._account)
        last_ms = query.scalar()
        return None if last_ms is None else int(last_ms)

    def is_contested(self, now_ms: int) -> bool:
        """Whether what is missing may have been taken off by another autotagger."""
        last_ms = self.contested_ms()
        return last_ms is not None and now_ms - last_ms < CONTESTED_MS


class StrangersWriter(StrangersReader, LinksWriter):
    """Others are noticed, and what was copied from an asset of ours becomes ours."""

    def contest(self, now_ms: int) -> bool:
        """Another autotagger sets the marker. Returns whether that is news in this run."""
        before_ms = self.contested_ms()
        with self.batch():
            Account.update(contested_ms=now_ms).where(Account.id == self.account).execute()
        began_ms = Run.select(Run.started_ms).where(Run.id == self.run).scalar() or 0
        return before_ms is None or before_ms < began_ms

    def leave_strangers(self, keys: Sequence[int]) -> None:
        """They were looked at, and stay as they are."""
        with self.batch():
            self._change(Asset.key.in_(list(keys)) & (Asset.error_kind == ALREADY_MARKED), due_ms=None)

    def adopt(self, key: int, copied: Mapping[str, int], others: Set[str] = frozenset(), *, decide: bool) -> None:
        """An asset got tags of ours from another one: `copied` with their origins; `others` are somebody else's.

        `decide`: it is scored where it has no scores, and its tags are decided. An asset that is being changed is
        left alone."""
        resting = (State.VERIFIED, State.SKIPPED)
        with self.batch():
            if not self._standing([key], resting):
                return
            self._leave_rest([key])
            self._set_links((key, name, LinkState.PROVEN, origin) for name, origin in copied.items())
            self._set_links((key, name, LinkState.FOUND, None) for name in others)
            here = Asset.key == key
            self._change(here & Asset.origin.is_null(), origin=max(copied.values()))
            self._note([key], What.ADOPTED, ", ".join(sorted(copied)))
            was_skipped = bool(self._standing([key], (State.SKIPPED,)))
            if was_skipped or (decide and not Score.select().where(Score.asset == key).exists()):
                self._move(here, State.PENDING, **AFRESH)
            elif decide:
                self._move(here, State.SCORED, due_ms=None)
