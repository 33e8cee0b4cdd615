"""The main job on the stand-in with its tag-losing jobs: all processes, sockets, files and the model are real."""

import json
from pathlib import Path

import pytest
from aiohttp import web

from autotagger.demo import Fate, StandIn, draw_library, tiny_library
from autotagger.demo.faults import Call
from autotagger.errors import StartupFailed
from autotagger.ledger.reader import LedgerReader
from autotagger.ledger.states import State
from autotagger.ledger.writer import LedgerWriter
from tests.pipeline.support import (
    MARKER,
    TagCalls,
    expected_marked,
    held_links,
    ledger_links,
    run_once,
    settings_for,
)

DIALECTS = ("2.7", "3.0", "3.2", "4")


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_every_good_picture_is_tagged_and_marked_exactly_once_and_a_second_run_does_nothing(
    dialect: str, tmp_path: Path
) -> None:
    calls = TagCalls()
    async with StandIn(draw_library(60), dialect, faults=calls) as server:
        partner = {spec.id for spec in server.library.assets if spec.fate is Fate.PARTNER}
        settings = settings_for(server, tmp_path)
        summary = await run_once(settings)
        await server.settle()

        held = held_links(server)
        assert {asset_id for asset_id, tags in held.items() if MARKER in tags} == expected_marked(server)
        assert held == ledger_links(settings), "what Immich holds and what the ledger says are the same"
        assert all(len(tags) > 1 for tags in held.values()), "every drawn picture has a rating at least"
        assert summary.states[State.VERIFIED] == len(expected_marked(server))
        assert summary.states[State.APPLIED] == summary.unsettled == 0

        tried = expected_marked(server) | {server.library.awkward("read-only").id}
        assert set(calls.per_asset) <= tried | server.library.expected[Fate.READ_ONLY]
        assert set(calls.per_asset.values()) == {1}, "one call for an asset, never two"
        assert set(calls.per_asset) >= server.library.expected[Fate.READ_ONLY], "both are canaries"
        assert not partner & set(held)
        assert server.calls["update_assets"] == 0, "rating actions are off"

        fates, before = server.library.expected, server.calls.copy()
        asked_for: set[str] = set()

        async def watch(call: Call) -> None:
            if call.name in ("preview", "original", "thumbnail"):
                asked_for.add(call.request.path.split("/")[-2])

        server.faults = watch
        again = await run_once(settings)
        assert again.counts.get("tag_calls", 0) == again.counts.get("preview_downloads", 0) == 0
        assert not {"tag_assets", "upsert_tags"} & set(server.calls - before)
        # Those that had no preview are asked for once more where the first run took a minute.
        assert asked_for <= fates[Fate.WAITING] | fates[Fate.CORRUPT]
        assert held_links(server) == held


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_fresh_ledger_over_a_marked_library_downloads_nothing(dialect: str, tmp_path: Path) -> None:
    async with StandIn(tiny_library(50), dialect) as server:
        for asset in server.library.assets:
            server.tag(asset.id, MARKER, "rating:general")
        await server.settle()
        before, held = server.calls.copy(), held_links(server)
        summary = await run_once(settings_for(server, tmp_path))
        assert summary.counts.get("inferred", 0) == 0
        assert not {"preview", "original", "thumbnail", "tag_assets"} & set(server.calls - before)
        assert held_links(server) == held


async def test_every_awkward_asset_ends_in_its_state_with_a_reason_and_a_preview_that_comes_later_is_tagged(
    tmp_path: Path,
) -> None:
    async with StandIn(draw_library(45)) as server:
        settings, fates = settings_for(server, tmp_path), server.library.expected
        summary = await run_once(settings)
        with LedgerReader(settings.ledger_path) as ledger:
            problems = {problem.asset_id: problem for problem in ledger.problems(100)}
        waiting = {asset_id for asset_id, problem in problems.items() if problem.state is State.WAITING}
        failed = {asset_id for asset_id, problem in problems.items() if problem.state is State.FAILED}
        skipped = {asset_id for asset_id, problem in problems.items() if problem.state is State.SKIPPED}
        assert waiting == fates[Fate.WAITING] | fates[Fate.CORRUPT]
        assert failed == fates[Fate.BROKEN]
        assert skipped == fates[Fate.READ_ONLY]
        assert all(problem.message and problem.kind for problem in problems.values())
        assert all("read-write" in (problems[asset_id].message or "") for asset_id in skipped)
        assert all(problems[asset_id].due_ms for asset_id in waiting)
        assert sum(summary.states.values()) == len(problems) + len(fates[Fate.GOOD])

        server.generate_previews()
        await server.settle()
        with LedgerWriter(settings.ledger_path) as ledger, ledger.batch():
            for asset_id in fates[Fate.WAITING]:
                kind = problems[asset_id].kind
                ledger.record_problem(asset_id, State.WAITING, kind=str(kind), message="", due_ms=1)
        await run_once(settings)
        await server.settle()
        marked = {asset_id for asset_id, tags in held_links(server).items() if MARKER in tags}
        assert marked == expected_marked(server) | fates[Fate.WAITING]


