"""What left many assets at once: looked for after a sweep, and before an operation (docs/immich.md, law 15).

A restored backup, or the marker deleted in Immich's tag page, takes the marker off thousands of assets that the
ledger has as done. A tag deleted there is gone from all of them. Neither is a removal by a person, picture by
picture. The loss is told once, in one line with the command that mends it, and stays to be seen in `status`,
`/health` and the metrics until it is mended. A deleted tag is a wish: it stays away, and new pictures may get it.
"""

import asyncio
from collections.abc import Mapping

from loguru import logger

from autotagger.errors import AssetFailed, Retryable, Unreachable
from autotagger.immich.sweep import tagged
from autotagger.ledger.links import meant, proven
from autotagger.ledger.states import are_many
from autotagger.pipeline.writer.account_context import AccountContext

#: Assets read before a loss is believed: a listing has gaps, and where the first so many are really unmarked, all
#: the others are.
READ_AT_ONCE = 25
#: Tags named in one line.
NAMED = 5


class Losses:
    """One account's losses. `expect` says that there may be new ones, `look` finds out."""

    def __init__(self, context: AccountContext) -> None:
        self._context = context
        self._ledger = context.ledger
        self._expected = False
        self._believed = 0  # assets of those read that had lost their marker
        self._bare = 0  # those of them that had lost all other tags of ours too

    def expect(self) -> None:
        """A complete sweep is noted."""
        self._expected = True
        self._believed = self._bare = 0

    async def look(self) -> bool:
        """Look at some doubted assets, at last at the tags; returns whether there was anything to do. Raises
        Unreachable: it is looked at again."""
        if not self._expected:
            return False
        if await self._read_doubted():
            return True
        self._expected = False
        self._tell_unmarked(self._ledger.confirm_doubts())
        await self.look_for_tags()
        return True

    async def survey(self) -> None:
        """The same without a sweep: list the marker, and look at all of it."""
        marker_id = await self._context.tag_ids.known(self._context.marker)
        marked: set[str] = set()
        if marker_id is not None:
            async for page in tagged(self._context.client, marker_id):
                marked.update(asset.id for asset in page)
        self._ledger.doubt_all_but(marked)
        self.expect()
        while await self.look():
            pass

    # -- the marker ---------------------------------------------------------------------------------------

    async def _read_doubted(self) -> bool:
        """Read the next doubted assets; returns whether more have to be read before the rest is believed."""
        doubted = self._ledger.doubted(READ_AT_ONCE + self._believed)[self._believed :]
        if not doubted or self._believed >= READ_AT_ONCE:
            return False
        links = self._ledger.links_of([key for key, _ in doubted])
        looks = await asyncio.gather(*(self._held(asset_id) for _, asset_id in doubted))
        there = []
        for (key, _), held in zip(doubted, looks, strict=True):
            if held is None or self._context.marker in held:
                there.append(key)  # or it could not be read: the next sweep asks again
            else:
                self._believed += 1
                self._bare += not meant(proven(links[key])) & held
        self._ledger.clear_doubt(there)
        return True

    async def _held(self, asset_id: str) -> frozenset[str] | None:
        try:
            return (await self._context.client.asset(asset_id)).tags
        except Unreachable:
            raise
        except (Retryable, AssetFailed):
            return None

    def _tell_unmarked(self, count: int) -> None:
        if not count:
            return
        marker = self._context.marker
        if not are_many(count, self._ledger.expected()):
            logger.info("{} assets lost the tag {} in Immich; `autotagger verify` tells more", count, marker)
            return
        self._context.tag_ids.forget()
        if 2 * self._bare >= self._believed:
            what = "lost all tags of autotagger in Immich (was a backup restored?)"
        else:
            what = f"lost the tag {marker} in Immich and have their other tags (was it deleted in the tag page?)"
        logger.warning("{} assets {}: `autotagger verify --repair` puts back what is missing", count, what)

    # -- tags ---------------------------------------------------------------------------------------------

    async def look_for_tags(self) -> None:
        """Find tags of ours that were deleted, or deleted and made anew, since the last look."""
        there = {tag.value: tag.id for tag in await self._context.client.tags()}
        known = self._ledger.immich_ids()
        suspects = {
            name
            for name, id_ in known.items()
            if name != self._context.marker and (name not in there or (id_ and there[name] != id_))
        }
        deleted = await self._deleted(suspects, there) if suspects else {}
        for name, keys in deleted.items():
            self._ledger.record_deleted(name, keys)
        self._ledger.note_immich_ids(there)
        if deleted:
            self._context.tag_ids.forget()
            self._context.count("tags_deleted", len(deleted))
            logger.warning("{}", told_of_tags({name: len(keys) for name, keys in deleted.items()}))

    async def _deleted(self, names: set[str], there: Mapping[str, str]) -> dict[str, list[int]]:
        """The keys of the assets that lost each tag, where they are many."""
        found: dict[str, list[int]] = {}
        expected = self._ledger.expected()
        for name, assets in sorted(self._ledger.verified_with(names).items()):
            holders: set[str] = set()
            if name in there:
                async for page in tagged(self._context.client, there[name]):
                    holders.update(asset.id for asset in page)
            keys = [key for key, asset_id in assets if asset_id not in holders]
            if are_many(len(keys), expected):
                found[name] = keys
        return found


def told_of_tags(deleted: Mapping[str, int]) -> str:
    """One line about tags that somebody deleted, with the assets that had each."""
    most = sorted(deleted, key=lambda name: (-deleted[name], name))
    names = ", ".join(f"{name} ({deleted[name]} assets)" for name in most[:NAMED])
    more = f" and {len(most) - NAMED} more" if len(most) > NAMED else ""
    one = len(most) == 1
    return (
        f"{len(most)} {'tag' if one else 'tags'} of autotagger {'was' if one else 'were'} deleted in Immich: "
        f"{names}{more}; these assets do without, `autotagger verify --repair --deleted-tags` puts "
        f"{'it' if one else 'them'} back, and [policy] blacklist keeps {'it' if one else 'them'} off new pictures"
    )
