"""The applier: one call an asset, and what each answer makes of it; on a real ledger and Immich's laws."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autotagger.errors import AssetFailed, AssetGone, Retryable, Unreachable
from autotagger.ledger.rows import Change, ScoredAsset
from autotagger.ledger.schema import Asset
from autotagger.ledger.states import LinkState, Probe
from autotagger.ledger.strangers import CONTESTED_MS
from autotagger.pipeline.writer.applier import FEW_LOOK_MS, LOOK_MS, LOOKED_AT_ONCE, SOON_LOOK_MS, Applier
from tests.pipeline.unit import MARKER, NOW_MS, Writing, a_model, an_origin, asset_id, open_collections

TAGS = ("blue", "sky")


class Decider:
    """Gives every asset the same tags, unless a test says otherwise."""

    def __init__(self) -> None:
        self.tags_by_key: dict[int, tuple[str, ...]] = {}
        self.origin = 0

    def tags(self, scored: Iterable[ScoredAsset]) -> list[tuple[ScoredAsset, tuple[str, ...]]]:
        return [(asset, self.tags_by_key.get(asset.key, TAGS)) for asset in scored]


class Applying(Writing):
    """An applier; `row` is how the ledger holds an asset."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.decider, self.paces, self.room = Decider(), list[int](), True
        self.decider.origin = self.origin = an_origin(self.ledger)
        self.applier = self.made()

    def made(self, *, batch_size: int = 10, names: bool = True, begun: bool = False) -> Applier:
        decider: Any = self.decider if names else None
        pace: Any = self
        return Applier(
            self.context,
            decider,
            batch_size=batch_size,
            max_attempts=3,
            pace=pace,
            queues=pace,
            begun=begun,
        )

    async def take(self, assets: int) -> None:
        self.paces.append(assets)

    async def have_room(self) -> bool:
        return self.room

    def row(self, number: int) -> Any:
        return Asset.get(Asset.asset_id == asset_id(number))

    def tag_calls(self) -> list[list[str]]:
        """The assets of each call that was made."""
        return [what[0] for name, what in self.immich.calls if name == "tag_assets"]

    async def verified(self, *numbers: int) -> None:
        """Tag assets and have them proven."""
        self.add_scored(*numbers)
        open_collections(self.ledger)
        await self.applier.apply_batch()
        self.immich.settle()
        self.ledger.record_verified([self.row(number).key for number in numbers])
        self.immich.calls.clear()

    def change_tags(self, number: int, tags: tuple[str, ...]) -> None:
        """Another policy is to give a verified asset other tags."""
        keys = self.ledger.reopen_outdated(a_model(self.ledger), "another", 10)
        self.decider.tags_by_key = {key: tags for key in keys if key == self.row(number).key}


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Applying]:
    run = Applying(tmp_path)
    yield run
    run.close()


async def test_one_call_carries_all_tags_and_the_marker(run: Applying) -> None:
    run.add_scored(1, 2)
    open_collections(run.ledger)
    assert await run.applier.apply_batch()
    assert run.tag_calls() == [[asset_id(1), asset_id(2)]]
    assert run.immich.held == {asset_id(number): {*TAGS, MARKER} for number in (1, 2)}
    assert run.counts["tagged"] == 2
    assert run.counts["tags"] == 4, "the marker is no tag of the picture"
    row = run.row(1)
    assert (row.state, row.suspect, row.answered_ms) == ("applied", 0, NOW_MS)
    assert row.due_ms == NOW_MS + FEW_LOOK_MS
    assert run.immich.count("asset") == 0, "the count was complete: nothing to read back"
    assert run.paces == [2]
    assert not await run.applier.apply_batch()


async def test_many_that_are_unsettled_are_left_to_the_listing_for_ten_minutes(run: Applying) -> None:
    run.applier = run.made(batch_size=LOOKED_AT_ONCE + 1)
    run.add_scored(*range(1, LOOKED_AT_ONCE + 2))
    open_collections(run.ledger)
    assert await run.applier.apply_batch()
    assert await run.applier.apply_batch()
    assert run.row(LOOKED_AT_ONCE + 1).due_ms == NOW_MS + LOOK_MS


async def test_the_plan_is_in_the_ledger_before_the_call(run: Applying) -> None:
    run.add_scored(1)
    open_collections(run.ledger)
    run.room = False
    assert not await run.applier.apply_batch(), "Immich is busy"
    assert run.state(1) == "planned"
    assert run.tag_calls() == []
    run.decider.tags_by_key[run.row(1).key] = ("another",)
    run.room = True
    assert await run.applier.apply_batch()
    assert run.immich.held[asset_id(1)] == {*TAGS, MARKER}, "as planned, whatever the policy says now"


