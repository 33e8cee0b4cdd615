"""What a sweep did not list: one look at each tells, on a stand-in and a real ledger."""

import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from autotagger.demo import StandIn, tiny_library
from autotagger.errors import Retryable, Unreachable
from autotagger.immich.client import ImmichClient
from autotagger.immich.types import TaggedAsset
from autotagger.ledger.rows import Change, ListedAsset
from autotagger.ledger.states import LinkState, State
from autotagger.ledger.writer import LedgerWriter
from autotagger.pipeline.writer import deletions
from autotagger.pipeline.writer.account_context import AccountContext
from autotagger.pipeline.writer.database_clock import DatabaseClock
from autotagger.pipeline.writer.deletions import Deletions
from autotagger.pipeline.writer.tag_ids import TagIds
from autotagger.settings import Settings
from tests.immich.support import Clock
from tests.pipeline.unit import MARKER, NOW_MS, Writing, an_origin, asset_id, open_ledger


async def looked(server: StandIn, ledger: LedgerWriter, sweep: int) -> Counter[str]:
    """One round of looks after the sweep of this number; how often Immich was asked for what."""
    settings = Settings.model_validate({"immich": {"base_url": server.url, "api_key": server.api_key}})
    assert settings.immich.api_key
    clock, counts = Clock(), Counter[str]()

    def count(what: str, by: int) -> None:
        counts[what] += by

    async with ImmichClient(settings.immich, settings.immich.api_key, sleep=clock.sleep, clock=clock) as client:
        looks = Deletions(
            AccountContext(
                ledger,
                client,
                ids := TagIds(client),
                DatabaseClock(ids, "auto:processed"),
                "auto:processed",
                lambda: 0,
                count,
            )
        )
        assert await looks.look() is False, "nothing is expected yet"
        looks.expect(sweep)
        while await looks.look():
            pass
        return counts + client.calls


def listed(asset_id: str) -> ListedAsset:
    return ListedAsset(asset_id, "me", "", "IMAGE", None, "a.png", "", 1)


async def test_deleted_and_trashed_are_gone_and_what_is_only_out_of_sight_is_not(tmp_path: Path) -> None:
    async with StandIn(tiny_library(5)) as server:
        ids = [asset.id for asset in server.library.assets]
        with open_ledger(tmp_path) as ledger:
            ledger.add_listed([*map(listed, ids), listed(str(uuid.uuid4()))])
            ledger.note_listed([listed(ids[0])], sweep=1)
            server.trash(ids[1])
            server.remove(ids[2])
            server.set_visibility(ids[3], "hidden")
            counts = await looked(server, ledger, 1)
            assert (counts["gone"], counts["asset"]) == (3, 5)
            assert ledger.counts()[State.GONE] == 3
            assert ledger.counts()[State.PENDING] == 3
            assert ledger.unseen(1, 9) == [], "what was found counts as seen"


async def test_a_listing_that_leaves_out_much_that_is_there_costs_a_bounded_number_of_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deletions, "MAX_STILL_THERE", 5)
    monkeypatch.setattr(deletions, "LOOKS_AT_ONCE", 5)
    async with StandIn(tiny_library(12)) as server:
        with open_ledger(tmp_path) as ledger:
            ledger.add_listed([listed(asset.id) for asset in server.library.assets])
            assert (await looked(server, ledger, 1))["asset"] == 5
            assert (await looked(server, ledger, 2))["asset"] == 5
            assert {key for key, _ in ledger.unseen(2, 2)} == {11, 12}, "those nobody has looked at come first"


async def test_what_is_being_changed_when_it_is_found_gone_is_left_to_its_call(tmp_path: Path) -> None:
    run = Writing(tmp_path)
    run.add_scored(1, 2)
    keys = [run.ledger.known(asset_id(number)).key for number in (1, 2)]
    run.ledger.record_plan([(key, ("sky", MARKER), an_origin(run.ledger)) for key in keys])
    run.ledger.record_answer(keys, NOW_MS, NOW_MS)
    run.ledger.record_verified(keys)
    looks = Deletions(run.context)
    looks.expect(1)
    run.immich.assets.clear()
    immich: Any = run.immich
    find = immich.asset

    async def meanwhile(wanted: str) -> TaggedAsset:
        leaving = {"sky": LinkState.LEAVING}
        run.ledger.record_change([Change(keys[0], leaving, NOW_MS, call=True, wave=frozenset({"sky"}))])
        found: TaggedAsset = await find(wanted)
        return found

    immich.asset = meanwhile
    assert await looks.look()
    assert [run.state(1), run.state(2)] == ["planned", "gone"]
    run.close()


async def test_after_an_outage_they_are_looked_at_again_and_after_trouble_with_one_the_next_sweep_asks(
    tmp_path: Path,
) -> None:
    run = Writing(tmp_path)
    run.add_scored(1, 2)
    looks = Deletions(run.context)
    looks.expect(1)
    run.immich.assets.clear()
    run.immich.fail = {"asset": [Unreachable("no answer")]}
    with pytest.raises(Unreachable):
        await looks.look()
    assert [run.state(1), run.state(2)] == ["scored", "scored"]
    run.immich.fail = {"asset": [Retryable("busy")]}
    assert await looks.look()
    assert [run.state(1), run.state(2)] == ["scored", "gone"]
    assert await looks.look() is False, "Immich fails on one: not again before the next sweep"
    looks.expect(2)
    assert await looks.look()
    assert run.state(1) == "gone"
    assert run.counts["gone"] == 2
    run.close()
