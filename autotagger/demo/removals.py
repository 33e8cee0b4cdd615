"""How removals go wrong on a real server (law 13), decided by a seed.

Measured on 3.0.3: of several removals in quick succession, one after the other, 95 of 1,000 came back, and none a
second time; of removals in parallel, one asset in 60 lost all the links that were to stay.
"""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from autotagger.demo.store import Row, Store

#: A removal takes so long, seconds, where removals may get into each other's way.
REMOVAL_S = 0.01


class Removals:
    """`come_back`: share of the links that return once when they are removed while their asset's jobs run.

    `lose`: share of the assets that lose all their links when two removals work on them at the same time.
    Which ones is decided by the seed. 0 is never; both may be set at any time.
    """

    def __init__(self, store: Store, seed: int, *, come_back: float, lose: float) -> None:
        self._store = store
        self._seed = seed
        self.come_back = come_back
        self.lose = lose
        self._working: Counter[str] = Counter()

    @asynccontextmanager
    async def under_way(self, rows: Sequence[Row]) -> AsyncIterator[None]:
        """Be a removal on these rows for as long as the block lasts; what meets another may be torn."""
        for row in rows:
            self._working[row.id] += 1
            if self._working[row.id] > 1 and self._chosen(self.lose, "lose", row.id):
                row.torn = True
        try:
            if self.lose:
                await asyncio.sleep(REMOVAL_S)
            yield
        finally:
            self._working.subtract(row.id for row in rows)

    def unlink(self, row: Row, tag_id: str) -> None:
        """Remove one link, and note the value where it is going to come back."""
        value = self._store.tags[tag_id].value
        if row.jobs and value not in row.came_back and self._chosen(self.come_back, "back", row.id, value):
            row.coming_back.add(value)
        self._store.unlink(row, [tag_id])

    def _chosen(self, share: float, *what: str) -> bool:
        return share > 0 and random.Random("/".join((str(self._seed), *what))).random() < share