async def test_a_batch_has_its_size(run: Applying) -> None:
    run.applier = run.made(batch_size=2)
    run.add_scored(1, 2, 3)
    open_collections(run.ledger)
    assert await run.applier.apply_batch()
    assert run.paces == [2]
    assert await run.applier.apply_batch()
    assert run.paces == [2, 1]


async def test_without_names_only_what_was_planned_before_is_sent(run: Applying) -> None:
    run.add_scored(1)
    open_collections(run.ledger)
    assert not await run.made(names=False).apply_batch()
    assert run.state(1) == "scored"


async def test_a_canary_goes_first_and_is_looked_at_soon(run: Applying) -> None:
    run.add_scored(1, 2, 3)
    assert await run.applier.apply_batch()
    assert run.tag_calls() == [[asset_id(1)]]
    assert run.row(1).due_ms == NOW_MS + SOON_LOOK_MS
    assert run.row(1).suspect == 0
    assert [collection.state for collection in run.ledger.collections()] == [Probe.PROBING]
    assert not await run.applier.apply_batch(), "the others wait for it"


async def test_an_operation_sends_no_canaries(run: Applying) -> None:
    run.add_scored(1)
    assert not await run.made(begun=True).apply_batch()
    assert run.state(1) == "scored"


# -- answers that do not add up -------------------------------------------------------------------------------


async def planned_earlier(run: Applying, *numbers: int) -> None:
    """Assets whose call an earlier run planned, and perhaps made."""
    run.add_scored(*numbers)
    open_collections(run.ledger)
    run.room = False
    await run.applier.apply_batch()
    run.room = True


async def test_a_call_of_an_earlier_run_that_had_arrived_is_suspect_and_looked_at_soon(run: Applying) -> None:
    await planned_earlier(run, 1)
    run.immich.held[asset_id(1)] = {*TAGS, MARKER}
    for tag in (*TAGS, MARKER):
        run.immich._tag_id(tag)
    assert await run.applier.apply_batch()
    row = run.row(1)
    assert (row.state, row.suspect, row.due_ms) == ("applied", 1, NOW_MS + SOON_LOOK_MS)
    assert run.immich.count("asset") == 1
    assert row.answered_ms == NOW_MS


async def test_where_its_background_job_had_ended_before_the_answer_it_counts_from_there(run: Applying) -> None:
    await planned_earlier(run, 1)
    run.immich.held[asset_id(1)] = {*TAGS, MARKER}
    for tag in (*TAGS, MARKER):
        run.immich._tag_id(tag)
    run.immich.settle(after_ms=2_000)
    ended_ms = run.immich.now_ms
    run.immich.now_ms += 60_000
    assert await run.applier.apply_batch()
    assert run.row(1).answered_ms == ended_ms


async def test_fewer_new_links_are_suspect_for_the_marker_may_be_another_s(run: Applying) -> None:
    await planned_earlier(run, 1)
    run.immich.held[asset_id(1)] = {"sky"}
    assert await run.applier.apply_batch()
    row = run.row(1)
    assert (row.suspect, row.due_ms) == (1, NOW_MS + SOON_LOOK_MS)
    assert run.immich.count("asset") == 1
    assert run.ledger.contested_ms() is None, "a person may have given that very tag"


async def test_calls_that_find_some_of_their_links_there_tell_of_another_autotagger(run: Applying) -> None:
    await planned_earlier(run, 1, 2, 3)
    for number in (1, 2, 3):
        run.decider.tags_by_key = {}
        run.immich.held[asset_id(number)] = {MARKER}
    run.immich._tag_id(MARKER)
    run.applier = run.made(batch_size=1)
    assert await run.applier.apply_batch()
    assert run.ledger.contested_ms() is None
    while await run.applier.apply_batch():
        pass
    assert run.ledger.contested_ms() == run.now_ms
    assert run.ledger.is_contested(run.now_ms)
    assert not run.ledger.is_contested(run.now_ms + CONTESTED_MS)


async def test_tags_of_which_a_part_arrived_are_never_sent_into_the_jobs_of_that_part(run: Applying) -> None:
    await planned_earlier(run, 1)
    await run.context.tag_ids.resolve([*TAGS, MARKER])
    run.immich.tag_names = {id_: name for id_, name in run.immich.tag_names.items() if name != "sky"}
    assert await run.applier.apply_batch()
    assert run.immich.held[asset_id(1)] == {"blue", MARKER}
    assert run.immich.count("tag_assets") == 1
    assert (run.row(1).state, run.row(1).suspect) == ("applied", 1)
    before = run.immich.count("tags")
    await run.context.tag_ids.known("sky")
    assert run.immich.count("tags") == before + 1, "the ids are asked for anew"


