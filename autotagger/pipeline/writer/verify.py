"""`verify`: what Immich holds against what the ledger means, every asset or a sample.

Everything is read first. Only all of it together tells whose doing a difference is: a tag that left one picture
was taken off by a person; one that left all of them was deleted in the tag page; a marker that is missing
everywhere while the tags are there was deleted there too; and where marker and tags are gone, Immich lost them.
Then it is said what will be done about it, and only then it is done.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from loguru import logger

from autotagger.errors import AssetFailed, AssetGone, Retryable, Unreachable
from autotagger.immich.types import TaggedAsset
from autotagger.ledger.links import meant
from autotagger.ledger.rows import Change, RestingAsset
from autotagger.ledger.states import MANY, LinkState, State, are_many
from autotagger.pipeline.writer.account_context import AccountContext
from autotagger.pipeline.writer.applier import change
from autotagger.pipeline.writer.losses import Losses
from autotagger.pipeline.writer.reconcile import Step, reconcile
from autotagger.pipeline.writer.sampling import is_sampled

#: Reads under way at once, and findings told one by one; the counts hold them all.
READ_AT_ONCE = 25
MAX_FINDINGS = 1_000
#: What verify counts: assets, and with `deleted` the tags on them.
COUNTS = (
    *("read", "as_meant", "missing", "unmarked", "deleted", "rejected", "came_back"),
    *("gone", "changed", "unreadable", "repairing"),
)


@dataclass(slots=True)
class Verify:
    """Read assets and compare them with the ledger. `repair`: mend what was found; `deleted_tags`: put back also
    tags that somebody deleted in Immich's tag page.

    `after`: the key of the last asset passed, in each of the two ways through the ledger.
    """

    context: AccountContext
    sample: float
    repair: bool
    deleted_tags: bool = False
    after: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    findings: list[dict[str, str]] = field(default_factory=list)
    _begun: bool = False
    _told: bool = False
    _differing: list[int] = field(default_factory=list)
    _held: set[str] = field(default_factory=set)  # tags that some asset read has
    _away: Counter[str] = field(default_factory=Counter)  # tags that assets lack while others of ours are there
    _only_marker: int = 0  # assets that lack their marker while tags of ours are there
    _deleted: Counter[str] = field(default_factory=Counter)

    @property
    def result(self) -> dict[str, Any]:
        """The counts, the tags that were deleted in Immich, and the findings one by one."""
        deleted = [{"tag": tag, "assets": count} for tag, count in self._deleted.most_common()]
        return {
            **{name: self.counts[name] for name in COUNTS},
            "deleted_tags": deleted,
            "findings": self.findings,
        }

    async def step(self) -> bool:
        """Read the next assets, or mend them; returns whether there may be more."""
        if not self._begun:
            await Losses(self.context).survey()
            self._begun = True
        if not self._told:
            return await self._read_some()
        return await self._mend_some()

    # -- read ---------------------------------------------------------------------------------------------

    async def _read_some(self) -> bool:
        resting = self.context.ledger.resting(self.after, READ_AT_ONCE)
        if not resting:
            self._told, self.after = True, 0
            self._tell()
            return bool(self._differing)
        self.after = resting[-1].key
        drawn = [asset for asset in resting if is_sampled(asset.asset_id, self.sample)]
        looks = await asyncio.gather(*map(self._look, drawn))
        as_they_are = [self._compare(asset, held) for asset, held in zip(drawn, looks, strict=True) if held]
        self.context.ledger.record_change([one for one in as_they_are if one])
        return True

    async def _look(self, asset: RestingAsset) -> TaggedAsset | None:
        try:
            return await self.context.client.asset(asset.asset_id)
        except Unreachable:
            raise
        except AssetGone as error:
            self._found("gone", asset, error.message)
            self.context.ledger.record_problem(
                asset.asset_id, State.GONE, kind=error.kind, message=error.message, due_ms=None
            )
        except (Retryable, AssetFailed) as error:
            self._found("unreadable", asset, error.message)
        return None

    def _compare(self, asset: RestingAsset, held: TaggedAsset) -> Change | None:
        """Count one asset in; what only this look brought to light about one that is as meant is kept."""
        self.counts["read"] += 1
        self._held |= held.tags
        if held.asset.checksum != asset.checksum:
            self._found("changed", asset, "the file is another one now: it is scored again")
            self._differing.append(asset.key)
            return None
        step = self._reconciled(asset.links, held)
        gone = self._deleted_from(asset, held)
        self._deleted.update(gone)
        self.counts["deleted"] += len(gone)
        away = [name for name, state in step.links.items() if state is LinkState.REJECTED]
        if self.context.marker not in held.tags and meant(asset.links) & held.tags:
            self._only_marker += 1
            self._away.update(step.missing - {self.context.marker})
        self._away.update(away)
        if step.done and not away and not _came_back(asset, held) and not (gone and self.deleted_tags):
            self.counts["as_meant"] += 1
            return Change(asset.key, step.links, held.asset.updated_ms, call=False) if step.links else None
        self._differing.append(asset.key)
        return None

    def _reconciled(self, links: Mapping[str, LinkState], held: TaggedAsset) -> Step:
        ledger, marker = self.context.ledger, self.context.marker
        contested = ledger.is_contested(self.context.now_ms())
        return reconcile(links, held.tags, marker, contested=contested, meanings=ledger.meanings_of)

    @staticmethod
    def _deleted_from(asset: RestingAsset, held: TaggedAsset) -> list[str]:
        return [
            name for name, state in asset.links.items() if state is LinkState.DELETED and name not in held.tags
        ]

    # -- tell ---------------------------------------------------------------------------------------------

    @property
    def _marker_deleted(self) -> bool:
        return are_many(self._only_marker, self.counts["read"])

    def _is_deleted(self, name: str) -> bool:
        """Whether a tag left every asset that had it, and these are many: no person did it picture by picture."""
        return name not in self._held and self._away[name] >= MANY

    def _tell(self) -> None:
        """One line for what looks like many losses and is one deed, and what will be done about it."""
        for name in filter(self._is_deleted, sorted(self._away)):
            self._deleted[name] += self._away[name]
            self.counts["deleted"] += self._away[name]
        if self._marker_deleted:
            then = "it is put back" if self.repair else "--repair puts it back"
            logger.warning(
                "{} assets look missing because the marker tag {} was deleted: their tags are there, {}",
                self._only_marker,
                self.context.marker,
                then,
            )
        if self._deleted:
            names = ", ".join(f"{name} ({count} assets)" for name, count in self._deleted.most_common(5))
            more = f" and {len(self._deleted) - 5} more" if len(self._deleted) > 5 else ""
            then = "they are put back" if self.deleted_tags else "they stay away; --deleted-tags puts them back"
            logger.warning("tags that somebody deleted in Immich: {}{}: {}", names, more, then)
        if self.repair and self._differing:
            logger.info("{} assets differ and are looked at again, to be mended", len(self._differing))

    # -- mend ---------------------------------------------------------------------------------------------

    async def _mend_some(self) -> bool:
        """Look once more at some assets that differ, and record or mend what differs."""
        some, self._differing = self._differing[:READ_AT_ONCE], self._differing[READ_AT_ONCE:]
        self.after = some[-1]
        resting = self.context.ledger.resting_of(some)
        looks = await asyncio.gather(*map(self._look, resting))
        pairs = zip(resting, looks, strict=True)
        changes = [self._mended(asset, held) for asset, held in pairs if held]
        self.context.ledger.record_change([change for change in changes if change])
        return bool(self._differing)

    def _mended(self, asset: RestingAsset, held: TaggedAsset) -> Change | None:
        if held.asset.checksum != asset.checksum:
            if self.repair:
                self.context.ledger.score_again(asset.key, held.asset.checksum)
                self.counts["repairing"] += 1
            return None
        known = {**asset.links, **self._revived(asset, held)}
        step = self._reconciled(known, held)
        judged = self._judged(known, held, step.links)
        step = self._reconciled({**known, **judged}, held)
        self._report(asset, judged, step.missing, step.surplus)
        if self.repair and not step.done:
            self.counts["repairing"] += 1
            links = {**known, **judged, **step.links}
            changed = {name: state for name, state in links.items() if state is not asset.links.get(name)}
            return replace(change(asset.key, step, held.asset.updated_ms), links=changed)
        kept = {name: state for name, state in {**judged, **step.links}.items() if name in asset.links}
        return Change(asset.key, kept, held.asset.updated_ms, call=False) if kept else None

    def _revived(self, asset: RestingAsset, held: TaggedAsset) -> dict[str, LinkState]:
        """Links to be seen anew: what we took off and is there again, and deleted tags that are to come back."""
        back = dict.fromkeys(_came_back(asset, held), LinkState.LEAVING)
        if not (self.repair and self.deleted_tags):
            return back
        return {**back, **dict.fromkeys(self._deleted_from(asset, held), LinkState.SENT)}

    def _judged(
        self, known: Mapping[str, LinkState], held: TaggedAsset, seen: Mapping[str, LinkState]
    ) -> dict[str, LinkState]:
        """Whose doing it is that tags are away, where one asset alone does not tell."""
        marker = self.context.marker
        away = {name for name, state in seen.items() if state is LinkState.REJECTED}
        if marker not in held.tags and self._marker_deleted:
            away = set(meant(known) - held.tags - {marker})
            if not meant(known) & held.tags:  # with nothing left here, only what left everywhere was deleted
                away = set(filter(self._is_deleted, away))
        found = dict.fromkeys(away, LinkState.REJECTED)
        for name in filter(self._is_deleted, away):
            found[name] = LinkState.SENT if self.repair and self.deleted_tags else LinkState.DELETED
        return found

    def _report(
        self,
        asset: RestingAsset,
        judged: Mapping[str, LinkState],
        missing: frozenset[str],
        surplus: frozenset[str],
    ) -> None:
        rejected = [name for name, state in judged.items() if state is LinkState.REJECTED]
        if rejected:
            self._found("rejected", asset, f"taken off by a person: {_listed(rejected)}")
        if missing == {self.context.marker}:
            self._found("unmarked", asset, "the marker alone is missing; the tags are there")
        elif missing:
            self._found("missing", asset, f"lost in Immich: {_listed(missing)}")
        if surplus:
            self._found("came_back", asset, f"taken off by us and there again: {_listed(surplus)}")

    def _found(self, what: str, asset: RestingAsset, message: str) -> None:
        self.counts[what] += 1
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(
                {"what": what, "asset": asset.asset_id, "file": asset.file_name, "message": message}
            )


def _came_back(asset: RestingAsset, held: TaggedAsset) -> list[str]:
    """Tags that we took off and that are there again."""
    return [name for name, state in asset.links.items() if state is LinkState.REMOVED and name in held.tags]


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