async def test_transparent_pictures_are_tagged_on_white_when_the_key_may_read_originals(tmp_path: Path) -> None:
    library = draw_library(45)
    transparent = [asset for asset in library.assets if asset.media.transparent and asset.fate is Fate.GOOD]
    assert transparent, "the library must hold some"
    least = {"asset.read", "asset.view", "tag.read", "tag.create", "tag.asset", "user.read"}
    async with StandIn(library) as server:
        key = server.add_key({*least, "asset.download"})
        settings = settings_for(server, tmp_path / "may", immich={"api_key": key})
        assert (await run_once(settings)).counts["original_downloads"] == len(transparent)
        on_white = ledger_links(settings)
    async with StandIn(library) as server:
        settings = settings_for(server, tmp_path / "may-not", immich={"api_key": server.add_key(least)})
        summary = await run_once(settings)
        assert summary.counts["flattened"] == len(transparent)
        on_black = ledger_links(settings)
    png = library.awkward("transparent-png").id
    assert "white background" in on_white[png]
    assert "black background" in on_black[png]
    ordinary = on_white.keys() - {asset.id for asset in transparent}
    assert {key: on_white[key] for key in ordinary} == {key: on_black[key] for key in ordinary}


async def test_a_key_without_user_read_never_tags_a_partners_picture(tmp_path: Path) -> None:
    async with StandIn(draw_library(45)) as server:
        key = server.add_key({"asset.read", "asset.view", "tag.read", "tag.create", "tag.asset"})
        settings = settings_for(server, tmp_path, immich={"api_key": key})
        await run_once(settings)
        await server.settle()
        held = held_links(server)
        assert {asset_id for asset_id, tags in held.items() if MARKER in tags} == expected_marked(server)
        with LedgerReader(settings.ledger_path) as ledger:
            skipped = {p.asset_id for p in ledger.problems(100) if p.state is State.SKIPPED}
        assert server.library.expected[Fate.PARTNER] <= skipped


async def test_a_canary_that_is_deleted_gives_way_to_another(tmp_path: Path) -> None:
    async with StandIn(tiny_library(12)) as server:

        async def delete_the_first(call: Call) -> web.StreamResponse | None:
            if call.name == "tag_assets" and call.number == 1:
                server.remove(json.loads(await call.request.read())["assetIds"][0])
            return None

        server.faults = delete_the_first
        summary = await run_once(settings_for(server, tmp_path))
        await server.settle()
        assert summary.states[State.GONE] == 1
        assert summary.states[State.VERIFIED] == len(held_links(server)) == 11


async def test_limit_takes_up_no_more_and_the_next_run_goes_on_and_makes_a_deleted_tag_again(
    tmp_path: Path,
) -> None:
    async with StandIn(tiny_library(40)) as server:
        settings = settings_for(server, tmp_path)
        summary = await run_once(settings, limit=10)
        assert summary.states[State.VERIFIED] == 10
        assert summary.states[State.PENDING] == 30
        server.delete_tag("rating:general")
        server.clean_up_tags()
        summary = await run_once(settings)
        assert summary.counts["inferred"] == 30
        assert summary.states[State.VERIFIED] == 40
        await server.settle()
        fresh = {asset_id for asset_id, tags in held_links(server).items() if "rating:general" in tags}
        assert len(fresh) == 30, "all those whose calls came after it"


async def test_what_settles_after_the_run_is_verified_by_the_next(tmp_path: Path) -> None:
    async with StandIn(tiny_library(12)) as server:
        settings = settings_for(server, tmp_path)
        await run_once(settings, limit=1)  # the canary has settled
        server.jobs.pause()
        patient = settings_for(server, tmp_path, verify={"settle_timeout_s": 0.5})
        summary = await run_once(patient)
        assert summary.unsettled == summary.states[State.APPLIED] == 11
        server.jobs.resume()
        await server.settle()
        summary = await run_once(settings)
        assert summary.states[State.VERIFIED] == 12
        assert summary.counts.get("tag_calls", 0) == 0


async def test_tags_that_get_lost_are_found_and_sent_again_complete(tmp_path: Path) -> None:
    async with StandIn(tiny_library(12)) as server:
        settings = settings_for(server, tmp_path, verify={"sample": 1.0})
        await run_once(settings, limit=1)
        server.jobs.pause()
        await run_once(settings_for(server, tmp_path, verify={"settle_timeout_s": 0.5}))
        [*_, victim] = ledger_links(settings)  # the first was verified by the first run
        names = ledger_links(settings)[victim]
        server.untag(victim, *sorted(names - {MARKER}))  # before the jobs ran: the .xmp never sees them
        server.jobs.resume()
        await server.settle()
        assert server.links()[victim] == {MARKER}
        summary = await run_once(settings)
        await server.settle()
        assert summary.counts["repaired"] == 1
        assert held_links(server) == ledger_links(settings)
        assert summary.states[State.VERIFIED] == 12


async def test_tags_of_people_are_left_as_they_are(tmp_path: Path) -> None:
    async with StandIn(tiny_library(10)) as server:
        mine = [asset.id for asset in server.library.assets[:3]]
        for asset_id in mine:
            server.tag(asset_id, "holiday", "rating:general")
        await server.settle()
        settings = settings_for(server, tmp_path)
        await run_once(settings)
        await server.settle()
        held, meant = held_links(server), ledger_links(settings)
        theirs = {"holiday", "rating:general"}
        assert all(held[asset_id] == meant[asset_id] | theirs for asset_id in mine)
        assert not any(meant[asset_id] & theirs for asset_id in mine), "what was there before us is never ours"
        assert all(held[asset_id] == meant[asset_id] for asset_id in meant.keys() - set(mine))


async def test_a_ledger_in_use_by_another_run_is_refused(tmp_path: Path) -> None:
    from autotagger.ledger.database import LedgerLock

    async with StandIn(tiny_library(3)) as server:
        settings = settings_for(server, tmp_path)
        lock = LedgerLock(settings.ledger_path)
        lock.acquire()
        with pytest.raises(StartupFailed, match="another autotagger"):
            await run_once(settings)
        lock.release()
