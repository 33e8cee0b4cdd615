"""A proxy in front of Immich that refuses, through a real run: one picture, or all of them."""

from pathlib import Path

import pytest
from aiohttp import web

from autotagger.demo import StandIn, tiny_library
from autotagger.demo.faults import Call
from autotagger.errors import Fatal, ServerRefused
from autotagger.ledger.reader import LedgerReader
from autotagger.ledger.states import State
from tests.pipeline.support import MARKER, held_links, run_once, settings_for


def refusal(status: int) -> web.Response:
    return web.Response(status=status, text="<html>Blocked</html>", content_type="text/html")


@pytest.mark.parametrize("status", [401, 403])
async def test_one_picture_that_a_proxy_refuses_is_that_pictures_failure(status: int, tmp_path: Path) -> None:
    library = tiny_library(12)
    victim = library.assets[7].id

    async def block(call: Call) -> web.StreamResponse | None:
        return refusal(status) if call.name == "preview" and victim in call.request.path else None

    async with StandIn(library, faults=block) as server:
        settings = settings_for(server, tmp_path)
        summary = await run_once(settings)
        assert summary.states[State.FAILED] == 1
        assert sum(MARKER in tags for tags in held_links(server).values()) == 11
        with LedgerReader(settings.ledger_path) as ledger:
            (problem,) = ledger.problems(10)
        assert (problem.asset_id, problem.kind) == (victim, "proxy-refused")
        assert victim in (problem.message or "")
        assert "proxy" in (problem.message or "")


async def test_a_proxy_that_refuses_all_pictures_ends_the_run(tmp_path: Path) -> None:
    async def block(call: Call) -> web.StreamResponse | None:
        return refusal(403) if call.name == "preview" else None

    async with StandIn(tiny_library(30), faults=block) as server:
        with pytest.raises(Fatal, match="by a proxy in front of Immich") as caught:
            await run_once(settings_for(server, tmp_path))
        assert caught.value.exit_code == ServerRefused.exit_code


@pytest.mark.parametrize("name", ["search", "marked"])
async def test_an_endless_listing_ends_a_run_in_one_line(name: str, tmp_path: Path) -> None:
    async with StandIn(tiny_library(3)) as server:

        async def endless(call: Call) -> web.StreamResponse | None:
            if call.name != "search" or (name == "marked" and b"tagIds" not in await call.request.read()):
                return None
            return web.json_response({"assets": {"items": [], "nextPage": "2"}})

        server.tag(server.library.assets[0].id, MARKER)
        await server.settle()
        server.faults = endless
        with pytest.raises(ServerRefused, match="another page to follow") as caught:
            await run_once(settings_for(server, tmp_path))
        assert "\n" not in caught.value.message
