"""What changes outside (laws 15, 21, 22): a restored backup, a new import, tags deleted as a whole.

Nothing of it is taken for the removals of a person, and nothing is said to be done that is not.
"""

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
