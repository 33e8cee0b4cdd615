"""Assets that a sweep did not list: gone, or only out of its sight. One look at each tells."""

import asyncio
from collections import deque
from itertools import islice

from loguru import logger

from autotagger.errors import AssetFailed, AssetGone, Retryable, Unreachable
from autotagger.immich.types import Asset
from autotagger.pipeline.convert import listed_asset
from autotagger.pipeline.selecting import candidate
from autotagger.pipeline.writer.account_context import AccountContext
from autotagger.selection.rules import Rules

#: Looks under way at once, and assets that one search for them brings: it reads the whole ledger.
LOOKS_AT_ONCE = 25
FOUND_AT_ONCE = 1_000
#: Assets that a sweep does not list and that are there (hidden since, or of a type no longer listed): after so
#: many in one sweep the others are left to the next, which begins with them.
MAX_STILL_THERE = 1_000


class Deletions:
    """Looks once, after a complete sweep, at every asset at rest that it did not list. `gone`: the keys of those
    that are gone since the last `expect`."""

    def __init__(self, context: AccountContext, rules: Rules | None = None) -> None:
        self._context = context
        self._rules = rules
        self._ledger = context.ledger
        self._sweep = 0
        self._still_there = 0
        self._missing: deque[tuple[int, str]] = deque()
        self.gone: list[int] = []

    def expect(self, sweep: int) -> None:
        """The sweep of this number is complete and noted."""
        self._sweep, self._still_there = sweep, 0
        self._missing.clear()
        self.gone = []

    async def look(self) -> bool:
        """Look at some of them; returns whether there were any. Raises Unreachable: they are looked at again."""
        if not self._sweep:
            return False
        if not self._missing:
            self._missing.extend(self._ledger.unseen(self._sweep, FOUND_AT_ONCE))
        if not self._missing or self._still_there >= MAX_STILL_THERE:
            self._sweep = 0
            self._take_over()
            return False
        missing = list(islice(self._missing, LOOKS_AT_ONCE))
        ends = await asyncio.gather(*(self._find(asset_id) for _, asset_id in missing), return_exceptions=True)
        for end in (end for end in ends if isinstance(end, BaseException)):
            raise end
        there = [end for end in ends if isinstance(end, Asset)]
        found = [listed_asset(asset) for asset in there]
        left = [listed_asset(asset) for asset in there if self._has_left(asset)]
        pairs = list(zip((key for key, _ in missing), ends, strict=True))
        trashed = [key for key, end in pairs if end is True]
        gone = [key for key, end in pairs if end is None]
        self._ledger.note_unselected(left, sweep=self._sweep)
        self._ledger.note_listed([one for one in found if one not in left], sweep=self._sweep)
        self._ledger.record_gone(gone)
        self._ledger.record_gone(trashed, trashed=True)
        gone += trashed
        self.gone += gone
        for _ in missing:  # not before: after an outage they are looked at again
            self._missing.popleft()
        self._context.count("gone", len(gone))
        self._still_there += len(found)
        if len(found) + len(gone) < len(missing):
            self._sweep = 0  # Immich fails on some of them: the next sweep asks again
        return True

    def _has_left(self, asset: Asset) -> bool:
        """Whether an asset that was not listed left the selection. Where nobody has to be a member of anything,
        only a listing with a gap overlooks one that fits."""
        rules = self._rules
        return rules is not None and (rules.names_members or bool(rules.misfit_by_itself(candidate(asset))))

    def _take_over(self) -> None:
        """What was imported anew gets what is known of the asset before."""
        count = self._ledger.take_over(self._ledger.imported())
        if count:
            self._context.count("imported", count)
            logger.warning(
                "{} assets were imported into Immich anew (other ids, the same files): what is known of their "
                "tags goes over to the new ones, and they are tagged as before",
                count,
            )

    async def _find(self, asset_id: str) -> Asset | bool | None:
        """What Immich says of an asset; None where it does not show it, True where it is in the trash, False where
        it could not say."""
        try:
            asset = (await self._context.client.asset(asset_id)).asset
        except Unreachable:
            raise
        except AssetGone:
            return None
        except (Retryable, AssetFailed) as error:
            logger.warning("asset {} was not listed and cannot be checked: {}", asset_id, error.message)
            return False
        return True if asset.trashed else asset
