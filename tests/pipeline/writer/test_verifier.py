"""The verifier: what proves a tag, what is read back, what is repaired, and what a canary says of its library."""

from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from loguru import logger

from autotagger.errors import AssetFailed, Retryable, Unreachable
from autotagger.immich.parsing import ms_iso
from autotagger.ledger.rows import Change
from autotagger.ledger.schema import Asset
from autotagger.ledger.states import LinkState, Probe, State
from autotagger.pipeline.writer import verifier as verifying
from autotagger.pipeline.writer.applier import change
from autotagger.pipeline.writer.rating_actions import Seen
from autotagger.pipeline.writer.reconcile import reconcile
from autotagger.pipeline.writer.verifier import (
    CANARY_AGAIN_MS,
    DO_NOT_STICK,
    JOB_MS,
    LAST_LOOK_MS,
    LOOKS_AT_ONCE,
    MAX_REPAIRS,
    NEVER_SETTLES_MS,
    Verifier,
)
from tests.pipeline.unit import MARKER, NOW_MS, Writing, an_origin, asset_id, listed, open_collections

TAGS = ("blue", "sky")
ALL = {*TAGS, MARKER}


class Actions:
    """Rating actions that do nothing, or cannot do it just now."""

    def __init__(self) -> None:
        self.on, self.later, self.seen = False, set[int](), list[Seen]()
        self.behind, self.limits = False, list[int]()

    def __bool__(self) -> bool:
        return self.on

    async def act(self, seen: Iterable[Seen]) -> set[int]:
        self.seen += seen
        return self.later

    async def catch_up(self, limit: int) -> bool:
        self.limits.append(limit)
        return self.behind


#: Longer than a background job of any asset under way takes.
QUIET_MS = 60_000