async def test_where_a_part_was_there_and_nothing_is_new_no_second_call_is_made_either(run: Applying) -> None:
    await planned_earlier(run, 1)
    run.immich.held[asset_id(1)] = {"sky"}
    run.immich.swallows = {asset_id(1)}
    assert await run.applier.apply_batch()
    assert run.immich.count("tag_assets") == 1
    assert (run.row(1).state, run.row(1).suspect) == ("applied", 1)


async def test_where_nothing_arrived_the_call_is_made_once_more_with_new_ids(run: Applying) -> None:
    await planned_earlier(run, 1)
    await run.context.tag_ids.resolve([*TAGS, MARKER])
    run.immich.tag_names.clear()
    assert await run.applier.apply_batch()
    assert run.immich.count("tag_assets") == run.counts["tag_calls"] == 2
    assert run.immich.held[asset_id(1)] == {*TAGS, MARKER}
    assert (run.row(1).state, run.row(1).suspect) == ("applied", 0)
    assert run.immich.count("asset") == 1, "the second count was complete: not read again"


async def test_where_nothing_arrives_twice_the_asset_is_not_ours_to_tag(run: Applying) -> None:
    run.add_scored(1)
    open_collections(run.ledger)
    run.immich.swallows = {asset_id(1)}
    assert await run.applier.apply_batch()
    assert run.immich.count("tag_assets") == 2
    row = run.row(1)
    assert (row.state, row.error_kind, row.due_ms) == ("failed", "tags-refused", None)


async def test_an_asset_that_cannot_be_read_back_just_now_is_suspect(run: Applying) -> None:
    await planned_earlier(run, 1, 2)
    run.immich.held[asset_id(1)] = {"sky"}
    run.immich.fail = {"asset": [Retryable("busy"), AssetGone("gone")]}
    assert await run.applier.apply_batch()
    assert (run.row(1).state, run.row(1).suspect) == ("applied", 1)
    assert run.state(2) == "gone"


# -- trouble --------------------------------------------------------------------------------------------------


async def test_temporary_trouble_keeps_the_plan_and_ends_after_the_last_attempt(run: Applying) -> None:
    run.add_scored(1)
    open_collections(run.ledger)
    for attempt, wait_s in enumerate((60, 120), 1):
        run.immich.fail = {"tag_assets": [Retryable("busy", kind="server-error")]}
        assert await run.applier.apply_batch()
        row = run.row(1)
        assert (row.state, row.attempts, row.due_ms) == ("planned", attempt, run.now_ms + wait_s * 1_000)
        assert not await run.applier.apply_batch(), "not before its time"
        run.now_ms += wait_s * 1_000
    run.immich.fail = {"tag_assets": [Retryable("busy", kind="server-error")]}
    assert await run.applier.apply_batch()
    assert (run.state(1), run.row(1).due_ms) == ("failed", None)


async def test_one_bad_asset_does_not_fail_the_others_of_its_call(run: Applying) -> None:
    run.add_scored(1, 2)
    open_collections(run.ledger)
    bad = AssetFailed("not yours", kind="no-access")
    run.immich.fail = {"tag_assets": [bad, bad]}
    assert await run.applier.apply_batch()
    assert [run.state(1), run.state(2)] == ["failed", "applied"]
    assert run.tag_calls() == [[asset_id(1), asset_id(2)], [asset_id(1)], [asset_id(2)]]


async def test_an_outage_is_nobody_s_fault_and_what_was_answered_is_kept(run: Applying) -> None:
    run.add_scored(1, 2)
    open_collections(run.ledger)
    run.decider.tags_by_key[run.row(2).key] = ("other",)  # another call
    run.immich.fail = {"tag_assets": [Unreachable("no answer")]}
    with pytest.raises(Unreachable):
        await run.applier.apply_batch()
    assert sorted([run.state(1), run.state(2)]) == ["applied", "planned"]
    assert [run.row(1).attempts, run.row(2).attempts] == [0, 0]


# -- changes --------------------------------------------------------------------------------------------------


async def test_a_change_is_read_first_and_goes_in_waves(run: Applying) -> None:
    await run.verified(1)
    run.change_tags(1, ("sky", "new"))
    assert await run.applier.apply_batch()  # decided, read (nothing of it is there yet), and put on
    while run.state(1) in ("stale", "scored"):
        assert await run.applier.apply_batch()
    assert run.immich.held[asset_id(1)] == {*TAGS, "new", MARKER}, "putting on goes first"
    assert (run.state(1), run.row(1).suspect, run.row(1).due_ms) == ("applied", 1, NOW_MS + SOON_LOOK_MS)
    assert run.counts["read_back"] == 1
    assert run.counts["tags"] == 2, "what is sent again was counted before"


