"""A person's removal is of a meaning (docs/immich.md, law 16): it holds under every name, and after an import."""

from pathlib import Path
from typing import Any

import pytest

from autotagger.demo import StandIn, tiny_library
from autotagger.ledger.reader import LedgerReader
from autotagger.ledger.writer import LedgerWriter
from autotagger.pipeline.decider import TagDecider
from autotagger.pipeline.ipc.messages import Operation
from autotagger.pipeline.operations.plan import plan_library
from autotagger.pipeline.run import run_operation
from autotagger.scores import unpack
from autotagger.settings import Settings
from tests.pipeline.support import held_links, ledger_links, run_once, settings_for

RETAG = Operation("retag")
LOW: dict[str, Any] = {"threshold": {"general": 0.2}}
#: Other spellings of the very same labels.
NAMES: dict[str, dict[str, Any]] = {
    "case": {"case": "title"},
    "template": {"template": {"general": "auto/{name}"}},
    "rename": {"rename": {"simple_background": "plain"}},
}
OFF, LABEL = "simple background", "simple_background"


def again(names: str, server: StandIn, tmp_path: Path) -> Settings:
    return settings_for(server, tmp_path, policy={**LOW, **NAMES[names]})


async def with_one_taken_off(server: StandIn, tmp_path: Path) -> tuple[str, Settings]:
    """A tagged library in which a person took `OFF` off one picture; its id."""
    settings = settings_for(server, tmp_path, policy=LOW)
    await run_once(settings)
    await server.settle()
    victim = min(asset_id for asset_id, tags in held_links(server).items() if OFF in tags)
    server.untag(victim, OFF)
    await server.settle()
    return victim, settings


def spellings(tags: frozenset[str]) -> set[str]:
    return {tag for tag in tags if tag.casefold().replace("_", " ").endswith(OFF) or tag == "plain"}


@pytest.mark.parametrize("names", ["case", "template", "rename"])
async def test_a_removal_holds_under_another_name(names: str, tmp_path: Path) -> None:
    """Nobody looked at the picture between the removal and the retag."""
    async with StandIn(tiny_library(12)) as server:
        victim, _ = await with_one_taken_off(server, tmp_path)
        before = held_links(server)
        settings = again(names, server, tmp_path)
        await run_operation(settings, RETAG)
        await server.settle()
        after = held_links(server)
        assert not spellings(after[victim])
        assert len(after[victim]) == len(before[victim])
        for asset_id in before.keys() - {victim}:
            assert bool(spellings(before[asset_id])) == bool(spellings(after[asset_id])), "only where a person did"
        assert after == ledger_links(settings)

        # Back to the first names, and no plan wants it either.
        first = settings_for(server, tmp_path, policy=LOW)
        planned = await plan_library(first, score=0)
        assert planned.added[OFF] == sum(bool(spellings(tags)) for tags in after.values())
        await run_operation(first, RETAG)
        await server.settle()
        assert held_links(server) == before == ledger_links(first)


async def test_a_removal_holds_after_undo_and_a_second_tagging(tmp_path: Path) -> None:
    async with StandIn(tiny_library(12)) as server:
        victim, settings = await with_one_taken_off(server, tmp_path)
        before = held_links(server)
        await run_operation(settings, Operation("undo"))
        await server.settle()
        assert not held_links(server)
        with LedgerWriter(settings.ledger_path) as ledger:
            ledger.retry(kind="undone")
        titled = again("case", server, tmp_path)
        await run_once(titled)
        await server.settle()
        after = held_links(server)
        assert not spellings(after[victim])
        assert {key: len(tags) for key, tags in after.items()} == {key: len(tags) for key, tags in before.items()}


@pytest.mark.parametrize("names", ["case", None])
async def test_a_removal_holds_for_the_same_picture_imported_again(names: str | None, tmp_path: Path) -> None:
    """Its id is another one; its checksum is not. The removal had been seen, by verify."""
    async with StandIn(tiny_library(12)) as server:
        victim, settings = await with_one_taken_off(server, tmp_path)
        summary = await run_operation(settings, Operation("verify"))
        assert (summary.operation or {})["rejected"] == 1
        tags = held_links(server)[victim]
        new_id = server.reimport(victim, with_xmp=False)[victim]
        await run_once(again(names, server, tmp_path) if names else settings)
        await server.settle()
        assert not spellings(held_links(server)[new_id])
        assert len(held_links(server)[new_id]) == len(tags)


async def test_what_a_person_puts_back_themselves_is_wanted_again(tmp_path: Path) -> None:
    async with StandIn(tiny_library(12)) as server:
        victim, settings = await with_one_taken_off(server, tmp_path)
        await run_operation(settings, Operation("verify"))
        server.tag(victim, OFF)
        await server.settle()
        await run_operation(again("rename", server, tmp_path), RETAG)
        await server.settle()
        assert spellings(held_links(server)[victim]) >= {OFF}


async def test_policy_test_says_that_a_person_took_it_off(tmp_path: Path) -> None:
    async with StandIn(tiny_library(12)) as server:
        victim, settings = await with_one_taken_off(server, tmp_path)
        await run_operation(settings, Operation("verify"))
        titled = again("case", server, tmp_path)
        with LedgerReader(titled.ledger_path) as ledger:
            scored = ledger.scores_of(victim)
            assert scored
            decider = TagDecider.of_stored(ledger, scored.model, titled)
            (line,) = [line for line in decider.explain(unpack(scored.packed), scored.key) if line.label == LABEL]
            named = {asset.asset_id: tags for asset, tags in decider.tags([scored])}
        assert (line.kept, line.tags, line.reason) == (False, (), "taken off by a person")
        assert not spellings(frozenset(named[victim]))