class Verifying(Writing):
    """Assets whose call was answered just now."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.actions = Actions()
        self.verifier = self.made()

    def made(self, sample: float = 0.0) -> Verifier:
        actions: Any = self.actions
        return Verifier(self.context, sample=sample, actions=actions)

    def applied(self, *numbers: int, suspect: bool = False, canary: bool = False, look_ms: int = 0) -> None:
        """Assets with all their tags in Immich, whose background jobs have not ended."""
        for number in numbers:
            self.immich.add(number, *ALL)
        self.ledger.add_listed([listed(number) for number in numbers])
        self.ledger.record_scores(self.ledger.model("m1", "palette", []), [(asset_id(n), b"x") for n in numbers])
        if not canary:
            open_collections(self.ledger)
        keys = [self.row(number).key for number in numbers]
        origin = an_origin(self.ledger)
        self.ledger.record_plan([(key, tuple(sorted(ALL)), origin) for key in keys])
        if canary:
            self.ledger.probe_collection(self.ledger.collections()[0].id, keys[0])
        self.ledger.record_answer(keys, NOW_MS, look_ms or NOW_MS + 600_000, suspect=suspect)

    def wave(self, number: int, *names: str) -> None:
        """A verified asset whose tags of these names were to be taken off, by calls that were answered."""
        self.applied(number)
        key = self.row(number).key
        self.ledger.record_verified([key])
        leaving = dict.fromkeys(names, LinkState.LEAVING)
        self.ledger.record_change([Change(key, leaving, NOW_MS, call=True, wave=frozenset(names))])
        self.ledger.record_answer([key], NOW_MS, NOW_MS + 1_000, suspect=True)

    def links(self, number: int) -> dict[str, LinkState]:
        key = self.row(number).key
        return self.ledger.links_of([key])[key]

    def row(self, number: int) -> Any:
        return Asset.get(Asset.asset_id == asset_id(number))

    def reads(self) -> int:
        return self.immich.count("asset")

    def later(self, ms: int) -> None:
        """Time passes here and at Immich."""
        self.now_ms += ms
        self.immich.now_ms += ms


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Verifying]:
    run = Verifying(tmp_path)
    yield run
    run.close()


@pytest.fixture
def told() -> Iterator[list[str]]:
    """The lines that were logged."""
    lines: list[str] = []
    handler = logger.add(lambda line: lines.append(line.record["message"]), level="INFO")
    yield lines
    logger.remove(handler)


async def test_the_marker_proves_a_fresh_asset_that_has_settled_and_no_other(run: Verifying) -> None:
    run.applied(0xF << 124, (0xF << 124) + 1)
    run.immich.settle(asset_id(0xF << 124))
    await run.verifier.look()
    assert run.state(0xF << 124) == "verified"
    assert run.state((0xF << 124) + 1) == "applied", "its jobs may still take its tags away"
    assert run.reads() == 0
    assert run.counts["proven"] == 1
    bodies = [body for name, body in run.immich.calls if name == "search"]
    assert bodies
    assert all(body["updatedAfter"] == ms_iso(NOW_MS - 1) for body in bodies), "from just before the oldest call"


async def test_without_the_marker_or_anything_applied_nothing_is_listed(run: Verifying) -> None:
    await run.verifier.look()
    assert run.immich.count("search") == 0
    run.applied(1)
    run.immich.tag_names.clear()
    run.context.tag_ids.forget()
    await run.verifier.look()
    assert run.immich.count("search") == 0


async def test_a_sample_is_read_in_full_and_depends_on_the_id_alone(run: Verifying) -> None:
    low, high = 1, 0xF << 124
    run.applied(low, high)
    run.immich.settle()
    run.verifier = run.made(sample=0.5)
    await run.verifier.look()
    assert [what for name, what in run.immich.calls if name == "asset"] == [asset_id(low)]
    assert [run.state(low), run.state(high)] == ["verified", "verified"]


async def test_suspects_are_read_back_though_their_marker_is_there(run: Verifying) -> None:
    run.applied(1, suspect=True)
    run.immich.settle()
    run.immich.held[asset_id(1)].discard("sky")
    await run.verifier.look()
    assert run.reads() == 1
    assert (run.state(1), run.row(1).repairs) == ("planned", 1)
    assert run.counts["repaired"] == 1


async def test_what_was_repaired_is_read_back_again_though_its_marker_is_there(run: Verifying) -> None:
    run.applied(1, suspect=True)
    run.immich.settle()
    run.immich.held[asset_id(1)].discard("sky")
    await run.verifier.look()
    # The repair's call is answered in full: for the applier nothing is suspect any more.
    run.ledger.record_answer([run.row(1).key], run.immich.now_ms, run.now_ms + 600_000, suspect=False)
    run.immich.settle()
    await run.verifier.look()
    assert run.reads() == 2
    assert (run.state(1), run.row(1).repairs) == ("planned", 2), "the tag is still not there"


async def test_a_loss_is_repaired_a_limited_number_of_times_and_then_reported(run: Verifying) -> None:
    run.applied(1, suspect=True)
    for repairs in range(1, MAX_REPAIRS + 1):
        run.immich.settle()
        run.immich.held[asset_id(1)].discard("sky")
        await run.verifier.look()
        assert (run.state(1), run.row(1).repairs) == ("planned", repairs)
        run.ledger.record_answer([run.row(1).key], run.immich.now_ms, run.now_ms + 600_000)
    run.immich.settle()
    await run.verifier.look()
    row = run.row(1)
    assert (row.state, row.error_kind, row.due_ms) == ("failed", "tags-lost", None)
    assert row.error == "Immich lost 1 tags again after 3 repairs: sky"
    assert run.counts["lost"] == 1
    assert run.counts["repaired"] == MAX_REPAIRS


async def test_a_retry_gives_a_lost_asset_all_its_repairs_again(run: Verifying) -> None:
    run.applied(1, suspect=True)
    Asset.update(repairs=MAX_REPAIRS).where(Asset.asset_id == asset_id(1)).execute()
    run.immich.settle()
    run.immich.held[asset_id(1)].discard("sky")
    await run.verifier.look()
    assert run.state(1) == "failed"
    assert run.ledger.retry("tags-lost") == 1
    assert (run.state(1), run.row(1).repairs, run.row(1).attempts) == ("stale", 0, 0)


async def test_a_tag_that_came_back_is_taken_off_once_more(run: Verifying) -> None:
    run.wave(1, "sky")
    run.immich.settle()
    run.immich.now_ms += QUIET_MS
    await run.verifier.look()
    assert (run.state(1), run.row(1).repairs) == ("planned", 1)
    run.immich.held[asset_id(1)].discard("sky")
    run.ledger.record_answer([run.row(1).key], run.immich.now_ms, NOW_MS + 1_000, suspect=True)
    run.immich.settle()
    run.immich.now_ms += QUIET_MS
    await run.verifier.look()
    assert run.state(1) == "verified"


async def test_the_marker_leaves_in_the_next_wave_and_that_is_no_repair(run: Verifying) -> None:
    run.wave(1, *TAGS, MARKER)
    run.immich.held[asset_id(1)] = {MARKER}
    run.immich.settle()
    run.immich.now_ms += QUIET_MS
    await run.verifier.look()
    assert (run.state(1), run.row(1).repairs) == ("planned", 0)
    assert run.ledger.planned(run.now_ms, 1)[0].leaving == {MARKER}
    assert run.counts["proven"] == 0


async def test_a_wave_is_judged_when_none_of_its_jobs_has_written_for_a_while(run: Verifying) -> None:
    """Each of its calls has a job of its own; the first one's end says nothing."""
    run.wave(1, "sky")
    run.immich.settle()
    run.immich.held[asset_id(1)].discard("sky")
    await run.verifier.look()
    assert run.state(1) == "applied", "just written: another job may follow"
    run.immich.now_ms += QUIET_MS
    await run.verifier.look()
    assert run.state(1) == "verified"


