"""The open file, transactions, and what every part of the store needs."""

import copy
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Self

from peewee import chunked

from autotagger.ledger.database import open_for_reading, open_for_writing, told_plainly
from autotagger.ledger.schema import Asset, Collection, Link, Score, Tag
from autotagger.ledger.states import LinkState, Probe, State, What

#: SQLite binds at most 32,766 variables in one statement; our widest row has some fifteen.
ROWS = 500
#: States in which a picture is fetched when its time has come.
TO_FETCH = (State.PENDING, State.WAITING, State.FAILED)
#: The account of a configuration that names none.
DEFAULT_ACCOUNT = 1
NO_PROBLEM: dict[str, Any] = {"error_kind": None, "error": None}
#: From the start again.
AFRESH: dict[str, Any] = {"state": State.PENDING, "due_ms": 0, "attempts": 0, **NO_PROBLEM}
#: A new asset: to be fetched at once, or when a later listing says that Immich is done with it.
BEGINNING: dict[str, Any] = {"state": State.PENDING, "due_ms": 0, **NO_PROBLEM}
NOT_READY: dict[str, Any] = {
    "state": State.WAITING,
    "due_ms": None,
    "error_kind": "not-ready",
    "error": "just uploaded: Immich is still reading its metadata",
}


class Base:
    """The open ledger. Every method that changes something is one transaction unless called inside `batch`.

    What is done to an asset is noted in its history (table `event`), with the time of `clock` (epoch ms) and the
    number of the `run` that is at work. Raises StartupFailed, which ends the run with nothing half-written, when
    the file cannot be used.
    """

    def __init__(
        self, path: Path, *, writable: bool, clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    ) -> None:
        self.path = path
        self.run: int | None = None
        self._clock = clock
        # peewee cannot annotate what its databases return
        self._db: Any = open_for_writing(path) if writable else open_for_reading(path)
        self._tag_ids: dict[str, int] = {}
        self._known_tags: dict[str, int] | None = None  # as in the table, once it was asked for
        self._account: int | None = None

    def of_account(self, account: int) -> Self:
        """The same open ledger, seeing the work and the collections of one account alone."""
        view = copy.copy(self)
        view._account, view._known_tags = account, None
        return view

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Everything inside is one transaction: all of it is kept, or nothing."""
        with told_plainly(self.path), self._db.atomic("IMMEDIATE"):
            yield

    @property
    def account(self) -> int:
        """The account that new rows belong to."""
        return self._account or DEFAULT_ACCOUNT

    def _own(self, query: Any, table: Any = Asset) -> Any:
        """`query` on the rows of the account alone, where the ledger is seen as one account's."""
        return query if self._account is None else query.where(table.account == self._account)

    @property
    def changes(self) -> int:
        """Rows changed since the file was opened."""
        return int(self._db.connection().total_changes)

    def _scored(self) -> Any:
        return Asset.select(Asset.key, Asset.asset_id, Score.model, Score.packed).join(
            Score, on=Score.asset == Asset.key
        )

    def _skip_closed(self) -> None:
        """Nothing of a closed collection is fetched or applied."""
        for row in Collection.select().where(Collection.state == Probe.CLOSED):
            begun = (*TO_FETCH, State.SCORED)
            here = (Asset.collection == row.id) & Asset.state.in_(begun)
            change_assets(here, problem(State.SKIPPED, "library-closed", row.reason))

    def _ids_of(self, names: set[str]) -> dict[str, int]:
        """The ledger's ids of tag names, which are added where they are new."""
        unknown = sorted(names - self._tag_ids.keys())
        for chunk in chunked(unknown, ROWS):
            Tag.insert_many([{"name": name} for name in chunk]).on_conflict_ignore().execute()
            self._tag_ids |= dict(Tag.select(Tag.name, Tag.id).where(Tag.name.in_(list(chunk))).tuples())
        return self._tag_ids

    def _note(self, keys: Iterable[int], what: What, note: str | None = None) -> None:
        """Add a line to the history of assets. By SQL: this is on every picture's way, and peewee's insert takes
        many times as long."""
        at_ms, run = self._clock(), self.run
        self._db.connection().executemany(
            "INSERT OR REPLACE INTO event (asset, at_ms, what, run, note) VALUES (?, ?, ?, ?, ?)",
            [(key, at_ms, int(what), run, note) for key in keys],
        )

    def _insert(
        self, table: Any, rows: Sequence[Mapping[str, Any]], *, conflict: Literal["IGNORE", "REPLACE"]
    ) -> None:
        """Add rows that name the same columns. By SQL, for the same reason."""
        if rows:
            fields = [table._meta.fields[name] for name in rows[0]]
            columns, places = ", ".join(field.column_name for field in fields), ", ".join("?" * len(fields))
            self._db.connection().executemany(
                f"INSERT OR {conflict} INTO {table._meta.table_name} ({columns}) VALUES ({places})",  # noqa: S608 - our names
                [[field.db_value(row[field.name]) for field in fields] for row in rows],
            )

    def links_of(self, keys: Sequence[int]) -> dict[int, dict[str, LinkState]]:
        """What the ledger knows of the tags of assets, by asset key and tag name."""
        links: dict[int, dict[str, LinkState]] = {key: {} for key in keys}
        query = Link.select(Link.asset, Tag.name, Link.state).join(Tag, on=Link.tag == Tag.id)
        for chunk in chunked(keys, ROWS):
            for key, name, state in query.where(Link.asset.in_(list(chunk))).tuples():
                links[key][name] = LinkState(state)
        return links


def problem(state: State, kind: str, message: str) -> dict[str, Any]:
    """An asset that cannot go on: the columns that say why."""
    return {"state": state, "error_kind": kind, "error": message[:500], "due_ms": None}


def change_assets(condition: Any, change: Mapping[str, Any]) -> None:
    Asset.update(**change).where(condition).execute()


def find_or_add(table: Any, key: Mapping[str, Any], rest: Mapping[str, Any]) -> int:
    """The id of the row with `key`, which is added with `rest` where it is new."""
    table.insert(**key, **rest).on_conflict_ignore().execute()
    conditions = [getattr(table, name) == value for name, value in key.items()]
    return int(table.select(table.id).where(*conditions).scalar())
