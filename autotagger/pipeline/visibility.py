"""Rating actions: what a rating does to an asset's visibility in Immich, on request.

An asset's turn comes when its tags are proven and before that is noted: Immich has settled by then, so that no tag
can be lost over it (immich.md, law 1), and after a crash in between the asset is looked at once more. What a
person changes later stays as it is: a verified asset is not looked at again. Only what is in the timeline (or, for
`locked`, archived) is ever touched.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from loguru import logger

from autotagger.errors import AssetFailed, BadConfig, Retryable, Unreachable
from autotagger.immich.client import ImmichClient
from autotagger.policy.rules import TagPolicy
from autotagger.policy.thresholds import RATING

#: From where each action takes an asset: none of them ever makes one easier to see.
_FROM = {"archive": ("timeline",), "locked": ("timeline", "archive")}


@dataclass(frozen=True, slots=True)
class Seen:
    """An asset whose tags are proven: where Immich shows it, and the tags that we mean it to have."""

    key: int
    asset_id: str
    visibility: str
    tags: frozenset[str]


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

    def __init__(self, client: ImmichClient, actions: Mapping[str, str]) -> None:
        self._client = client
        self._actions = actions

    def __bool__(self) -> bool:
        return bool(self._actions)

    async def act(self, seen: Iterable[Seen]) -> set[int]:
        """Do what the ratings ask for; answers the keys of those that Immich could not change just now.

        Raises Unreachable and Fatal. An asset that Immich refuses to change stays as it is, which is logged.
        """
        groups: dict[str, list[Seen]] = {}
        for asset in seen:
            if target := self._target(asset):
                groups.setdefault(target, []).append(asset)
        later: set[int] = set()
        for visibility, assets in groups.items():
            later |= await self._change(assets, visibility)
        return later

    def _target(self, asset: Seen) -> str | None:
        asked = {self._actions[tag] for tag in asset.tags & self._actions.keys()}
        strictest = "locked" if "locked" in asked else next(iter(asked), None)
        return strictest if strictest and asset.visibility in _FROM[strictest] else None

    async def _change(self, assets: Sequence[Seen], visibility: str) -> set[int]:
        try:
            await self._client.set_visibility([asset.asset_id for asset in assets], visibility)
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
        logger.info("{} assets: visibility is {} now, for their rating", len(assets), visibility)
        return set()