async def taking_off(run: Applying, *numbers: int) -> None:
    """Plan to take `blue` off verified assets."""
    await run.verified(*numbers)
    for number in numbers:
        updated_ms = run.immich.assets[asset_id(number)].updated_ms
        leaving = {"blue": LinkState.LEAVING}
        run.ledger.record_change(
            [Change(run.row(number).key, leaving, updated_ms, call=True, wave=frozenset({"blue"}))]
        )


async def test_one_call_takes_a_tag_off_all_and_each_is_looked_at_soon(run: Applying) -> None:
    await taking_off(run, 1, 2)
    assert await run.applier.apply_batch()
    assert run.immich.count("untag_assets") == 1
    assert run.immich.held == {asset_id(number): {"sky", MARKER} for number in (1, 2)}
    assert run.counts["untagged"] == 2
    assert (run.state(1), run.row(1).suspect, run.row(1).due_ms) == ("applied", 1, NOW_MS + SOON_LOOK_MS)
    assert run.immich.count("asset") == 0


async def test_what_did_not_have_the_tag_is_read(run: Applying) -> None:
    await taking_off(run, 1, 2)
    run.immich.held[asset_id(1)].discard("blue")
    assert await run.applier.apply_batch()
    assert run.immich.count("asset") == 1, "only that one: of the other a tag was taken off"
    assert [run.state(1), run.state(2)] == ["applied", "applied"]


async def test_a_wave_that_had_arrived_before_counts_from_its_own_change(run: Applying) -> None:
    await taking_off(run, 1, 2)
    for number in (1, 2):
        run.immich.held[asset_id(number)].discard("blue")
    run.immich.now_ms += 10_000
    changed_ms = run.immich.now_ms - 4_000
    run.immich.assets[asset_id(1)] = replace(run.immich.assets[asset_id(1)], updated_ms=changed_ms)
    assert await run.applier.apply_batch()
    assert run.row(1).answered_ms == changed_ms, "its background job ended then"
    assert run.row(2).answered_ms == run.immich.now_ms, "nothing has changed it yet"


async def test_a_wave_whose_call_failed_stays_planned_and_is_sent_again(run: Applying) -> None:
    await taking_off(run, 1, 2)
    run.immich.fail = {"untag_assets": [Retryable("busy", kind="server-error")]}
    assert await run.applier.apply_batch()
    assert run.immich.count("asset") == 0, "nothing to read: the call came to nothing"
    assert [run.state(1), run.state(2)] == ["planned", "planned"]
    assert (run.row(1).attempts, run.row(1).due_ms) == (1, NOW_MS + 60_000)
    run.now_ms += 60_000
    assert await run.applier.apply_batch()
    assert run.immich.held[asset_id(1)] == {"sky", MARKER}
    assert run.state(1) == "applied"


async def test_what_is_gone_while_it_is_changed_is_gone(run: Applying) -> None:
    await taking_off(run, 1, 2)
    run.immich.held[asset_id(1)].discard("blue")
    del run.immich.assets[asset_id(1)]
    assert await run.applier.apply_batch()
    assert [run.state(1), run.state(2)] == ["gone", "applied"]


async def test_what_is_gone_before_it_is_changed_is_gone(run: Applying) -> None:
    await run.verified(1, 2)
    run.ledger.reopen_outdated(a_model(run.ledger), "another", 10)
    run.decider.tags_by_key = {run.row(number).key: ("new",) for number in (1, 2)}
    del run.immich.assets[asset_id(1)]
    while "stale" in (states := (run.state(1), run.state(2))) or "scored" in states:
        assert await run.applier.apply_batch()
    assert (run.state(1), run.row(1).error_kind, run.row(1).due_ms) == ("gone", "gone", None)
    assert run.state(2) in ("planned", "applied")


async def test_trouble_at_the_look_leaves_an_asset_stale_until_its_time(run: Applying) -> None:
    await run.verified(1)
    run.change_tags(1, ("sky", "new"))
    run.immich.fail = {"asset": [Retryable("busy", kind="server-error")]}
    while run.state(1) in ("scored",) or not run.row(1).attempts:
        assert await run.applier.apply_batch()
    assert (run.state(1), run.row(1).due_ms) == ("stale", NOW_MS + 60_000)
    assert not await run.applier.apply_batch()
    run.immich.fail = {"asset": [Unreachable("no answer")]}
    run.now_ms += 60_000
    with pytest.raises(Unreachable):
        await run.applier.apply_batch()
    assert (run.state(1), run.row(1).attempts) == ("stale", 1)


async def test_a_tag_that_nobody_has_any_more_is_off(run: Applying) -> None:
    await taking_off(run, 1)
    run.immich.tag_names = {id_: name for id_, name in run.immich.tag_names.items() if name != "blue"}
    run.immich.held[asset_id(1)].discard("blue")
    run.context.tag_ids.forget()
    assert await run.applier.apply_batch()
    assert run.immich.count("untag_assets") == 0
    assert run.state(1) == "applied"
