"""What a picture may do to the process that decodes it, and what is made of one whose original is no good."""

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from autotagger.demo import StandIn, draw_library, tiny_library
from autotagger.demo.faults import Call
from autotagger.errors import AssetFailed, Retryable, StartupFailed
from autotagger.ledger.reader import LedgerReader
from autotagger.ledger.states import State
from autotagger.memory import limit_growth
from autotagger.pipeline import inferencer
from autotagger.pipeline.child.spec import ChildSpec
from autotagger.pipeline.ipc.channel import Channel
from autotagger.pipeline.ipc.slots import SlotMemory
from autotagger.pipeline.supervisor import entry_points
from autotagger.tagger.preprocess import prepare
from tests.faults import hostile
from tests.forked import FORKED
from tests.pipeline.support import MARKER, held_links, ledger_links, run_once, settings_for

SPINS = hostile.encoded(hostile.drawn(), "JPEG", comment=b"this one spins")
#: One that is found out by decoding it, and one that does not get as far.
ORIGINALS = {"cut short": lambda body: body[: len(body) // 2], "too large": lambda _: bytes(hostile.HUGE)}


@pytest.mark.parametrize("name", ORIGINALS)
async def test_an_original_that_is_no_good_leaves_the_preview(name: str, tmp_path: Path) -> None:
    library = draw_library(45)
    transparent = {asset.id for asset in library.assets if asset.media.transparent}

    async def spoil(call: Call) -> web.StreamResponse | None:
        if call.name != "original":
            return None
        spoilt: Callable[[bytes], bytes] = ORIGINALS[name]
        asset_id = call.request.match_info["id"]
        body = next(asset.media.original() for asset in library.assets if asset.id == asset_id)
        return web.Response(body=spoilt(body), content_type="image/png")

    async with StandIn(library, faults=spoil) as server:
        settings = settings_for(server, tmp_path, immich={"max_picture_bytes": 8 << 20})
        await run_once(settings)
        held = ledger_links(settings)
        with LedgerReader(settings.ledger_path) as ledger:
            problems = {problem.asset_id: problem for problem in ledger.problems(100)}
    png = library.awkward("transparent-png").id
    assert "black background" in held[png], "Immich's preview has nothing behind the figure"
    assert not {asset_id for asset_id in transparent & problems.keys() if problems[asset_id].state is State.FAILED}


async def test_pictures_with_too_much_around_their_pixels_are_tagged(tmp_path: Path) -> None:
    bodies = hostile.spins_and_swells()
    library = tiny_library(len(bodies))
    by_id = {asset.id: body for asset, body in zip(library.assets, bodies.values(), strict=False)}

    async def serve(call: Call) -> web.StreamResponse | None:
        asset_id = call.request.match_info.get("id", "") if call.name == "preview" else ""
        return web.Response(body=by_id[asset_id], content_type="image/png") if asset_id in by_id else None

    async with StandIn(library, faults=serve) as server:
        settings = settings_for(server, tmp_path, immich={"max_picture_bytes": 128 << 20})
        summary = await run_once(settings)
        held = held_links(server)
    assert {asset_id for asset_id, tags in held.items() if MARKER in tags} == by_id.keys()
    assert summary.counts.get("restarts", 0) == 0


def spinning_infer(channel: Channel, spec: ChildSpec, memory: SlotMemory) -> None:
    """An inferencer that never gets done with one picture, while its other threads go on."""

    def spin(body: memoryview, *rest: Any, **options: Any) -> Any:
        while bytes(body) == SPINS:
            pass
        return prepare(body, *rest, **options)

    inferencer.__dict__["prepare"] = spin
    inferencer.inferencer_main(channel, spec, memory)


async def test_a_picture_whose_decoding_never_ends_is_set_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a deadline from outside: the worker's heartbeat goes on, and hang_timeout_s is far away."""
    monkeypatch.setattr(entry_points, "infer", spinning_infer)
    library = tiny_library(12)
    victim = library.assets[3].id

    async def serve(call: Call) -> web.StreamResponse | None:
        is_victim = call.name == "preview" and call.request.match_info["id"] == victim
        return web.Response(body=SPINS, content_type="image/jpeg") if is_victim else None

    async with StandIn(library, faults=serve) as server:
        settings = settings_for(server, tmp_path, pipeline={"picture_timeout_s": 6.0, "hang_timeout_s": 3600.0})
        summary = await run_once(settings)
        held = held_links(server)
        with LedgerReader(settings.ledger_path) as ledger:
            problems = {problem.asset_id: problem for problem in ledger.problems(100)}
    assert problems.keys() == {victim}
    assert (problems[victim].state, problems[victim].kind) == (State.FAILED, "killed-worker")
    assert summary.counts["restarts"] >= 3, "once in company, twice alone"
    assert held.keys() == {asset.id for asset in library.assets} - {victim}


def _in_want(answer: Connection) -> None:
    limit_growth(32 << 20)
    said = []
    for ask in (
        lambda: bytearray(256 << 20),
        lambda: AssetFailed("the asset did it"),
        lambda: _blame(AssetFailed),
        lambda: _blame(Retryable),
        lambda: _blame(StartupFailed),
    ):
        try:
            said.append(type(ask()).__name__)
        except MemoryError:
            said.append("no more memory")
    answer.send(said)


def _blame(kind: type[AssetFailed | Retryable | StartupFailed]) -> Exception:
    """Say whose fault something is when there is nothing left."""
    held = []
    try:
        for size in (1 << 20, 1 << 18):
            while True:
                held.append(bytearray(size))
    except MemoryError:
        pass
    return kind("it did it")


def test_a_process_without_memory_blames_nobody() -> None:
    ours, theirs = multiprocessing.Pipe(duplex=False)
    process = FORKED.Process(target=_in_want, args=(theirs,))
    process.start()
    said = ours.recv()
    process.join()
    process.close()
    ours.close()
    theirs.close()
    assert said == ["no more memory", "AssetFailed", *["no more memory"] * 3]
