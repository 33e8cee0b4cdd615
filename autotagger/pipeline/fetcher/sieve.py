"""One listing by the rules: what Immich filters is searched for, the rest is judged as it comes."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from autotagger.immich.client import ImmichClient
from autotagger.immich.dialect import check_narrowing
from autotagger.immich.searches import ANYWHERE, Narrowing
from autotagger.immich.sweep import EVERYTHING, members
from autotagger.immich.types import Asset
from autotagger.pipeline.selecting import candidate, narrowing_of, narrowings_of
from autotagger.selection.rules import Rules
from autotagger.selection.searches import SearchPlan, plan_searches


@dataclass(frozen=True, slots=True)
class Sieve:
    """Tells the selected assets of a listing from the others. `within`: what to search for; `held`: the ids of
    what an asset is a member of, by key of [select] and asset id, as far as it was listed; `makes`: of cameras."""

    rules: Rules
    plan: SearchPlan
    within: Sequence[Narrowing]
    held: dict[str, dict[str, set[str]]]
    makes: dict[str, str]

    def keeps(self, asset: Asset) -> bool:
        """Whether an asset that was found is selected."""
        return not self.rules.misfit(
            replace(
                candidate(asset, make=self.makes.get(asset.id)),
                albums=self._held("albums", self.rules.albums.wanted, asset),
                people=self._held("people", self.rules.people.wanted, asset),
                tags=self._held("tags", self.rules.tags.wanted, asset),
            )
        )

    def _held(self, key: str, wanted: frozenset[str] | None, asset: Asset) -> frozenset[str]:
        # The search found it in one of those that are wanted; which of them makes no difference.
        found = wanted if key in self.plan.covered and wanted else frozenset()
        return found | self.held[key].get(asset.id, set())

    def split(self, assets: Iterable[Asset]) -> tuple[list[Asset], list[Asset]]:
        """The selected ones, and the others."""
        kept: list[Asset] = []
        others: list[Asset] = []
        for asset in assets:
            (kept if self.keeps(asset) else others).append(asset)
        return kept, others


def within_of(rules: Rules) -> Sequence[Narrowing]:
    """What to search for, that the candidates are found."""
    within = narrowings_of(rules, plan_searches(rules))
    return EVERYTHING if within == [ANYWHERE] else within


async def sieve_of(
    client: ImmichClient,
    rules: Rules,
    visibilities: Sequence[str],
    *,
    created_after_ms: int | None = None,
    check: bool,
) -> Sieve:
    """Look up what a listing has to know before it begins: members of what is excluded, and makes of cameras.

    `created_after_ms`: it is about what was taken in then or later; `check`: see first that Immich narrows
    searches down. To be called after it was seen what Immich has read the metadata of: of that the make is known.
    Raises what `ImmichClient.search` raises, and ServerRefused where Immich ignores albums or people in a search.
    """
    plan = plan_searches(rules)
    within = within_of(rules)
    # What is to be looked up in is listed within the candidates where they are one search.
    common = plan.searches[0] if len(plan.searches) == 1 else ()
    listings = {term: narrowing_of(rules, (*common, term)) for term in plan.listings}
    if check:
        await check_narrowing(client, (*within, *listings.values()))
    held: dict[str, dict[str, set[str]]] = {key: defaultdict(set) for key in ("albums", "people", "tags")}
    for term, narrowing in listings.items():
        async for some in members(
            client, visibilities=visibilities, within=(narrowing,), created_after_ms=created_after_ms
        ):
            for asset in some:
                held[term.key][asset.id].add(term.id)
    makes: dict[str, str] = {}
    if rules.camera != "tag" and within:
        async for some in members(
            client,
            visibilities=visibilities,
            within=within,
            created_after_ms=created_after_ms,
            with_exif=True,
        ):
            makes |= {asset.id: asset.make for asset in some if asset.make}
    return Sieve(rules, plan, within, held, makes)
