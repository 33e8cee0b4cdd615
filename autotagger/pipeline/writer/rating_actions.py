"""Rating actions: what a rating does to an asset's visibility in Immich, on request.

An asset's turn comes when its tags are proven and before that is noted: Immich has settled by then, so no tag
can be lost (docs/immich.md, law 1), and after a crash in between the asset is looked at once more. What was
proven before anybody asked for the action has its turn when a run begins. The ledger remembers where an asset was
moved, and it is moved there once: a person who moves it back is right. Only what is in the timeline (or, for
`locked`, archived) is ever touched.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from loguru import logger

from autotagger.errors import AssetFailed, BadConfig, Retryable, Unreachable
from autotagger.ledger.rows import RatedAsset
from autotagger.pipeline.writer.account_context import AccountContext
from autotagger.policy.rules import TagPolicy
from autotagger.policy.thresholds import RATING

#: From where each action takes an asset: none of them ever makes one easier to see.
_FROM = {"archive": ("timeline",), "locked": ("timeline", "archive")}


@dataclass(frozen=True, slots=True)
class Seen:
    """An asset whose tags are proven: where Immich shows it, and the tags that we mean it to have.

    `moved`: where a rating had it moved to before.
    """

    key: int
    asset_id: str
    visibility: str
    tags: frozenset[str]
    moved: str | None


def actions_of(policy: TagPolicy, wanted: Mapping[str, str]) -> dict[str, str]:
    """What each rating's tag asks for. Raises BadConfig for a rating that the model has not, or gives no tag."""
    found: dict[str, str] = {}
    for rating, visibility in wanted.items():
        rows = [row for row, label in enumerate(policy.labels) if tuple(label) == (rating, RATING)]
        tags = [tag for row in rows for tag in policy.names[row] if tag in policy.possible]
        if not tags:
            known = ", ".join(name for name, category in policy.labels if category == RATING) or "none"
            raise BadConfig(
                f"[policy.rating_action] {rating}: the model has no such rating, or gives it no tag "
                f"(known: {known})"
            )
        found |= dict.fromkeys(tags, visibility)
    return found


class RatingActions:
    """`actions`: visibility by tag; empty (the default) does nothing at all."""

    def __init__(self, context: AccountContext, actions: Mapping[str, str]) -> None:
        self._context = context
        self._actions = actions
        #: How far `catch_up` has come, by visibility: the key of the last asset it looked at.
        self._after = dict.fromkeys(actions.values(), 0)

    def __bool__(self) -> bool:
        return bool(self._actions)

    @property
    def behind(self) -> bool:
        """Whether assets may be left that had their tags before the action was asked for."""
        return bool(self._after)

    async def act(self, seen: Iterable[Seen]) -> set[int]:
        """Do what the ratings ask for; answers the keys of those that Immich could not change just now.

        Raises Unreachable and Fatal. An asset that Immich refuses to change stays as it is, which is logged.
        """
        later: set[int] = set()
        for visibility, assets in self._asked(seen).items():
            movable = [asset for asset in assets if asset.visibility in _FROM[visibility]]
            unchanged = await self._change(movable, visibility) if movable else set()
            self._context.ledger.record_moved([one.key for one in assets if one.key not in unchanged], visibility)
            later |= unchanged
        return later

    async def catch_up(self, limit: int) -> bool:
        """Read the next `limit` assets that were proven before the action was asked for, and act.

        Returns whether there were any. What Immich could not show or change just now is left for the next run.
        """
        for visibility, after in list(self._after.items()):
            tags = [tag for tag, asked in self._actions.items() if asked == visibility]
            rated = self._context.ledger.unmoved(tags, visibility, after=after, limit=limit)
            if rated:
                looks = await asyncio.gather(*(self._look(asset) for asset in rated))
                await self.act(seen for seen in looks if seen)
                self._after[visibility] = rated[-1].key
                return True
            del self._after[visibility]
        return False

    async def _look(self, asset: RatedAsset) -> Seen | None:
        try:
            held = await self._context.client.asset(asset.asset_id)
        except Unreachable:
            raise
        except (AssetFailed, Retryable) as error:
            logger.warning("{}; its rating action is left to the next run", error.message)
            return None
        return Seen(asset.key, asset.asset_id, held.asset.visibility, asset.tags, asset.moved)

    def _asked(self, seen: Iterable[Seen]) -> dict[str, list[Seen]]:
        """The assets whose rating asks for what it had not asked for before, by visibility."""
        groups: dict[str, list[Seen]] = {}
        for asset in seen:
            asked = {self._actions[tag] for tag in asset.tags & self._actions.keys()}
            strictest = "locked" if "locked" in asked else next(iter(asked), None)
            if strictest and strictest != asset.moved:
                groups.setdefault(strictest, []).append(asset)
        return groups

    async def _change(self, assets: Sequence[Seen], visibility: str) -> set[int]:
        try:
            await self._context.client.set_visibility([asset.asset_id for asset in assets], visibility)
        except Unreachable:
            raise
        except AssetFailed as error:
            if len(assets) == 1:
                logger.warning("{}; its visibility stays {}", error.message, assets[0].visibility)
                return set()
            # Nothing was changed; one bad asset must not keep the others.
            return {key for asset in assets for key in await self._change([asset], visibility)}
        except Retryable as error:
            logger.warning("{}; tried again later", error.message)
            return {asset.key for asset in assets}
        logger.info("{} assets: visibility set to {} because of their rating", len(assets), visibility)
        return set()
