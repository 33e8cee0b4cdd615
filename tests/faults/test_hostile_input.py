"""One bad asset never fails another, whatever it is: through a real run, with every process."""

import json
from pathlib import Path

import pytest
from aiohttp import web

from autotagger.demo import StandIn, routes, tiny_library
from autotagger.demo.faults import Call
from autotagger.demo.gate import Visit
from autotagger.ledger.reader import LedgerReader
from autotagger.ledger.states import State
from tests.faults import hostile
from tests.faults.story import start
from tests.pipeline.support import MARKER, held_links, ledger_links, run_once, settings_for

#: Odd, and pictures all the same: every one of them has pixels to look at.
PICTURES = {
    *("a broken colour profile", "a broken EXIF block", "16 bit", "CMYK", "LAB", "floats"),
    *("a bomb of colours", "a bomb of text"),
    *("an animated GIF with a broken frame", "an animated PNG with a broken frame"),
}
#: Whether libwebp looks at all frames before it shows the first depends on its version.
EITHER = {"an animated WebP with a broken frame"}


async def test_one_bad_picture_never_fails_another(tmp_path: Path) -> None:
    bodies = hostile.pictures()
    library = tiny_library(len(bodies) + 12)
    victims = {library.assets[12 + number].id: name for number, name in enumerate(bodies)}
    packed, large = (asset.id for asset in library.assets[10:12])

    async def spoil(call: Call) -> web.StreamResponse | None:
        asset_id = call.request.match_info.get("id", "") if call.name == "preview" else ""
        if asset_id in victims:
            return web.Response(body=bodies[victims[asset_id]], content_type="image/jpeg")
        if asset_id == packed:
            return web.Response(
                body=hostile.PACKED_BOMB, content_type="image/jpeg", headers={"Content-Encoding": "gzip"}
            )
        return web.Response(body=bytes(hostile.HUGE), content_type="image/jpeg") if asset_id == large else None

    async with StandIn(library, faults=spoil) as server:
        settings = settings_for(server, tmp_path, immich={"max_picture_bytes": 8 << 20})
        summary = await run_once(settings)
        await server.settle()
        held = held_links(server)
        with LedgerReader(settings.ledger_path) as ledger:
            problems = {problem.asset_id: problem for problem in ledger.problems(100)}
    failed = {victims.get(asset_id, asset_id) for asset_id in problems}
    assert failed - EITHER == bodies.keys() - PICTURES - EITHER | {packed, large}
    assert all(problem.state is State.FAILED and problem.message for problem in problems.values())
    assert problems[packed].kind == problems[large].kind == "too-large"
    assert {asset.id for asset in library.assets} - held.keys() == problems.keys()
    assert all(MARKER in tags and len(tags) > 1 for tags in held.values())
    assert held == ledger_links(settings)
    assert summary.counts.get("restarts", 0) == 0, "no process died of it"


@pytest.mark.parametrize("dialect", ["3.0", "3.2"])
async def test_a_listing_full_of_nonsense_still_lists_what_makes_sense(dialect: str, tmp_path: Path) -> None:
    library = tiny_library(30)
    async with StandIn(library, dialect) as server:

        async def stuff(call: Call) -> web.StreamResponse | None:
            if call.name != "search":
                return None
            visit = Visit(call.request, json.loads(await call.request.read()), server.world.keys[server.api_key])
            answer = await routes.search(server.world, visit)
            assert answer.body is not None
            page = json.loads(answer.text or "")
            if items := page["assets"]["items"]:
                for name, item in zip(hostile.NAMES, items, strict=False):
                    item["originalFileName"] = name
                page["assets"]["items"] = [*hostile.items(items[0]), *items, *items]
            return web.json_response(page)

        server.faults = stuff
        for name in hostile.NAMES:
            server.store.upsert([name])
        log = tmp_path / "log"
        run = await start(server, tmp_path / "state", log, AUTOTAGGER_LOG_LEVEL="DEBUG")
        assert await run.wait() == 1, "it cannot say that all is done"
        await server.settle()
        held = held_links(server)
        assert held.keys() == {asset.id for asset in library.assets}
        assert held == ledger_links(settings_for(server, tmp_path / "state"))
        shown = log.read_text()
        warned = [line for line in shown.splitlines() if " WARNING " in line]
        counted = [line for line in warned if "could not be read and are left out" in line]
        assert len(counted) == 1, shown
        assert shown.splitlines()[-1].startswith("autotagger: ")
        assert "items of the library could not be read" in shown.splitlines()[-1]
        assert not [character for character in shown if not character.isprintable() and character != "\n"]
        assert "Traceback" not in shown
