"""Everything that may happen to assets, in any order, answers that come too late among it: the table of
transitions refuses no step, and the ledger stays sound."""

import tempfile
from dataclasses import replace
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from autotagger.ledger.care import inspect
from autotagger.ledger.links import leaving
from autotagger.ledger.rows import Change, Selection
from autotagger.ledger.states import MEANT, LinkState, Probe, State
from autotagger.ledger.writer import LedgerWriter
from tests.ledger.test_store import NOW, listed

COUNT = 4
MARKER = "auto:processed"
FOREVER = NOW + 10**12
keys = st.integers(1, COUNT)
tags = st.sampled_from([("sky", MARKER), ("sea", MARKER), (MARKER,)])
kinds = st.sampled_from(["timeout", "broken-picture", "dismissed", "undone", "library-closed", None])
dues = st.sampled_from([NOW, None])


class AnyOrder(RuleBasedStateMachine):
    """`planned`, `looks` and `fetched` are answers under way: what they are about may have changed since."""

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "ledger.sqlite3"
        self.ledger = LedgerWriter(self.path)
        self.ledger._db.pragma("synchronous", 0)  # no power fails here
        self.models = [self.ledger.model(name, name, [("sky", "general")]) for name in ("m1", "m2")]
        self.run = self.ledger.start_run("0", NOW)
        self.assets = listed(COUNT // 2) + listed(COUNT // 2, library="L")
        self.ledger.add_listed(self.assets)

    def teardown(self) -> None:
        if not hasattr(self, "ledger"):
            return
        self.ledger.close()
        found = inspect(self.path)
        self.folder.cleanup()
        assert found == []

    def origin(self, policy: str, model: int = 0) -> int:
        return self.ledger.origin(model=self.models[model], policy=policy, settings="{}", run=self.run)

    # -- listings, at any moment

    @rule(key=keys, sweep=st.integers(0, 2), other=st.booleans(), ready=st.booleans())
    def list_again(self, key: int, sweep: int, other: bool, ready: bool) -> None:
        asset = replace(self.assets[key - 1], ready=ready)
        asset = replace(asset, checksum=f"{asset.checksum}x") if other else asset
        self.assets[key - 1] = asset
        self.ledger.add_listed([asset])
        self.ledger.note_listed([asset], sweep=sweep)

    @rule(key=keys)
    def list_marked(self, key: int) -> None:
        self.ledger.add_marked([self.assets[key - 1].asset_id])

    @rule(key=keys)
    def miss(self, key: int) -> None:
        self.ledger.record_gone([key])

    # -- fetched, scored, or not; also when it comes too late

    @rule(key=keys, model=st.integers(0, 1))
    def score(self, key: int, model: int) -> None:
        self.ledger.record_scores(self.models[model], [(self.assets[key - 1].asset_id, b"scores")])

    @rule(key=keys, kind=kinds, state=st.sampled_from([State.FAILED, State.WAITING, State.GONE]), due=dues)
    def fail_to_score(self, key: int, kind: str | None, state: State, due: int | None) -> None:
        asset_id = self.assets[key - 1].asset_id
        self.ledger.record_problem(asset_id, state, kind=kind or "x", message="", due_ms=due, scoring=True)

    @rule(model=st.integers(0, 1))
    def rescore(self, model: int) -> None:
        self.ledger.rescore_others(self.models[model])

    # -- planned, called, answered, looked at

    @rule(some=st.lists(keys, unique=True), names=tags, policy=st.sampled_from(["p1", "p2"]), look=st.booleans())
    def plan(self, some: list[int], names: tuple[str, ...], policy: str, look: bool) -> None:
        origin = self.origin(policy)
        self.ledger.record_plan([(key, names, origin) for key in some], look_first=set(some) if look else set())

    @rule(trouble=st.sampled_from([None, State.PLANNED, State.FAILED, State.GONE]), due=dues)
    def call(self, trouble: State | None, due: int | None) -> None:
        for asset in self.ledger.planned(FOREVER, COUNT):
            if trouble is None:
                self.ledger.record_answer([asset.key], NOW, NOW, suspect=bool(asset.leaving))
            else:
                due = NOW if trouble is State.PLANNED else due
                self.ledger.record_problem(asset.asset_id, trouble, kind="timeout", message="", due_ms=due)

    @rule(end=st.sampled_from(["proven", "lost", "gone", "as meant"]))
    def read_back(self, end: str) -> None:
        for asset in self.ledger.applied_due(FOREVER, COUNT):
            if end == "proven" and not asset.is_wave:
                self.ledger.record_verified([asset.key])
            elif end == "lost":
                links = self.ledger.links_of([asset.key])[asset.key]
                wave = leaving(links) if asset.is_wave else frozenset()
                self.ledger.record_change([Change(asset.key, {}, NOW, True, wave, again=True)])
            elif end == "gone":
                self.ledger.record_problem(asset.asset_id, State.GONE, kind="gone", message="", due_ms=None)
            else:
                self.rest(asset.key)

    @rule(some=st.lists(keys, unique=True))
    def look(self, some: list[int]) -> None:
        """Also at assets that nobody asked to be looked at any more."""
        for key in some:
            if wave := leaving(self.ledger.links_of([key])[key]):
                self.ledger.record_change([Change(key, {}, NOW, True, wave)])
            else:
                self.rest(key)

    def rest(self, key: int) -> None:
        after = {
            LinkState.WANTED: LinkState.PROVEN,
            LinkState.LEAVING: LinkState.REMOVED,
            LinkState.RETIRED: LinkState.REMOVED,
            LinkState.SENT: LinkState.PROVEN,
        }
        links = self.ledger.links_of([key])[key]
        self.ledger.record_change(
            [Change(key, {name: after[state] for name, state in links.items() if state in after}, NOW, call=False)]
        )

    @rule(key=keys, rejected=st.booleans())
    def verify(self, key: int, rejected: bool) -> None:
        """The operation reads an asset; a listing may have come between."""
        links = self.ledger.links_of([key])[key]
        off = [name for name, state in links.items() if rejected and state in MEANT and name != MARKER][:1]
        self.ledger.record_change([Change(key, dict.fromkeys(off, LinkState.REJECTED), NOW, call=False)])

    @rule(key=keys)
    def find_another_picture(self, key: int) -> None:
        self.ledger.score_again(key, "another")

    # -- what people ask for

    @rule(kind=kinds, key=st.none() | keys)
    def retry(self, kind: str | None, key: int | None) -> None:
        self.ledger.retry(kind, None if key is None else self.assets[key - 1].asset_id)

    @rule(kind=kinds, key=keys, by_name=st.booleans())
    def dismiss(self, kind: str | None, key: int, by_name: bool) -> None:
        if by_name or kind is None:
            self.ledger.dismiss(None, self.assets[key - 1].asset_id)
        else:
            self.ledger.dismiss(kind, None)

    @rule(tag=st.sampled_from([None, "sky"]), key=st.none() | keys)
    def undo(self, tag: str | None, key: int | None) -> None:
        chosen = Selection(tag=tag, asset_id=None if key is None else self.assets[key - 1].asset_id)
        self.ledger.take_back(chosen, marker=MARKER)

    @rule(policy=st.sampled_from(["p1", "p2"]), model=st.integers(0, 1))
    def retag(self, policy: str, model: int) -> None:
        self.ledger.reopen_outdated(self.models[model], policy, COUNT)

    # -- libraries

    @rule()
    def release_canaries(self) -> None:
        for row in self.ledger.collections():
            if row.state is Probe.UNTRIED and (asset := self.ledger.canary_candidate(row.id)):
                self.ledger.record_plan([(asset.key, ("sky", MARKER), self.origin("p1"))])
                self.ledger.probe_collection(row.id, asset.key)

    @rule(closes=st.booleans())
    def judge_canaries(self, closes: bool) -> None:
        for canary in self.ledger.probing():
            if canary.state is State.VERIFIED:
                self.ledger.open_collection(canary.collection, NOW)
            elif canary.state is State.FAILED and closes:
                self.ledger.close_collection(canary.collection, "read-only", NOW)
            elif canary.state not in (State.STALE, State.PLANNED, State.APPLIED):
                self.ledger.untry_collection(canary.collection)

    @rule()
    def try_closed_again(self) -> None:
        for row in self.ledger.collections():
            if row.state is Probe.CLOSED:
                self.ledger.retry_collection(row.id)


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=40, stateful_step_count=50, deadline=None)
