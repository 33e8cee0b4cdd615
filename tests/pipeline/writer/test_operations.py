"""Retag, undo and verify step by step, on a real ledger and Immich's laws."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autotagger.errors import Retryable, Unreachable
from autotagger.ledger.rows import Selection
from autotagger.ledger.schema import Asset
from autotagger.ledger.states import LinkState
from autotagger.pipeline.writer import operations
from autotagger.pipeline.writer import verify as verifying
from autotagger.pipeline.writer.operations import Retag
from autotagger.pipeline.writer.undo import Undo
from autotagger.pipeline.writer.verify import COUNTS, Verify
from tests.pipeline.unit import MARKER, NOW_MS, Writing, a_model, an_origin, asset_id, open_collections, server

TAGS = ("blue", "sky")
ALL = {*TAGS, MARKER}


class Operating(Writing):
    def row(self, number: int) -> Any:
        return Asset.get(Asset.asset_id == asset_id(number))

    def verified(self, *numbers: int) -> None:
        """Assets tagged by policy `p1`, all proven."""
        self.add_scored(*numbers)
        open_collections(self.ledger)
        origin = an_origin(self.ledger)
        for tag in ALL:
            self.ledger.record_known(tag, [], ours=True)
            self.immich._tag_id(tag)
        keys = [self.row(number).key for number in numbers]
        self.ledger.record_plan([(key, tuple(ALL), origin) for key in keys])
        self.ledger.record_answer(keys, NOW_MS, NOW_MS)
        self.ledger.record_verified(keys)
        for number in numbers:
            self.immich.held[asset_id(number)] = set(ALL)

    def links(self, number: int) -> dict[str, LinkState]:
        key = self.row(number).key
        return self.ledger.links_of([key])[key]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Operating]:
    run = Operating(tmp_path)
    yield run
    run.close()


class Rules:
    """A decider whose rules have a name, and nothing to count again."""

    def __init__(self, model: int, identity: str) -> None:
        self.model, self.identity = model, identity
        self.recounts = 0

    def expect_recount(self) -> None:
        self.recounts += 1

    async def recount(self) -> None:
        assert self.recounts == 1, "who begins a retag says so"


def rules(run: Operating, identity: str) -> Any:
    return Rules(a_model(run.ledger), identity)


# -- retag ----------------------------------------------------------------------------------------------------


async def test_retag_reopens_all_in_steps_and_begins_again_at_the_first(
    run: Operating, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations, "REOPENED_AT_ONCE", 2)
    run.verified(1, 2, 3)
    retag = Retag(run.context, rules(run, "another"))
    assert [await retag.step(), retag.after] == [True, run.row(2).key]
    assert [await retag.step(), retag.after] == [True, run.row(3).key]
    assert [await retag.step(), retag.after] == [True, 0], "once more from the start"
    assert await retag.step() is False
    assert retag.result == {"reopened": 3}
    assert [run.state(number) for number in (1, 2, 3)] == ["scored"] * 3


async def test_retag_waits_for_what_is_under_way(run: Operating) -> None:
    run.verified(1, 2)
    run.ledger.reopen_outdated(a_model(run.ledger), "another", 1)
    run.ledger.record_plan([(run.row(1).key, (*TAGS, "new"), an_origin(run.ledger))])
    assert run.state(1) == "stale"
    retag = Retag(run.context, rules(run, "another"))
    assert await retag.step()
    assert await retag.step()
    assert await retag.step(), "one is still being changed, by the old policy"
    run.ledger.record_verified([run.row(1).key])
    assert await retag.step()
    assert await retag.step()
    assert await retag.step() is False
    assert retag.result == {"reopened": 2}


async def test_retag_leaves_what_is_as_today_s_rules_have_it(run: Operating) -> None:
    run.verified(1)
    retag = Retag(run.context, rules(run, "p1"))
    assert await retag.step() is False
    assert run.state(1) == "verified"


# -- undo -----------------------------------------------------------------------------------------------------


def undone(run: Operating, *numbers: int) -> None:
    """All of them were read, changed and proven: nothing of ours is left."""
    for number in numbers:
        key = run.row(number).key
        run.ledger._set_links((key, name, LinkState.REMOVED, None) for name in ALL)
        run.ledger._rest([key])
        run.immich.held[asset_id(number)].clear()


async def test_undo_marks_waits_and_deletes_tags_that_nobody_uses(run: Operating) -> None:
    run.verified(1)
    run.immich.add(7, "sky")  # somebody else's asset, which has it too
    undo = Undo(run.context, server("all"), Selection())
    assert await undo.step()
    assert run.state(1) == "stale"
    assert set(run.links(1).values()) == {LinkState.RETIRED}
    assert [await undo.step(), undo.after] == [True, None]
    assert await undo.step(), "it is not off yet"
    assert run.immich.count("delete_tag") == 0
    undone(run, 1)
    assert await undo.step() is False
    assert undo.result == {"deleted_tags": 2}
    assert set(run.immich.tag_names.values()) == {"sky"}
    assert run.ledger.known_tags() == {}, "whoever uses one next looks anew whose it is"


async def test_undo_begins_again_for_what_was_under_way(run: Operating) -> None:
    run.verified(1)
    undo = Undo(run.context, server("all"), Selection())
    undo.after = None  # it has passed them all, and this one settled only now
    assert await undo.step()
    assert undo.after == 0


async def test_undo_without_the_right_leaves_empty_tags_and_says_how_many(run: Operating) -> None:
    run.verified(1)
    undo = Undo(run.context, server("asset.read"), Selection())
    await undo.step()
    await undo.step()
    undone(run, 1)
    assert await undo.step() is False
    assert undo.result == {"deleted_tags": 0, "empty_tags": 3}
    assert run.immich.count("delete_tag") == 0


async def test_undo_keeps_a_tag_with_tags_below_it(run: Operating) -> None:
    run.verified(1)
    run.immich._tag_id("sky/night")
    undo = Undo(run.context, server("all"), Selection())
    await undo.step()
    await undo.step()
    undone(run, 1)
    await undo.step()
    assert "sky" in run.immich.tag_names.values()


# -- verify ---------------------------------------------------------------------------------------------------


async def found(run: Operating, *, sample: float = 1.0, repair: bool = False) -> dict[str, Any]:
    """What verify finds, without what it does not."""
    verify = Verify(run.context, sample, repair)
    while await verify.step():
        pass
    assert set(verify.result) == {*COUNTS, "deleted_tags", "findings"}
    findings = {finding["what"]: finding["message"] for finding in verify.findings}
    return {**{name: count for name, count in verify.result.items() if count}, "findings": findings}


async def test_what_is_as_meant_is_counted_and_left(run: Operating) -> None:
    run.verified(1, 2)
    assert await found(run, repair=True) == {"read": 2, "as_meant": 2, "findings": {}}
    assert run.state(1) == "verified"


@pytest.mark.parametrize("repair", [False, True])
async def test_what_immich_lost(repair: bool, run: Operating) -> None:
    run.verified(1)
    run.immich.held[asset_id(1)].clear()  # the marker too: no person's doing
    result = await found(run, repair=repair)
    assert result["missing"] == 1
    assert result["findings"] == {"missing": f"lost in Immich: {MARKER}, blue, sky"}
    assert result.get("repairing", 0) == repair
    assert "as_meant" not in result
    assert run.state(1) == ("planned" if repair else "verified")
    assert run.row(1).repairs == 0


@pytest.mark.parametrize("repair", [False, True])
async def test_what_a_person_took_off_stays_off_and_is_remembered(repair: bool, run: Operating) -> None:
    run.verified(1)
    run.immich.held[asset_id(1)].discard("sky")
    result = await found(run, repair=repair)
    assert result["findings"] == {"rejected": "taken off by a person: sky"}
    assert "as_meant" not in result
    assert run.state(1) == "verified"
    assert run.links(1)["sky"] is LinkState.REJECTED


@pytest.mark.parametrize("repair", [False, True])
async def test_what_we_took_off_and_is_there_again(repair: bool, run: Operating) -> None:
    run.verified(1)
    run.ledger._set_links([(run.row(1).key, "sky", LinkState.REMOVED, None)])
    result = await found(run, repair=repair)
    assert result["findings"] == {"came_back": "taken off by us and there again: sky"}
    assert run.links(1)["sky"] is (LinkState.LEAVING if repair else LinkState.REMOVED)
    assert run.state(1) == ("planned" if repair else "verified")


@pytest.mark.parametrize("repair", [False, True])
async def test_another_file(repair: bool, run: Operating) -> None:
    run.verified(1)
    run.immich.assets[asset_id(1)] = replace(run.immich.assets[asset_id(1)], checksum="another")
    result = await found(run, repair=repair)
    assert result["changed"] == 1
    assert run.state(1) == ("pending" if repair else "verified")
    assert run.row(1).checksum == ("another" if repair else "")


async def test_what_is_gone_and_what_cannot_be_read(run: Operating) -> None:
    run.verified(1, 2)
    del run.immich.assets[asset_id(1)]
    run.immich.fail = {"asset": []}
    result = await found(run)
    assert (result["gone"], result["read"]) == (1, 1)
    assert run.state(1) == "gone"
    run.immich.fail = {"asset": [Retryable("busy")]}
    result = await found(run)
    assert result["findings"] == {"unreadable": "busy"}
    run.immich.fail = {"asset": [Unreachable("no answer")]}
    with pytest.raises(Unreachable):
        await found(run)
    assert run.state(2) == "verified"


async def test_a_sample_depends_on_the_id_alone(run: Operating) -> None:
    run.verified(1, 0xF << 124)
    assert (await found(run, sample=0.5))["read"] == 1
    assert run.immich.calls[-1] == ("asset", asset_id(1))
    assert await found(run, sample=0.0) == {"findings": {}}


async def test_findings_are_bounded_and_counted_all(run: Operating, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifying, "MAX_FINDINGS", 1)
    monkeypatch.setattr(verifying, "READ_AT_ONCE", 1)
    run.verified(1, 2)
    run.immich.assets.clear()
    verify = Verify(run.context, 1.0, False)
    assert [await verify.step(), await verify.step(), await verify.step()] == [True, True, False]
    assert (verify.counts["gone"], len(verify.findings)) == (2, 1)
