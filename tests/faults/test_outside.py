"""What changes outside (laws 15, 21, 22): a restored backup, a new import, tags deleted as a whole.

Nothing of it is taken for the removals of a person, and nothing is said to be done that is not.
"""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from loguru import logger

from autotagger.demo import StandIn, tiny_library
from autotagger.ledger.reader import LedgerReader
from autotagger.ledger.rows import AssetFilter
from autotagger.ledger.states import LinkState
from autotagger.pipeline.ipc.messages import Operation
from autotagger.pipeline.run import run_operation
from autotagger.pipeline.supervisor.summary import Summary
from autotagger.service.pace import Pace
from autotagger.service.words import progress
from autotagger.settings import Settings
from tests import forked
from tests.pipeline.support import MARKER, held_links, ledger_links, run_once, settings_for

DIALECTS = ("2.7", "3.0", "3.2", "4")


@pytest.fixture
def said() -> Iterator[list[str]]:
    """The warnings of a test."""
    lines: list[str] = []
    handler = logger.add(lambda line: lines.append(str(line)), level="WARNING", format="{message}")
    yield lines
    logger.remove(handler)


async def tagged(server: StandIn, settings: Settings) -> dict[str, frozenset[str]]:
    """Tag everything; the links that are meant and there."""
    await run_once(settings)
    await server.settle()
    meant = ledger_links(settings)
    assert held_links(server) == meant
    return meant


def states_of(settings: Settings, name: str) -> list[LinkState]:
    """What the ledger knows of one tag, on every asset that has something to do with it."""
    with LedgerReader(settings.ledger_path) as ledger:
        links = ledger.links_of([row.key for page in ledger.pages(AssetFilter()) for row in page])
    return [known[name] for known in links.values() if name in known]


def status(settings: Settings, server: StandIn) -> dict[str, Any]:
    """`autotagger status --json`."""
    environ = {
        "AUTOTAGGER_CONFIG": "/dev/null",
        "AUTOTAGGER_STATE_DIR": str(settings.state_dir),
        "IMMICH_BASE_URL": server.url,
        "IMMICH_API_KEY": server.api_key,
    }
    table = forked.command("status", environ=environ)
    document = json.loads(forked.command("status", "--json", environ=environ).out)
    return {**document, "table": table.out}


def lost(summary: Summary) -> tuple[int, str]:
    return summary.unmarked, progress(summary, Pace()).split(",")[0]


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_restored_backup_is_told_once_and_never_done(
    dialect: str, tmp_path: Path, said: list[str]
) -> None:
    async with StandIn(tiny_library(6), dialect) as server:
        settings = settings_for(server, tmp_path)
        last_night = server.backup()
        await tagged(server, settings)
        server.restore_backup(last_night)
        summary = await run_once(settings)
        assert lost(summary) == (6, "0 of 6 assets done")
        [line] = [line for line in said if "lost" in line]
        assert "6 assets lost all tags of autotagger in Immich" in line
        assert "autotagger verify --repair" in line
        assert not held_links(server), "nobody asked to have it mended"
        assert LinkState.REJECTED not in states_of(settings, MARKER)

        again = await run_once(settings)
        assert again.lost_many
        assert len([line for line in said if "lost" in line]) == 1, "told once"
        shown = status(settings, server)
        assert (shown["unmarked"], shown["verified"]) == (6, 6)
        assert "6 assets have lost their marker in Immich" in shown["table"]
        assert again.as_dict()["unmarked"] == 6


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_deleted_marker_is_told_from_lost_tags(dialect: str, tmp_path: Path, said: list[str]) -> None:
    async with StandIn(tiny_library(12), dialect) as server:
        settings = settings_for(server, tmp_path)
        await tagged(server, settings)
        server.delete_tag(MARKER)
        summary = await run_once(settings)
        assert lost(summary) == (12, "0 of 12 assets done")
        [line] = [line for line in said if "lost" in line]
        assert f"12 assets lost the tag {MARKER} in Immich and have their other tags" in line
        assert status(settings, server)["unmarked"] == 12


async def test_a_marker_that_is_there_again_is_no_loss_any_more(tmp_path: Path) -> None:
    async with StandIn(tiny_library(6)) as server:
        settings = settings_for(server, tmp_path)
        await tagged(server, settings)
        server.delete_tag(MARKER)
        assert (await run_once(settings)).lost_many
        server.refresh_metadata()  # the .xmp files still have it
        await server.settle()
        again = await run_once(settings)
        assert lost(again) == (0, "6 of 6 assets done")


async def test_the_marker_taken_off_one_picture_is_no_event(tmp_path: Path, said: list[str]) -> None:
    async with StandIn(tiny_library(12)) as server:
        settings = settings_for(server, tmp_path)
        victim = next(iter(await tagged(server, settings)))
        server.untag(victim, MARKER)
        await server.settle()
        summary = await run_once(settings)
        assert lost(summary) == (1, "11 of 12 assets done")
        assert not summary.lost_many
        assert said == []


