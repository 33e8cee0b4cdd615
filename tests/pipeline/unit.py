"""What the unit tests of the pipeline's parts share: a real ledger, clocks that a test moves, and stand-ins
for the processes and for Immich's client. No process is started and nobody sleeps."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from autotagger.config import load_settings
from autotagger.errors import AssetGone
from autotagger.immich.types import Asset, Dialect, Page, Server, ServerVersion, Tag, TaggedAsset
from autotagger.ledger.rows import ListedAsset, Work
from autotagger.ledger.writer import LedgerWriter
from autotagger.pipeline.writer.account_context import AccountContext
from autotagger.pipeline.writer.database_clock import DatabaseClock
from autotagger.pipeline.writer.tag_ids import TagIds
from autotagger.settings import Settings

MARKER = "auto:processed"
#: Our clock and Immich's when a test begins, epoch milliseconds.
NOW_MS = 1_800_000_000_000
SCORES = b"scores"


def open_ledger(folder: Path, *, clock: Any = None) -> LedgerWriter:
    """The ledger of a test, open for writing."""
    more = {"clock": clock} if clock else {}
    return LedgerWriter(folder / "ledger.sqlite3", **more)


def settings_of(folder: Path, **sections: dict[str, Any]) -> Settings:
    flags: dict[str, Any] = {"state_dir": folder, **sections}
    return load_settings(flags=flags, environ={"AUTOTAGGER_CONFIG": "/dev/null"})


class Clock:
    """Seconds that pass only when a test says so."""

    def __init__(self, now_s: float = 1_000.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


def asset_id(number: int) -> str:
    """An id; beginning with zeros, such an asset is in every sample."""
    return str(uuid.UUID(int=number))


def work(number: int, *, kind: str = "IMAGE", account: int = 1, checksum: str = "") -> Work:
    return Work(asset_id(number), kind, "image/png", f"{number}.png", account, checksum)


def listed(number: int, *, library: str = "", checksum: str = "", kind: str = "IMAGE", **more: Any) -> ListedAsset:
    return ListedAsset(
        asset_id(number), "me", library, kind, "image/png", f"{number}.png", checksum, NOW_MS - 5_000, **more
    )


def a_model(ledger: LedgerWriter, identity: str = "m1") -> int:
    return ledger.model(identity, "palette", [("general", "rating"), ("sky", "general")])


def an_origin(ledger: LedgerWriter, policy: str = "p1") -> int:
    run = ledger.start_run("0", NOW_MS)
    return ledger.origin(model=a_model(ledger), policy=policy, settings="{}", run=run)


def add_scored(ledger: LedgerWriter, *assets: ListedAsset) -> None:
    """Assets with scores of `a_model`."""
    ledger.add_listed(list(assets))
    ledger.record_scores(a_model(ledger), [(asset.asset_id, SCORES) for asset in assets])


def open_collections(ledger: LedgerWriter) -> None:
    for collection in ledger.collections():
        ledger.open_collection(collection.id, NOW_MS)


# -- processes ------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class FakeChild:
    """A child process as the dispatcher sees one; `sent` is what it was told."""

    role: str
    ready: bool = True
    capacity: int = 4
    pid: int = 1
    heard_s: float = 1_000.0
    served_s: float = 1_000.0
    exit_description: str = "signal 9 (SIGKILL)"
    jobs: set[int] = field(default_factory=set)
    sent: list[Any] = field(default_factory=list)

    @property
    def has_room(self) -> bool:
        return self.ready and len(self.jobs) < self.capacity

    def send(self, message: object) -> None:
        self.sent.append(message)

    def told(self, kind: type) -> list[Any]:
        """What it was told of one kind."""
        return [message for message in self.sent if isinstance(message, kind)]


class FakePool:
    """A process pool without processes."""

    def __init__(self, workers: int = 2) -> None:
        self.workers = [FakeChild("inferencer") for _ in range(workers)]
        self.writer = FakeChild("writer")
        self.fetcher = FakeChild("fetcher", capacity=16)
        self.have_served: list[FakeChild] = []

    def served(self, child: FakeChild) -> None:
        self.have_served.append(child)

    def named(self) -> list[tuple[str, FakeChild]]:
        return [("writer", self.writer), ("fetcher", self.fetcher)] + [
            (f"inferencer {number}", worker) for number, worker in enumerate(self.workers, 1)
        ]


# -- Immich ---------------------------------------------------------------------------------------------------


def server(*permissions: str, dialect: Dialect = Dialect.V3_0) -> Server:
    return Server(ServerVersion(3, 0, 0), dialect, frozenset(permissions or ("all",)), "me")


class FakeImmich:
    """Immich's client and server in one object, as far as the writer goes, after the laws of immich.md.

    A call's links are there at once; its background jobs end when a test says `settle`, and what happened then is
    seen by a later updatedAt. A call with an id that nobody knows is answered 200 and ignored (law 2). `fail`:
    raised once each, by the name of a call; `calls`: what was called, with what.
    """

    def __init__(self) -> None:
        self.now_ms = NOW_MS
        self.assets: dict[str, Asset] = {}
        self.held: dict[str, set[str]] = {}
        self.tag_names: dict[str, str] = {}  # by id
        self.calls: list[tuple[str, Any]] = []
        self.fail: dict[str, list[Exception]] = {}
        self.swallows: set[str] = set()  # assets that no tag sticks to
        self.queued = 0
        self.filters = False  # flat searches, as 3.0 has them

    def add(self, number: int, *tags: str) -> str:
        id_ = asset_id(number)
        self.assets[id_] = Asset(
            *(id_, "me", None, "IMAGE", "timeline", "image/png", "", None, f"{number}.png"),
            *(NOW_MS - 5_000, False, NOW_MS - 9_000),
        )
        self.held[id_] = set(tags)
        for tag in tags:
            self._tag_id(tag)
        return id_

    def settle(self, *ids: str, after_ms: int = 2_000) -> None:
        """The background jobs of these assets (of all, where none is named) have ended."""
        self.now_ms += after_ms
        for id_ in ids or tuple(self.assets):
            self.assets[id_] = replace(self.assets[id_], updated_ms=self.now_ms)

    def count(self, call: str) -> int:
        return sum(name == call for name, _ in self.calls)

    # what ImmichClient has

    async def asset(self, asset_id: str) -> TaggedAsset:
        self._called("asset", asset_id)
        if asset_id not in self.assets:
            raise AssetGone(f"asset {asset_id} is gone")
        return TaggedAsset(self.assets[asset_id], frozenset(self.held[asset_id]))

    async def tags(self) -> list[Tag]:
        self._called("tags", None)
        return [Tag(id_, name) for id_, name in self.tag_names.items()]

    async def upsert_tags(self, values: Sequence[str]) -> dict[str, Tag]:
        self._called("upsert_tags", list(values))
        return {value: Tag(self._tag_id(value), value, self.now_ms) for value in values}

    async def tag_assets(self, asset_ids: Sequence[str], tag_ids: Sequence[str]) -> int:
        self._called("tag_assets", (list(asset_ids), list(tag_ids)))
        names = {self.tag_names[id_] for id_ in tag_ids if id_ in self.tag_names}
        count = 0
        for id_ in asset_ids:
            if id_ in self.held and id_ not in self.swallows:
                count += len(names - self.held[id_])
                self.held[id_] |= names
        return count

    async def untag(self, asset_ids: Sequence[str], tag_id: str) -> dict[str, str]:
        had = await self.untag_assets(asset_ids, tag_id)
        return {id_: "success" if id_ in had else "not_found" for id_ in asset_ids}

    async def untag_assets(self, asset_ids: Sequence[str], tag_id: str) -> frozenset[str]:
        self._called("untag_assets", (list(asset_ids), tag_id))
        if tag_id not in self.tag_names:
            raise AssetGone("no such tag")
        holders = [id_ for id_ in asset_ids if self.tag_names[tag_id] in self.held.get(id_, ())]
        for id_ in holders:
            self.held[id_].discard(self.tag_names[tag_id])
        return frozenset(holders)

    async def delete_tag(self, tag_id: str) -> None:
        self._called("delete_tag", tag_id)
        name = self.tag_names.pop(tag_id)
        for held in self.held.values():
            held.discard(name)

    async def queued_jobs(self, *, by_name: bool) -> int:
        self._called("queued_jobs", by_name)
        return self.queued

    async def search(self, body: Mapping[str, Any]) -> Page:
        """All that hold a tag and changed later, on one page."""
        self._called("search", dict(body))
        names = {self.tag_names.get(id_) for id_ in body.get("tagIds", ())}
        found = [
            asset
            for id_, asset in self.assets.items()
            if (not names or names & self.held[id_]) and asset.visibility == body["visibility"]
        ]
        return Page(tuple(found))

    def _called(self, name: str, what: Any) -> None:
        self.calls.append((name, what))
        if self.fail.get(name):
            raise self.fail[name].pop(0)

    def _tag_id(self, name: str) -> str:
        for id_, value in self.tag_names.items():
            if value == name:
                return id_
        self.tag_names[id_ := f"tag-{len(self.tag_names) + 1}-{name}"] = name
        return id_


class DatabaseTime(DatabaseClock):
    """The time of a `FakeImmich`, without a call for it."""

    def __init__(self, immich: FakeImmich) -> None:
        self._immich = immich

    async def now_ms(self) -> int:
        return self._immich.now_ms


class Writing:
    """One account's part of the writer: a real ledger, `FakeImmich`, and our clock."""

    def __init__(self, folder: Path) -> None:
        self.now_ms = NOW_MS
        self.ledger = open_ledger(folder, clock=lambda: self.now_ms)
        self.immich = FakeImmich()
        self.counts: dict[str, int] = {}
        client: Any = self.immich
        self.context = AccountContext(
            *(self.ledger, client, TagIds(client), DatabaseTime(self.immich), MARKER),
            *(lambda: self.now_ms, self._count),
        )

    def _count(self, what: str, by: int) -> None:
        self.counts[what] = self.counts.get(what, 0) + by

    def state(self, number: int) -> str:
        return str(self.ledger.known(asset_id(number)).state)

    def add_scored(self, *numbers: int, library: str = "") -> None:
        """Assets that Immich and the ledger know, with scores."""
        for number in numbers:
            self.immich.add(number)
        add_scored(self.ledger, *(listed(number, library=library) for number in numbers))

    def close(self) -> None:
        self.ledger.close()