async def test_a_wave_waits_as_long_as_the_jobs_of_all_that_are_unsettled_may_take(run: Verifying) -> None:
    """Immich does eight assets a second: behind 40 others, the next job of this one may come 5 seconds later."""
    run.applied(*range(2, 42), look_ms=NOW_MS + 10**9)
    run.wave(1, "sky")
    run.immich.settle(asset_id(1))
    run.immich.held[asset_id(1)].discard("sky")
    run.immich.now_ms += 41 * JOB_MS - 1
    await run.verifier.look()
    assert run.state(1) == "applied"
    run.immich.now_ms += 1
    await run.verifier.look()
    assert run.state(1) == "verified"


async def test_a_repair_asks_immich_for_its_tags_again(run: Verifying) -> None:
    """Somebody may have deleted the one that is missing: with its old id the repair would change nothing."""
    run.applied(1, suspect=True)
    run.immich.settle()
    run.immich.held[asset_id(1)].discard("sky")
    await run.verifier.look()
    assert run.state(1) == "planned"
    asked = run.immich.count("tags")
    await run.context.tag_ids.known("sky")
    assert run.immich.count("tags") == asked + 1


async def test_what_a_wave_lost_of_a_persons_tags_is_put_back(run: Verifying) -> None:
    run.applied(1)
    run.ledger.record_answer([run.row(1).key], NOW_MS, NOW_MS + 1_000)
    run.ledger.record_verified([run.row(1).key])
    run.immich.held[asset_id(1)].add("a person's")
    run.ledger.record_change([Change(run.row(1).key, {"sky": LinkState.LEAVING}, NOW_MS, call=False)])
    step = reconcile(run.links(1), run.immich.held[asset_id(1)], MARKER)
    run.ledger.record_change([change(run.row(1).key, step, NOW_MS)])
    run.ledger.record_answer([run.row(1).key], NOW_MS, NOW_MS + 1_000, suspect=True)
    run.immich.held[asset_id(1)] -= {"sky", "a person's", "blue"}
    run.immich.settle()
    run.immich.now_ms += QUIET_MS
    await run.verifier.look()
    assert run.state(1) == "planned"
    assert run.ledger.planned(run.now_ms, 1)[0].tags == {"a person's", "blue", MARKER}


# -- single looks ---------------------------------------------------------------------------------------------


