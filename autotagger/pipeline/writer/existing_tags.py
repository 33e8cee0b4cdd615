"""Tags that were there before us: looked up once, before their first use, and never taken for ours."""

from collections.abc import Mapping, Sequence

from loguru import logger

from autotagger.immich.sweep import tagged
from autotagger.pipeline.writer.account_context import AccountContext


async def meet_tags(context: AccountContext, plans: Mapping[int, Sequence[str]]) -> set[int]:
    """Look up whatever tags of `plans` (asset key: names) are used for the first time.

    A tag that Immich has already is listed once with all its assets, whose links become known as somebody else's.
    Returns the keys of assets that came later than the listing of one of their tags (or that a listing cannot tell
    apart): such an asset is read before its first call, since a person may have given it the very same tag.
    """
    known = context.ledger.known_tags()  # what is met below is in it from then on
    names = {name for tags in plans.values() for name in tags}
    for name in sorted(fresh := names - known.keys()):
        await _meet(context, name)
    for parent in sorted({parent for name in fresh for parent in _parents(name)} - known.keys()):
        if await context.tag_ids.known(parent) is None:  # it is made with the first tag below it
            context.ledger.record_known(parent, [], ours=True)
    if context.marker not in known:  # only autotagger gives it
        is_there = await context.tag_ids.known(context.marker) is not None
        context.ledger.record_known(context.marker, [], ours=not is_there)
    return {key for key, tags in plans.items() if any(key > known[name] for name in tags)}


async def _meet(context: AccountContext, name: str) -> None:
    tag_id = await context.tag_ids.known(name)
    holders: list[str] = []
    if tag_id is not None:
        async for assets in tagged(context.client, tag_id):
            holders += (asset.id for asset in assets)
        logger.info("the tag {} is on {} assets already: autotagger never removes it there", name, len(holders))
    # A listing brings the assets of the tags below it too: no proof that they hold this one.
    sure = tag_id is None or not await context.tag_ids.has_children(name)
    context.ledger.record_known(name, holders if sure else [], ours=tag_id is None, sure=sure)


def _parents(name: str) -> list[str]:
    """`a` and `a/b` of `a/b/c`."""
    parts = name.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]
