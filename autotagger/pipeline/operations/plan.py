"""What a run or a retag would change: list the library, score a few pictures, decide. Immich is only read."""

from collections import Counter
from collections.abc import Iterable, Set
from dataclasses import dataclass, field, replace

from loguru import logger

from autotagger.config import api_keys
from autotagger.errors import StartupFailed
from autotagger.immich.client import MAX_PAIRS, ImmichClient
from autotagger.ledger.links import revised
from autotagger.ledger.reader import LedgerReader
from autotagger.ledger.rows import AssetFilter, ScoredAsset
from autotagger.ledger.states import GOING, LinkState
from autotagger.pipeline.decider import TagDecider
from autotagger.pipeline.run import load_model, run_pipeline
from autotagger.policy.batching import plan_calls
from autotagger.settings import Settings

#: Assets with 30 flat tags whose background jobs Immich works off in a second (docs/immich.md, on 2 cores).
JOBS_PER_S = 8.0
#: Assets decided at once.
WINDOW = 500


@dataclass(slots=True)
class PlannedChanges:
    """Assets: `first` get their first tags, `changed` others than they have, `unchanged` the same, `unscored`
    cannot be told. `added`, `removed`: assets by tag. `new_tags`: not in Immich yet. `calls`: tag and untag calls.
    `changes`: times that an asset is changed, each of which costs Immich background jobs. `not_selected`: what the
    selection leaves out; `left`: those that it no longer holds and that keep their tags."""

    first: int = 0
    changed: int = 0
    unchanged: int = 0
    unscored: int = 0
    added: Counter[str] = field(default_factory=Counter)
    removed: Counter[str] = field(default_factory=Counter)
    new_tags: list[str] = field(default_factory=list)
    calls: int = 0
    changes: int = 0
    not_selected: int = 0
    left: int = 0

    @property
    def background_s(self) -> float:
        """Seconds of background work for Immich, at the measured rate of a server with 2 cores."""
        return self.changes / JOBS_PER_S


def plan_changes(
    ledger: LedgerReader,
    decider: TagDecider,
    *,
    marker: str,
    in_immich: Set[str],
    batch_size: int,
    chosen: AssetFilter,
) -> PlannedChanges:
    """Decide every asset of the chosen that the decider's model scored; compare with what the ledger means it to
    have.

    `in_immich`: names of the tags that exist there; `batch_size`: assets whose calls are made together.
    """
    planned = PlannedChanges(
        unscored=ledger.unscored(decider.model, chosen),
        not_selected=ledger.not_selected(),
        left=ledger.left_with_tags(),
    )
    for window in _windows(ledger, decider.model, chosen):
        _decide(planned, ledger, decider.tags(window), marker, batch_size)
    planned.new_tags = sorted(planned.added.keys() - in_immich)
    return planned


def _windows(ledger: LedgerReader, model: int, chosen: AssetFilter) -> Iterable[list[ScoredAsset]]:
    while window := ledger.taggable(model, WINDOW, chosen):
        yield window
        chosen = chosen.behind(window[-1].key)


def _decide(
    planned: PlannedChanges,
    ledger: LedgerReader,
    named: Iterable[tuple[ScoredAsset, tuple[str, ...]]],
    marker: str,
    batch_size: int,
) -> None:
    named = list(named)
    links = ledger.links_of([asset.key for asset, _ in named])
    puts: list[tuple[int, frozenset[str]]] = []
    removals: Counter[str] = Counter()
    for asset, tags in named:
        after = revised(links[asset.key], (*tags, marker), LinkState.WANTED)
        added = {name for name, state in after.items() if state is LinkState.WANTED}
        gone = {name for name, state in after.items() if state in GOING}
        had_tags = bool(links[asset.key].keys() - {n for n, s in links[asset.key].items() if s is LinkState.FOUND})
        planned.first += not had_tags
        planned.changed += had_tags and bool(added or gone)
        planned.unchanged += had_tags and not (added or gone)
        planned.added.update(added)
        planned.removed.update(gone)
        removals.update(gone)
        planned.changes += bool(added) + len(gone)
        if added:
            puts.append((asset.key, frozenset((*tags, marker))))
    for start in range(0, len(puts), batch_size):
        planned.calls += len(plan_calls(puts[start : start + batch_size], max_pairs=MAX_PAIRS))
    planned.calls += sum(-(-count // batch_size) for count in removals.values())


EVERYTHING = AssetFilter()


async def plan_library(
    settings: Settings, *, score: int, chosen: AssetFilter = EVERYTHING, account: str | None = None
) -> PlannedChanges:
    """What run and retag would change with the chosen assets of one account, or of all.

    At most `score` pictures without scores are scored for it first, chosen or not; where another run is under way,
    it is planned from what that has scored so far. Raises Fatal, and AssetFailed where one asset is chosen that
    the ledger does not know."""
    if score:
        try:
            await run_pipeline(settings, once=True, limit=score, scoring_only=True)
        except StartupFailed as error:
            if error.kind != "ledger-locked":
                raise
            logger.info("a run is active: planned from what it has scored so far")
    model = await load_model(settings)
    in_immich: set[str] = set()
    for key in api_keys(settings).values():
        async with ImmichClient(settings.immich, key) as client:
            in_immich |= {tag.value for tag in await client.tags()}
    with LedgerReader(settings.ledger_path) as ledger:
        if account is not None:
            chosen = replace(chosen, account=ledger.account_named(account))
        if chosen.asset_id is not None:
            ledger.known(chosen.asset_id)
        return plan_changes(
            ledger,
            TagDecider.of_library(ledger, model, settings),
            marker=settings.marker,
            in_immich=in_immich,
            batch_size=settings.immich.batch_size,
            chosen=chosen,
        )