async def test_what_is_due_is_looked_at_and_waits_twice_as_long_each_time(run: Verifying) -> None:
    run.applied(1, suspect=True, look_ms=NOW_MS + 1_000)
    assert await run.verifier.look_at_due() is False
    for wait_ms in (1_000, 2_000, 4_000):
        run.later(run.row(1).due_ms - run.now_ms)
        assert await run.verifier.look_at_due() is True
        assert run.row(1).due_ms - run.now_ms == max(1_000, run.now_ms - NOW_MS)
        assert run.now_ms - NOW_MS == wait_ms
    run.later(10 * LAST_LOOK_MS)
    await run.verifier.look_at_due()
    assert run.row(1).due_ms - run.now_ms == LAST_LOOK_MS


async def test_a_canary_is_never_left_alone_for_long(run: Verifying) -> None:
    run.applied(1, canary=True)
    run.later(600_000)
    assert await run.verifier.look_at_due()
    assert run.row(1).due_ms - run.now_ms == 30_000
    run.immich.fail = {"asset": [Retryable("busy")]}
    run.later(30_000)
    assert await run.verifier.look_at_due()
    assert run.row(1).due_ms - run.now_ms == 30_000


@pytest.mark.parametrize("ahead_ms", [-600_000, 600_000])
async def test_looks_are_spaced_by_the_database_s_clock_alone(ahead_ms: int, run: Verifying) -> None:
    run.immich.now_ms += ahead_ms
    run.applied(1, suspect=True, look_ms=NOW_MS + 1_000)
    run.ledger.record_answer([run.row(1).key], NOW_MS + ahead_ms, NOW_MS + 1_000, suspect=True)
    run.later(1_000)
    assert await run.verifier.look_at_due() is True
    assert run.row(1).due_ms - run.now_ms == 1_000


async def test_a_canary_that_waits_for_minutes_is_told_in_one_line(run: Verifying, told: list[str]) -> None:
    run.applied(1, canary=True)
    run.ledger.look_later(run.row(1).key, NOW_MS)
    for _ in range(10):
        assert await run.verifier.look_at_due()
        run.later(30_000)
    assert len(told) == 1
    assert f"asset {asset_id(1)} is the first of its library" in told[0]
    assert "for 2 minutes" in told[0]


async def test_one_round_of_looks_is_bounded(run: Verifying) -> None:
    run.applied(*range(1, LOOKS_AT_ONCE + 3), look_ms=NOW_MS)
    assert await run.verifier.look_at_due()
    assert run.reads() == LOOKS_AT_ONCE
    assert run.actions.limits == [], "ratings have their turn when there is room"
    assert await run.verifier.look_at_due()
    assert run.reads() == run.counts["read_back"] == LOOKS_AT_ONCE + 2
    assert run.actions.limits == [LOOKS_AT_ONCE - 2]
    assert not await run.verifier.look_at_due()
    run.actions.behind = True
    assert await run.verifier.look_at_due(), "a rating that was behind counts as a look"


async def test_what_never_settles_counts_after_a_day(run: Verifying) -> None:
    run.applied(1, 2, look_ms=NOW_MS)
    run.immich.held[asset_id(2)].discard("sky")
    run.later(NEVER_SETTLES_MS)
    await run.verifier.look_at_due()
    assert [run.state(1), run.state(2)] == ["applied", "applied"], "not yet"
    run.later(LAST_LOOK_MS)
    await run.verifier.look_at_due()
    assert [run.state(1), run.state(2)] == ["verified", "planned"]


async def test_where_immich_s_clock_was_set_back_any_change_counts(run: Verifying) -> None:
    run.applied(1, 2, look_ms=NOW_MS)
    run.immich.now_ms = NOW_MS - 60_000
    run.immich.assets[asset_id(1)] = replace(run.immich.assets[asset_id(1)], updated_ms=NOW_MS - 61_000)
    await run.verifier.look_at_due()
    assert [run.state(1), run.state(2)] == ["verified", "applied"]


