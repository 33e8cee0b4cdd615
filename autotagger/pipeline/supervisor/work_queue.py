"""What is to be fetched next, read ahead from the ledger; a picture identical to a scored one gets its scores."""

from collections import deque
from collections.abc import Callable, Iterable

from autotagger.ledger.reader import LedgerReader
from autotagger.ledger.rows import Work
from autotagger.pipeline.child.base import wall_ms
from autotagger.pipeline.supervisor.in_flight import JobTable

#: Work read from the ledger at once.
WORK_AHEAD = 256


class WorkList:
    """The work ahead, for these `accounts` alone. `model`: the identity of the model whose stored scores do for an
    identical picture, None where no scores are wanted; `begun`: only what had tags before; `copy`: has the writer
    give an asset its twin's scores."""

    def __init__(
        self,
        jobs: JobTable,
        ledger: LedgerReader,
        *,
        accounts: list[int],
        model: str | None,
        begun: bool,
        copy: Callable[[str], None],
    ) -> None:
        self._job_table = jobs
        self._ledger = ledger
        self._accounts = accounts
        self._model = model
        self._begun = begun
        self._copy = copy
        self._todo: deque[Work] = deque()
        self._twins: set[str] = set()  # those of `_todo` that can have an identical picture's scores
        self._copying: set[str] = set()

    @property
    def copying(self) -> int:
        """Assets that the writer was told to copy scores for, and has not recorded yet."""
        return len(self._copying)

    def next(self, is_enough: Callable[[], bool]) -> Work | None:
        """The next picture to fetch. One that is identical to a scored one gets its scores instead, and one that
        is identical to a picture under way is found again when that has finished."""
        if not self._todo:
            self._read_ahead()
        while self._todo and not is_enough():
            work = self._todo.popleft()
            if work.asset_id in self._twins:
                self._copying.add(work.asset_id)
                self._copy(work.asset_id)
            elif not self._job_table.holds_twin_of(work):
                return work
        return None

    def recorded(self, asset_ids: Iterable[str], finished: Iterable[Work]) -> None:
        """The ledger has these assets; what is identical to a finished picture need not be fetched any more."""
        self._copying.difference_update(asset_ids)
        checksums = {work.checksum for work in finished} - {""}
        self._twins |= {work.asset_id for work in self._todo if work.checksum in checksums}

    def forget_copies(self) -> None:
        """The writer that was to copy is gone: they are found again."""
        self._copying.clear()

    def is_done(self) -> bool:
        """Whether the ledger has nothing more to fetch now."""
        return not self._todo and not self._due(1)

    def leave_account(self, account: int) -> None:
        """Nothing more for this account."""
        self._accounts = [other for other in self._accounts if other != account]
        self._todo = deque(work for work in self._todo if work.account != account)

    def _read_ahead(self) -> None:
        found = self._due(WORK_AHEAD + len(self._job_table) + len(self._copying))
        fresh = (
            work for work in found if work.asset_id not in self._job_table and work.asset_id not in self._copying
        )
        self._todo.extend(fresh)
        known = self._model and self._ledger.model_id(self._model)
        asset_ids = [work.asset_id for work in self._todo]
        self._twins = set(self._ledger.twin_scores(asset_ids, known)) if known else set()

    def _due(self, limit: int) -> list[Work]:
        return self._ledger.due(wall_ms(), limit, self._accounts, begun=self._begun)