@pytest.mark.parametrize("made_anew", [False, True])
async def test_a_tag_deleted_as_a_whole_stays_away_and_is_told_once(
    made_anew: bool, tmp_path: Path, said: list[str]
) -> None:
    """`made_anew`: an upload got the same tag before the next sweep, so its name is there again."""
    async with StandIn(tiny_library(12)) as server:
        settings = settings_for(server, tmp_path)
        meant = await tagged(server, settings)
        await run_once(settings)  # its sweep sees which tags there are
        tag = "rating:general"
        holders = {asset_id for asset_id, tags in meant.items() if tag in tags}
        assert len(holders) > 5
        server.delete_tag(tag)
        if made_anew:
            server.tag(min(meant.keys() - holders, default="") or min(holders), tag)
            await server.settle()
            holders -= {min(holders)}
        await run_once(settings)
        await run_once(settings)
        [line] = [line for line in said if "deleted" in line]
        assert f"1 tag of autotagger was deleted in Immich: {tag} ({len(holders)} assets)" in line
        assert states_of(settings, tag).count(LinkState.DELETED) == len(holders)
        shown = status(settings, server)
        assert shown["deleted_tags"] == [{"tag": tag, "assets": len(holders)}]
        assert shown["unmarked"] == 0
        assert held_links(server) == ledger_links(settings)


# -- verify ---------------------------------------------------------------------------------------------------


async def verified(settings: Settings, **how: bool) -> dict[str, Any]:
    summary = await run_operation(settings, Operation("verify", **how))  # type: ignore[arg-type]
    assert summary.operation
    return summary.operation


async def test_what_a_restored_backup_lost_is_repaired_and_no_longer_told(tmp_path: Path) -> None:
    async with StandIn(tiny_library(8)) as server:
        settings = settings_for(server, tmp_path)
        last_night = server.backup()
        meant = await tagged(server, settings)
        server.restore_backup(last_night)
        await run_once(settings)
        found = await verified(settings, repair=True)
        assert (found["missing"], found["unmarked"], found["rejected"], found["repairing"]) == (8, 0, 0, 8)
        await server.settle()
        assert held_links(server) == meant
        assert status(settings, server)["unmarked"] == 0


async def test_a_deleted_marker_is_put_back_and_neither_removals_nor_deleted_tags_are(
    tmp_path: Path, said: list[str]
) -> None:
    async with StandIn(tiny_library(12)) as server:
        settings = settings_for(server, tmp_path)
        meant = await tagged(server, settings)
        single = sorted(meant)[0]
        removed = sorted(meant[single] - {MARKER, "rating:general"})[0]
        server.untag(single, removed)  # by a person, before any of this
        await server.settle()
        server.delete_tag("rating:general")
        server.delete_tag(MARKER)
        told = await verified(settings)
        assert told["unmarked"] == 12
        assert told["missing"] == 0
        assert told["deleted_tags"][0]["tag"] == "rating:general"
        assert any("12 assets look missing because the marker tag" in line for line in said)
        said.clear()
        found = await verified(settings, repair=True)
        assert "rating:general" in " ".join(said)
        assert found["repairing"] == 12
        await server.settle()
        expected = {asset_id: tags - {"rating:general"} for asset_id, tags in meant.items()}
        expected[single] -= {removed}
        assert held_links(server) == ledger_links(settings) == expected

        back = await verified(settings, repair=True, deleted_tags=True)
        assert back["rejected"] == 0
        await server.settle()
        expected = dict(meant)
        expected[single] = meant[single] - {removed}
        assert held_links(server) == ledger_links(settings) == expected


async def test_a_tag_taken_off_many_pictures_that_others_keep_was_taken_off_by_a_person(tmp_path: Path) -> None:
    async with StandIn(tiny_library(12)) as server:
        settings = settings_for(server, tmp_path)
        meant = await tagged(server, settings)
        holders = sorted(asset_id for asset_id, tags in meant.items() if "rating:general" in tags)
        for asset_id in holders[1:]:
            server.untag(asset_id, "rating:general")
        await server.settle()
        found = await verified(settings, repair=True)
        assert (found["rejected"], found["deleted"]) == (len(holders) - 1, 0)


async def test_retag_after_a_tag_was_deleted_takes_it_for_no_person_s_removals(tmp_path: Path) -> None:
    async with StandIn(tiny_library(12)) as server:
        settings = settings_for(server, tmp_path, policy={"threshold": {"general": 0.2}})
        await tagged(server, settings)
        server.delete_tag("rating:general")
        other = settings_for(server, tmp_path, policy={"threshold": {"general": 0.6}})
        await run_operation(other, Operation("retag"))
        await server.settle()
        states = set(states_of(settings, "rating:general"))
        assert states == {LinkState.DELETED}
        assert held_links(server) == ledger_links(settings)


# -- imported anew, trash, locked folder ----------------------------------------------------------------------

