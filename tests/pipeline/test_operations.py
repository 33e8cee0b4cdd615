"""Retag, undo and verify on the stand-in with its tag-losing jobs: after each, Immich holds what is meant."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from autotagger.demo import StandIn, tiny_library
from autotagger.ledger.reader import LedgerReader
from autotagger.ledger.rows import Selection
from autotagger.ledger.states import LinkState, State
from autotagger.pipeline.ipc.messages import Operation
from autotagger.pipeline.run import run_operation
from autotagger.settings import Settings
from autotagger.tagger.catalog import SHIPPED
from tests.pipeline.support import MARKER, held_links, ledger_links, run_once, settings_for

RETAG = Operation("retag")
UNDO = Operation("undo")
PALETTE_MODEL = SHIPPED["palette"]
LOW: dict[str, Any] = {"threshold": {"general": 0.2}}
HIGH: dict[str, Any] = {"threshold": {"general": 0.6}, "rename": {"simple_background": "plain"}}


def people(server: StandIn) -> dict[str, frozenset[str]]:
    """Tags that a person gave before us: one that we never give, and one that we would give too."""
    given = {}
    for spec in server.library.assets[:4]:
        server.tag(spec.id, "holiday", "rating:general")
        given[spec.id] = frozenset({"holiday", "rating:general"})
    return given


def assert_as_meant(server: StandIn, settings: Settings, given: dict[str, frozenset[str]]) -> None:
    held, meant = held_links(server), ledger_links(settings)
    for asset_id in held.keys() | meant.keys() | given.keys():
        wanted = meant.get(asset_id, frozenset()) | given.get(asset_id, frozenset())
        assert held.get(asset_id, frozenset()) == wanted, asset_id


def link_states(settings: Settings, asset_id: str) -> dict[str, LinkState]:
    with LedgerReader(settings.ledger_path) as ledger:
        scored = ledger.scores_of(asset_id)
        assert scored
        return ledger.links_of([scored.key])[scored.key]


DIALECTS = ("2.7", "3.0", "3.2", "4")


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_library_is_tagged_retagged_and_undone_link_by_link(dialect: str, tmp_path: Path) -> None:
    await there_and_back(40, dialect, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_two_thousand_assets_are_tagged_retagged_and_undone_link_by_link(
    dialect: str, tmp_path: Path
) -> None:
    await there_and_back(2_000, dialect, tmp_path)


async def there_and_back(count: int, dialect: str, tmp_path: Path) -> None:
    """Tag a library, change thresholds and names and retag it, undo it all: every link is as meant every time."""
    async with StandIn(tiny_library(count), dialect) as server:
        given = people(server)
        await server.settle()
        low = settings_for(server, tmp_path, policy=LOW)
        await run_once(low)
        await server.settle()
        assert_as_meant(server, low, given)
        before, calls = ledger_links(low), server.calls.copy()

        high = settings_for(server, tmp_path, policy=HIGH)
        summary = await run_operation(high, RETAG)
        await server.settle()
        assert summary.states[State.VERIFIED] == count
        assert_as_meant(server, high, given)
        after = ledger_links(high)
        assert any(before[asset_id] - after[asset_id] for asset_id in after), "some tags left"
        assert any(after[asset_id] - before[asset_id] for asset_id in after), "some tags came"
        assert server.calls["preview"] == calls["preview"], "a change of policy downloads nothing"

        calls = server.calls.copy()
        await run_operation(high, RETAG)
        assert not {"tag_assets", "untag_assets", "asset"} & set(server.calls - calls), "nothing is left to do"

        await run_operation(high, UNDO)
        await server.settle()
        assert held_links(server) == given
        assert ledger_links(high) == {}
        assert set(server.store.tags_by_value) == {"holiday", "rating:general"}, "empty tags of ours are deleted"

        server.refresh_metadata()
        await server.settle()
        assert held_links(server) == given, "the .xmp files know nothing of us either"

        again = await run_once(high)
        assert again.counts.get("tag_calls", 0) == 0, "what was taken back stays away"


async def test_another_model_scores_again_what_the_old_one_scored_and_nothing_else(tmp_path: Path) -> None:
    async with StandIn(tiny_library(16)) as server:
        old = settings_for(server, tmp_path)
        await run_once(old)
        await server.settle()
        other = shutil.copytree(PALETTE_MODEL, tmp_path / "other")
        labels = other / "selected_tags.csv"
        labels.write_text(labels.read_text().replace("simple_background", "flat_background"))
        new = settings_for(server, tmp_path, model={"name": str(other)})
        later = server.upload()
        await run_once(new)
        previews = server.calls["preview"]
        await run_operation(new, RETAG)
        await server.settle()
        assert server.calls["preview"] == previews + 16, "the upload was scored by the new model already"
        held = held_links(server)
        assert held == ledger_links(new)
        assert later in held
        assert any("flat background" in tags for tags in held.values())
        assert not any("simple background" in tags for tags in held.values())


async def test_what_a_person_took_off_is_never_put_back(tmp_path: Path) -> None:
    async with StandIn(tiny_library(12)) as server:
        settings = settings_for(server, tmp_path, policy=LOW)
        await run_once(settings)
        await server.settle()
        victim = next(iter(ledger_links(settings)))
        unwanted = sorted(ledger_links(settings)[victim] - {MARKER})[0]
        server.untag(victim, unwanted)
        await server.settle()

        found = await run_operation(settings, Operation("verify", repair=True))
        assert found.operation
        assert found.operation["rejected"] == 1
        assert found.operation["read"] == 12
        assert link_states(settings, victim)[unwanted] is LinkState.REJECTED

        await run_operation(settings_for(server, tmp_path, policy={"threshold": {"general": 0.1}}), RETAG)
        await server.settle()
        assert unwanted not in held_links(server)[victim]


async def test_verify_tells_and_repair_mends_what_a_metadata_refresh_lost(tmp_path: Path) -> None:
    async with StandIn(tiny_library(12)) as server:
        settings = settings_for(server, tmp_path)
        await run_once(settings)
        await server.settle()
        meant = ledger_links(settings)
        lost, gone = sorted(meant)[:2]
        server.untag(lost, *meant[lost])
        server.remove(gone)
        await server.settle()

        told = await run_operation(settings, Operation("verify"))
        assert told.operation
        assert (told.operation["missing"], told.operation["gone"], told.operation["repairing"]) == (1, 1, 0)
        assert {finding["asset"] for finding in told.operation["findings"]} == {lost, gone}
        assert held_links(server).get(lost) is None, "without --repair nothing is changed"

        previews = server.calls["preview"]
        await run_operation(settings, Operation("verify", repair=True))
        await server.settle()
        assert held_links(server)[lost] == meant[lost]
        assert server.calls["preview"] == previews, "a repair needs no inference"


async def test_undo_takes_back_one_tag_or_one_asset(tmp_path: Path) -> None:
    async with StandIn(tiny_library(12)) as server:
        settings = settings_for(server, tmp_path)
        await run_once(settings)
        await server.settle()
        before = ledger_links(settings)
        one = next(iter(before))
        tag = sorted(before[one] - {MARKER})[0]
        await run_operation(settings, Operation("undo", selection=Selection(tag=tag)))
        await server.settle()
        expected = {asset_id: tags - {tag} for asset_id, tags in before.items() if tags != {tag, MARKER}}
        assert held_links(server) == ledger_links(settings) == expected

        await run_operation(settings, Operation("undo", selection=Selection(asset_id=one)))
        await server.settle()
        assert one not in held_links(server)
        assert held_links(server) == ledger_links(settings) == {k: v for k, v in expected.items() if k != one}


async def test_without_tag_delete_empty_tags_stay_and_everything_else_is_undone(tmp_path: Path) -> None:
    least = {"asset.read", "asset.view", "tag.read", "tag.create", "tag.asset", "user.read"}
    async with StandIn(tiny_library(6)) as server:
        settings = settings_for(server, tmp_path, immich={"api_key": server.add_key(least)})
        await run_once(settings)
        await server.settle()
        summary = await run_operation(settings, UNDO)
        assert summary.operation
        assert summary.operation["empty_tags"] > 1
        assert summary.operation["deleted_tags"] == 0
        assert held_links(server) == {}
