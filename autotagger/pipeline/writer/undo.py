"""`undo`: the selected links of ours come off again, also in the trash and after a new import; then empty tags go.

What Immich does not show is in the locked folder or deleted for good, and Immich does not tell which. So the tags
are taken off such an asset without a look at it, and the answer tells whether it had them.
"""

from typing import Any

from loguru import logger

from autotagger.errors import AssetFailed, AssetGone, Retryable, Unreachable
from autotagger.immich.sweep import tagged
from autotagger.immich.types import Server
from autotagger.ledger.imports import Imported
from autotagger.ledger.rows import Selection
from autotagger.pipeline.convert import listed_asset
from autotagger.pipeline.writer.account_context import AccountContext
from autotagger.pipeline.writer.strangers import Strangers

#: Tags that were taken off what Immich does not show are taken off again, until it had none: at most so often.
ROUNDS = 3


class Undo:
    """Take the selected links of ours off again, then tags of ours that nobody uses any more."""

    def __init__(self, context: AccountContext, server: Server, selection: Selection) -> None:
        self._context = context
        self._ledger = context.ledger
        self._server = server
        self._selection = selection
        self.after: int | None = 0  # None: it is through
        self.result: dict[str, Any] = {"deleted_tags": 0}
        self._searched = False
        self._hidden: dict[int, str] = {}
        self._rounds = 0
        self._kept: set[str] = set()  # tags that were on what Immich does not show, or still are

    async def step(self) -> bool:
        """Mark what has to leave, wait until all of it has left and is proven, delete empty tags."""
        if not self._searched:
            await self._search()
            await Strangers(self._context).survey(decide=False)
            self._searched = True
        if self.after is not None:
            self.after = self._ledger.take_back(self._selection, marker=self._context.marker, after=self.after)
            return True
        if self._ledger.unfinished():
            return True
        if self._ledger.selected(self._selection, marker=self._context.marker):
            self.after = 0  # calls that were under way when we passed have settled by now
            return True
        if self._hidden and await self._take_off_hidden():
            return True
        await self._delete_empty_tags()
        await self._tell_marked()
        return False

    # -- what the ledger does not have in sight -----------------------------------------------------------

    async def _search(self) -> None:
        """Find assets that were imported anew, and those that are in the trash."""
        marker_id = await self._context.tag_ids.known(self._context.marker)
        if marker_id is not None:
            async for page in tagged(self._context.client, marker_id, trash=True):
                mine = [asset for asset in page if self._server.user_id in (None, asset.owner_id)]
                self._ledger.add_imported([listed_asset(asset) for asset in mine])
        imported = self._ledger.imported()
        gone = [one for one in imported if one.is_gone or not await self._is_shown(one.old_id)]
        self._ledger.record_gone([one.old for one in gone if not one.is_gone])
        self._ledger.take_over([Imported(one.old, one.old_id, True, one.new) for one in gone])
        for key, asset_id in self._ledger.gone_with_tags():
            if self._selection.asset_id not in (None, asset_id):
                continue
            if await self._is_shown(asset_id):
                self._ledger.revive([key])
            else:
                self._hidden[key] = asset_id

    async def _is_shown(self, asset_id: str) -> bool:
        try:
            await self._context.client.asset(asset_id)
        except AssetGone:
            return False
        except Unreachable:
            raise
        except (Retryable, AssetFailed) as error:
            logger.warning("{}; it is taken for one that is there", error.message)
        return True

    async def _take_off_hidden(self) -> bool:
        """Take the tags off what Immich does not show; returns whether some had them, and may have them again."""
        links = self._ledger.leaving_of(list(self._hidden), self._selection, marker=self._context.marker)
        had: set[int] = set()
        refused: set[int] = set()
        for name in sorted({name for names in links.values() for name in names}):
            keys = {self._hidden[key]: key for key, names in links.items() if name in names}
            if (tag_id := await self._context.tag_ids.known(name)) is None:
                continue
            answers = await self._untag(list(keys), tag_id)
            had |= {keys[asset_id] for asset_id, answer in answers.items() if answer == "success"}
            refused |= {keys[id_] for id_, answer in answers.items() if answer not in ("success", "not_found")}
            if any(answer != "not_found" for answer in answers.values()):
                self._kept.add(name)
        self._rounds += 1
        if had and self._rounds < ROUNDS:
            return True
        for key in self._hidden.keys() - refused - had:
            self._ledger.record_taken_off(key, sorted(links[key]))
        if left := refused | had:
            self.result["left"] = len(left)
            logger.warning(
                "{} assets that Immich does not show (locked folder?) may still have tags of autotagger", len(left)
            )
        self._hidden = {}
        return False

    async def _untag(self, asset_ids: list[str], tag_id: str) -> dict[str, str]:
        try:
            return await self._context.client.untag(asset_ids, tag_id)
        except Unreachable:
            raise
        except AssetGone:
            self._context.tag_ids.forget()
            return {}
        except (Retryable, AssetFailed) as error:
            logger.warning("{}", error.message)
            return dict.fromkeys(asset_ids, "refused")

    # -- tags ---------------------------------------------------------------------------------------------

    async def _delete_empty_tags(self) -> None:
        """Tags that were not there before us and that no asset has now. Immich would keep them for a while."""
        names = self._ledger.unused_tags_of_ours()
        self._context.tag_ids.forget()
        there = [name for name in names if await self._context.tag_ids.known(name)]
        if there and not self._server.may("tag.delete"):
            logger.warning(
                "{} tags of ours are empty now; the API key lacks tag.delete, so they stay until Immich cleans up",
                len(there),
            )
            self.result["empty_tags"] = len(there)
            return
        parents = set()
        for depth in sorted({name.count("/") for name in there}, reverse=True):  # a parent after what is below it
            for name in (one for one in there if one.count("/") == depth):
                if await self._context.tag_ids.has_children(name):
                    parents.add(name)
                elif name not in self._kept:
                    await self._delete(name)
            self._context.tag_ids.forget()
        if kept := self._kept & set(there):
            self.result["kept_tags"] = len(kept)
            logger.warning(
                "assets that Immich does not show (the locked folder) had {} tags of autotagger, which stay in "
                "the tag page until Immich cleans up: {}",
                *(len(kept), ", ".join(sorted(kept))),
            )
        self._ledger.forget_tags([name for name in names if name not in parents])

    async def _delete(self, name: str) -> None:
        tag_id = await self._context.tag_ids.known(name)
        if tag_id is None or await self._holders(tag_id):
            return
        await self._context.client.delete_tag(tag_id)
        self.result["deleted_tags"] += 1

    async def _holders(self, tag_id: str) -> int:
        """Assets with a tag, those in the trash among them."""
        return sum([len(page) async for page in tagged(self._context.client, tag_id, trash=True)])

    async def _tell_marked(self) -> None:
        """Where all was to go, the marker shows what does not know us any more."""
        if not _is_all(self._selection):
            return
        marker_id = await self._context.tag_ids.known(self._context.marker)
        count = await self._holders(marker_id) if marker_id is not None else 0
        if count:
            self.result["still_marked"] = count
            logger.warning(
                "{} assets still have the tag {}, and the ledger does not know them as its own: another "
                "autotagger put it there, or an earlier ledger (`autotagger ledger rebuild` finds them again)",
                *(count, self._context.marker),
            )


def _is_all(selection: Selection) -> bool:
    return selection == Selection()