async def test_trouble_at_a_look(run: Verifying) -> None:
    run.applied(1, 2, 3, look_ms=NOW_MS)
    run.immich.fail = {"asset": [AssetFailed("not yours", kind="no-access"), Retryable("busy")]}
    del run.immich.assets[asset_id(3)]
    await run.verifier.look_at_due()
    assert [run.state(number) for number in (1, 2, 3)] == ["failed", "applied", "gone"]
    assert (run.row(1).error_kind, run.row(1).due_ms) == ("no-access", None)
    assert run.row(2).due_ms > run.now_ms
    run.later(LAST_LOOK_MS)
    run.immich.fail = {"asset": [Unreachable("no answer")]}
    with pytest.raises(Unreachable):
        await run.verifier.look_at_due()
    assert run.state(2) == "applied"


# -- rating actions -------------------------------------------------------------------------------------------


async def test_what_its_rating_asks_for_is_done_before_the_proof_is_noted(run: Verifying) -> None:
    read, proven = 1, 0xF << 124
    run.applied(read, proven)
    run.verifier = run.made(sample=0.5)
    run.actions.on = True
    run.actions.later = {run.row(read).key, run.row(proven).key}
    run.immich.settle()
    await run.verifier.look()
    assert [run.state(read), run.state(proven)] == ["applied", "applied"]
    assert {(seen.asset_id, seen.tags) for seen in run.actions.seen} == {
        (asset_id(number), frozenset(ALL)) for number in (read, proven)
    }
    assert run.row(read).due_ms == run.now_ms + 1_000, "looked at again soon"
    run.actions.later = set()
    await run.verifier.look()
    assert [run.state(read), run.state(proven)] == ["verified", "verified"]


async def test_actions_wait_for_the_end_of_the_listing(run: Verifying, monkeypatch: pytest.MonkeyPatch) -> None:
    """They move assets from one part of it to another, and a page would be skipped."""
    run.applied(0xF << 124, (0xF << 124) + 1)
    run.immich.settle()
    acted: list[int] = []

    async def two_pages(*_: Any, **__: Any) -> AsyncIterator[tuple[Any, ...]]:
        for asset in list(run.immich.assets.values()):
            yield (asset,)
            acted.append(len(run.actions.seen))

    monkeypatch.setattr(verifying, "tagged", two_pages)
    run.actions.on = True
    await run.verifier.look()
    assert acted == [0, 0]
    assert len(run.actions.seen) == 2


# -- canaries -------------------------------------------------------------------------------------------------


async def test_a_canary_that_keeps_its_tags_opens_its_library_and_is_always_read(run: Verifying) -> None:
    high = 0xF << 124
    run.applied(high, canary=True)
    assert run.verifier.judge_canaries() is False
    run.immich.settle()
    await run.verifier.look()
    assert run.reads() == 1
    assert run.state(high) == "verified"
    assert run.verifier.judge_canaries() is True
    assert run.ledger.collections()[0].state is Probe.OPEN


async def dropped(run: Verifying, *numbers: int, library: str) -> None:
    """Canaries, one after the other, to which no tag sticks."""
    run.add_scored(*numbers, library=library)
    origin = an_origin(run.ledger)
    for _ in numbers:
        collection = run.ledger.collections()[0]
        if collection.state is Probe.UNTRIED and (asset := run.ledger.canary_candidate(collection.id)):
            run.ledger.record_plan([(asset.key, tuple(sorted(ALL)), origin)])
            run.ledger.probe_collection(collection.id, asset.key)
            run.ledger.record_answer([asset.key], run.immich.now_ms, run.now_ms)
            run.immich.settle()
            run.later(1_000)
            await run.verifier.look_at_due()
            run.verifier.judge_canaries()


def probe(run: Verifying) -> tuple[Probe, str | None]:
    return run.ledger.collections()[0].state, run.ledger.collections()[0].reason


async def test_a_canary_never_fails_twice_as_long_as_there_is_another(run: Verifying) -> None:
    await dropped(run, 1, 2, 3, 4, library="external")
    assert [run.state(number) for number in (1, 2, 3, 4)] == ["skipped"] * 4
    state, reason = probe(run)
    assert state is Probe.CLOSED
    assert reason
    assert "the tags of 3 pictures" in reason
    assert "Mount it read-write" in reason
    run.now_ms += CANARY_AGAIN_MS - 10_000
    run.verifier.retry_closed()
    assert probe(run)[0] is Probe.CLOSED
    run.now_ms += 10_000
    run.verifier.retry_closed()
    assert probe(run)[0] is Probe.UNTRIED
    candidate = run.ledger.canary_candidate(run.ledger.collections()[0].id)
    assert candidate
    assert candidate.asset_id == asset_id(4)


