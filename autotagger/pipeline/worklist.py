"""What is to be fetched next, read ahead from the ledger; a picture identical to a scored one gets its scores."""

from collections import deque
from collections.abc import Callable, Collection, Iterable

from autotagger.ledger.rows import Work
from autotagger.pipeline.flights import FlightBook

#: Work read from the ledger at once.
WORK_AHEAD = 256


class WorkList:
    """The work ahead. `due`: so many assets to fetch, from the ledger; `twins_of`: which of them have an identical
    picture with stored scores; `copy`: has the writer give one its twin's scores."""

    def __init__(
        self,
        book: FlightBook,
        *,
        due: Callable[[int], list[Work]],
        twins_of: Callable[[list[str]], Collection[str]],
        copy: Callable[[str], None],
    ) -> None:
        self._book = book
        self._due = due
        self._twins_of = twins_of
        self._copy = copy
        self._todo: deque[Work] = deque()
        self._twins: set[str] = set()  # those of `_todo` that can have an identical picture's scores
        self._copying: set[str] = set()

    def __len__(self) -> int:
        return len(self._todo)

    @property
    def copying(self) -> int:
        """Assets that the writer was told to copy scores for, and has not recorded yet."""
        return len(self._copying)

    def next(self, is_enough: Callable[[], bool]) -> Work | None:
        """The next picture to fetch. One that is identical to a scored one gets its scores instead, and one that
        is identical to a picture under way is found again when that has landed."""
        if not self._todo:
            self._read_ahead()
        while self._todo and not is_enough():
            work = self._todo.popleft()
            if work.asset_id in self._twins:
                self._copying.add(work.asset_id)
                self._copy(work.asset_id)
            elif not self._book.holds_twin_of(work):
                return work
        return None

    def recorded(self, asset_ids: Iterable[str], landed: Iterable[Work]) -> None:
        """The ledger has these assets; what is identical to a landed picture need not be fetched any more."""
        self._copying.difference_update(asset_ids)
        checksums = {work.checksum for work in landed} - {""}
        self._twins |= {work.asset_id for work in self._todo if work.checksum in checksums}

    def forget_copies(self) -> None:
        """The writer that was to copy is gone: they are found again."""
        self._copying.clear()

    def without_account(self, account: int) -> None:
        """Nothing more for this account."""
        self._todo = deque(work for work in self._todo if work.account != account)

    def _read_ahead(self) -> None:
        found = self._due(WORK_AHEAD + len(self._book) + len(self._copying))
        fresh = (work for work in found if work.asset_id not in self._book and work.asset_id not in self._copying)
        self._todo.extend(fresh)
        self._twins = set(self._twins_of([work.asset_id for work in self._todo]))