ALL = Operation("undo")


async def undone(settings: Settings) -> dict[str, Any]:
    summary = await run_operation(settings, ALL)
    assert summary.operation
    return summary.operation


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("swept", [False, True])
async def test_undo_finds_what_was_imported_anew_with_its_tags(swept: bool, dialect: str, tmp_path: Path) -> None:
    async with StandIn(tiny_library(6), dialect) as server:
        settings = settings_for(server, tmp_path)
        await tagged(server, settings)
        server.reimport(with_xmp=True)
        await server.settle()
        assert len(held_links(server)) == 6
        if swept:
            summary = await run_once(settings)
            assert summary.counts["imported"] == 6
            await server.settle()
            assert held_links(server) == ledger_links(settings)
        result = await undone(settings)
        await server.settle()
        assert held_links(server) == {}
        assert not {"left", "still_marked"} & result.keys()
        assert server.store.tags_by_value == {}


async def test_what_was_imported_anew_without_its_tags_is_tagged_as_before(
    tmp_path: Path, said: list[str]
) -> None:
    async with StandIn(tiny_library(6)) as server:
        settings = settings_for(server, tmp_path)
        meant = await tagged(server, settings)
        ids = server.reimport(with_xmp=False)
        await server.settle()
        await run_once(settings)
        await server.settle()
        await run_once(settings)
        await server.settle()
        assert held_links(server) == {ids[asset_id]: tags for asset_id, tags in meant.items()}
        assert any("6 assets were imported into Immich anew" in line for line in said)
        await undone(settings)
        await server.settle()
        assert (held_links(server), server.store.tags_by_value) == ({}, {})


async def test_undo_reaches_the_trash_and_the_locked_folder(tmp_path: Path) -> None:
    async with StandIn(tiny_library(8)) as server:
        settings = settings_for(server, tmp_path)
        meant = await tagged(server, settings)
        trashed, locked, removed = sorted(meant)[:3]
        server.trash(trashed)
        server.set_visibility(locked, "locked")
        server.remove(removed)
        await run_once(settings)
        with LedgerReader(settings.ledger_path) as ledger:
            reasons = {asset_id: ledger.known(asset_id).error or "" for asset_id in (trashed, locked, removed)}
        assert "trash" in reasons[trashed]
        assert "locked folder" in reasons[locked]
        result = await undone(settings)
        await server.settle()
        assert held_links(server) == {}
        assert "left" not in result
        kept = set(server.store.tags_by_value)
        assert kept == set(meant[locked]), "tags of what Immich does not show stay, and are told"
        assert result["kept_tags"] == len(kept)


async def test_undo_leaves_a_tag_that_somebody_s_picture_in_the_trash_uses(tmp_path: Path) -> None:
    async with StandIn(tiny_library(6)) as server:
        settings = settings_for(server, tmp_path)
        await tagged(server, settings)
        other = server.upload()
        server.tag(other, "rating:general")
        await server.settle()
        server.trash(other)
        await undone(settings)
        assert set(server.store.tags_by_value) == {"rating:general"}
        assert held_links(server) == {other: {"rating:general"}}


async def test_undo_says_so_where_another_s_marker_is_left(tmp_path: Path) -> None:
    async with StandIn(tiny_library(6)) as server:
        settings = settings_for(server, tmp_path)
        await run_once(settings, limit=3)
        await server.settle()
        marked = held_links(server)
        stranger = next(row.id for row in server.store.rows.values() if row.id not in marked)
        server.tag(stranger, MARKER)
        await server.settle()
        result = await undone(settings)
        assert result["still_marked"] == 1


@pytest.mark.parametrize("was_there", [False, True])
async def test_the_empty_parent_of_a_template_goes_if_it_was_made_by_us(was_there: bool, tmp_path: Path) -> None:
    async with StandIn(tiny_library(4)) as server:
        if was_there:
            server.store.upsert(["auto"])
        settings = settings_for(server, tmp_path, policy={"template": {"general": "auto/{name}"}})
        await tagged(server, settings)
        assert any(name.startswith("auto/") for name in server.store.tags_by_value)
        await undone(settings)
        assert set(server.store.tags_by_value) == ({"auto"} if was_there else set())


# -- tags switched off ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("enabled", [True, False])
async def test_tags_that_are_switched_off_are_one_warning(enabled: bool, tmp_path: Path, said: list[str]) -> None:
    async with StandIn(tiny_library(2), tags_enabled=enabled) as server:
        await run_once(settings_for(server, tmp_path))
        assert len([line for line in said if "switched off" in line]) == (not enabled)
        environ = {"IMMICH_BASE_URL": server.url, "IMMICH_API_KEY": server.api_key, "HOME": str(tmp_path)}
        done = await asyncio.to_thread(
            forked.command, "init", "--config", tmp_path / "config.toml", environ=environ
        )
        assert (done.code, "tags are switched off" in done.out) == (0, not enabled)