async def test_where_all_have_failed_the_one_of_longest_ago_is_tried_again(run: Verifying) -> None:
    await dropped(run, 1, 2, library="external")
    run.now_ms += CANARY_AGAIN_MS
    run.verifier.retry_closed()
    candidate = run.ledger.canary_candidate(run.ledger.collections()[0].id)
    assert candidate
    assert candidate.asset_id == asset_id(1)


async def test_the_upload_library_is_never_closed_with_the_words_of_another(
    run: Verifying, told: list[str]
) -> None:
    await dropped(run, 1, 2, library="")
    assert probe(run) == (Probe.UNTRIED, None), "two pictures are no library"
    assert [run.row(number).error for number in (1, 2)] == [DO_NOT_STICK] * 2
    run.add_scored(3)
    await dropped(run, 4, library="")
    state, reason = probe(run)
    assert state is Probe.CLOSED
    assert reason
    assert "beside its uploads" in reason
    assert "Mount" not in reason
    assert [line for line in told if "a whole library is skipped" in line] == [
        f"a whole library is skipped: {reason}"
    ]


async def test_one_picture_whose_xmp_cannot_be_written_closes_nothing(run: Verifying) -> None:
    await dropped(run, 1, library="")
    run.add_scored(2)
    collection = run.ledger.collections()[0]
    asset = run.ledger.canary_candidate(collection.id)
    assert asset
    assert asset.asset_id == asset_id(2)
    run.ledger.record_plan([(asset.key, tuple(sorted(ALL)), an_origin(run.ledger))])
    run.ledger.probe_collection(collection.id, asset.key)
    run.immich.add(2, *ALL)
    run.ledger.record_answer([asset.key], run.immich.now_ms, run.now_ms)
    run.immich.settle()
    run.later(1_000)
    await run.verifier.look_at_due()
    run.verifier.judge_canaries()
    assert probe(run)[0] is Probe.OPEN
    assert [run.state(1), run.state(2)] == ["failed", "verified"]


async def test_a_canary_that_lost_only_some_is_repaired_as_any_other(run: Verifying) -> None:
    run.applied(1, canary=True, look_ms=NOW_MS)
    run.immich.held[asset_id(1)].discard("sky")
    run.immich.settle()
    await run.verifier.look_at_due()
    assert run.state(1) == "planned"
    assert run.verifier.judge_canaries() is False


@pytest.mark.parametrize(("state", "kind"), [(State.GONE, "gone"), (State.FAILED, "no-access")])
async def test_a_canary_with_trouble_of_its_own_says_nothing_of_its_library(
    state: State, kind: str, run: Verifying
) -> None:
    run.applied(1, canary=True)
    run.ledger.record_problem(asset_id(1), state, kind=kind, message="x", due_ms=None)
    assert run.verifier.judge_canaries() is True
    assert run.ledger.collections()[0].state is Probe.UNTRIED


async def test_a_canary_that_has_no_end_yet_keeps_no_other_waiting(run: Verifying) -> None:
    run.applied(1, canary=True)
    run.ledger.add_listed([listed(2, library="other")])
    first, other = run.ledger.collections()
    run.ledger.probe_collection(other.id, run.row(2).key)
    run.ledger.record_problem(asset_id(2), State.GONE, kind="gone", message="x", due_ms=None)
    assert run.verifier.judge_canaries() is True
    assert [collection.state for collection in run.ledger.collections()] == [Probe.PROBING, Probe.UNTRIED]
    assert first.state is Probe.PROBING


async def test_a_library_that_was_opened_long_ago_stays_open(run: Verifying) -> None:
    run.applied(1)
    assert run.ledger.collections()[0].state is Probe.OPEN
    run.later(2 * CANARY_AGAIN_MS)
    run.verifier.retry_closed()
    assert run.ledger.collections()[0].state is Probe.OPEN
