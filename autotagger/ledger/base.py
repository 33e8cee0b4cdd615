"""The open file, seen by who reads it and by who writes it; transactions, history, and the one `_move`."""

import copy
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Self

import peewee
from peewee import Case, chunked

from autotagger.ledger.database import DATABASE_ERRORS, open_for_reading, open_for_writing, plainly, told_plainly
from autotagger.ledger.schema import Asset
from autotagger.ledger.states import MAY_BECOME, ForbiddenMove, State, What

#: SQLite binds at most 32,766 variables in one statement; our widest row has some fifteen.
ROWS = 500
#: The account of a configuration that names none.
DEFAULT_ACCOUNT = 1
#: Kind of what is skipped because the selection leaves it out, and why, for people.
NOT_SELECTED = "not-selected"
NOT_SELECTED_WHY = "not in the selection ([select]): it is tagged when it is"
NO_PROBLEM: dict[str, Any] = {"error_kind": None, "error": None}
#: The columns of an asset that is done from the start again.
AFRESH: dict[str, Any] = {"due_ms": 0, "attempts": 0, **NO_PROBLEM}


class Reading:
    """An open ledger that cannot be changed: the file is open for reading alone.

    Raises StartupFailed where the file cannot be used; so does leaving the `with` for what a query raised.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        # peewee cannot annotate what its databases return
        self._db: Any = self._open(path)
        self._known_tags: dict[str, int] | None = None  # as in the table, once it was asked for
        self._meanings: dict[str, frozenset[str]] = {}  # of tags, as in the table; shared by all views
        self._account: int | None = None

    def _open(self, path: Path) -> Any:
        return open_for_reading(path)

    def of_account(self, account: int) -> Self:
        """The same open ledger, seeing the work and the collections of one account alone."""
        view = copy.copy(self)
        view._account, view._known_tags = account, None
        return view

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _type: object, error: BaseException | None, _trace: object) -> None:
        self.close()
        if isinstance(error, DATABASE_ERRORS):
            raise plainly(self.path, error) from None

    def close(self) -> None:
        self._db.close()

    @property
    def account(self) -> int:
        """The account that new rows belong to."""
        return self._account or DEFAULT_ACCOUNT

    def _own(self, query: Any, table: Any = Asset) -> Any:
        """`query` on the rows of the account alone, where the ledger is seen as one account's."""
        return query if self._account is None else query.where(table.account == self._account)

    def _standing(self, keys: Sequence[int], states: Iterable[State]) -> list[int]:
        """Those of the assets that stand in one of `states`, in the order of their keys."""
        query = Asset.select(Asset.key).where(Asset.state.in_(list(states)))
        chunks = (query.where(Asset.key.in_(list(chunk))).tuples() for chunk in chunked(keys, ROWS))
        return sorted(key for rows in chunks for (key,) in rows)


class Writing(Reading):
    """An open ledger that is changed. Every method that changes something is one transaction unless called inside
    `batch`.

    What is done to an asset is noted in its history (table `event`), with the time of `clock` (epoch ms) and the
    number of the active `run`.
    """

    def __init__(self, path: Path, *, clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000) -> None:
        super().__init__(path)
        self.run: int | None = None
        self._clock = clock
        self._tag_ids: dict[str, int] = {}

    def _open(self, path: Path) -> Any:
        return open_for_writing(path)

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Everything inside is one transaction: all of it is kept, or nothing."""
        with told_plainly(self.path), self._db.atomic("IMMEDIATE"):
            yield

    @property
    def changes(self) -> int:
        """Rows changed since the file was opened."""
        return int(self._db.connection().total_changes)

    def _move(self, which: Any, to: State, **columns: Any) -> None:
        """Have the assets that `which` describes (a condition) be in the state `to`, with `columns` set: the only
        statement that changes a state. Raises ForbiddenMove where `LIFE` does not let one of them go there.

        It is checked by the statement itself, row by row: what may not go would have no state, which the table
        does not take.
        """
        allowed = Asset.state.in_(MAY_BECOME[to])
        try:
            Asset.update(state=Case(None, ((allowed, str(to)),), None), **columns).where(which).execute()
        except peewee.IntegrityError:
            stray = Asset.select(Asset.asset_id, Asset.state).where(which & ~allowed).tuples().first()
            if stray is None:
                raise
            raise ForbiddenMove(f"asset {stray[0]} is {stray[1]} and cannot become {to}") from None

    def _set_aside(self, which: Any, state: State, kind: str, message: str, **columns: Any) -> None:
        """The same for assets that cannot go on, with the class and text of the reason."""
        self._move(which, state, **{"error_kind": kind, "error": message[:500], "due_ms": None, **columns})

    def _change(self, which: Any, **columns: Any) -> None:
        """Set columns of assets, any but their state."""
        assert "state" not in columns, "that is for _move"
        Asset.update(**columns).where(which).execute()

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


def find_or_add(table: Any, key: Mapping[str, Any], rest: Mapping[str, Any]) -> int:
    """The id of the row with `key`, which is added with `rest` where it is new."""
    table.insert(**key, **rest).on_conflict_ignore().execute()
    conditions = [getattr(table, name) == value for name, value in key.items()]
    return int(table.select(table.id).where(*conditions).scalar())
