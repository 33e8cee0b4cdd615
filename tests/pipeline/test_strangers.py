"""Law 14: the marker by other hands. Duplicates that a person resolved, and a second autotagger."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from loguru import logger

from autotagger.demo import StandIn, tiny_library
from autotagger.demo.faults import Call
from autotagger.ledger.reader import LedgerReader
from autotagger.ledger.states import State
from autotagger.pipeline.ipc.messages import Operation
from autotagger.pipeline.run import run_operation
from autotagger.settings import Settings
from tests import forked
from tests.pipeline.support import MARKER, held_links, ledger_links, run_once, settings_for
from tests.pipeline.test_operations import DIALECTS, HIGH, LOW

OTHER = {"rename": {"simple_background": "plain", "rating:general": "safe"}}


@pytest.fixture
def told() -> Iterator[list[str]]:
    lines: list[str] = []
    handler = logger.add(lambda line: lines.append(line.record["message"]), level="INFO")
    yield lines
    logger.remove(handler)


def unlike(server: StandIn, settings: Settings) -> tuple[str, str]:
    """Two assets with different tags of ours."""
    links = ledger_links(settings)
    first = next(iter(links))
    return first, next(asset_id for asset_id, tags in links.items() if tags - links[first])


def state_of(settings: Settings, asset_id: str) -> State:
    with LedgerReader(settings.ledger_path) as ledger:
        return ledger.known(asset_id).state


# -- resolved duplicates --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_picture_that_is_kept_before_it_was_tagged_is_adopted_and_decided(
    dialect: str, tmp_path: Path
) -> None:
    async with StandIn(tiny_library(12), dialect) as server:
        settings = settings_for(server, tmp_path)
        await run_once(settings)
        gone, other = unlike(server, settings)
        kept = server.upload(server.store.rows[other].spec.media)
        server.tag(kept, "holiday")
        await server.settle()
        server.resolve_duplicates(kept, gone)
        await server.settle()
        assert server.links()[kept] >= ledger_links(settings)[gone]

        summary = await run_once(settings)
        await server.settle()
        assert summary.counts["adopted"] == 1
        meant = ledger_links(settings)
        assert server.links()[kept] == meant[kept] | {"holiday"}
        assert meant[kept] == meant[other], "decided as the picture it is"
        assert state_of(settings, kept) is State.VERIFIED
        with LedgerReader(settings.ledger_path) as ledger:
            assert ledger.contested_ms() is None, "no other autotagger is seen in it"

        await run_operation(settings, Operation("undo"))
        await server.settle()
        assert server.links()[kept] == {"holiday"}


@pytest.mark.parametrize("swept", [True, False])
async def test_tags_that_were_copied_onto_a_picture_of_ours_leave_with_undo(swept: bool, tmp_path: Path) -> None:
    async with StandIn(tiny_library(12)) as server:
        settings = settings_for(server, tmp_path)
        await run_once(settings)
        gone, kept = unlike(server, settings)
        server.tag(kept, "holiday")
        await server.settle()
        before = server.links()[kept]
        server.resolve_duplicates(kept, gone)
        await server.settle()
        assert server.links()[kept] > before
        if swept:
            await run_once(settings)
            await server.settle()
            assert server.links()[kept] == before, "decided anew: what was copied left"
        await run_operation(settings, Operation("undo"))
        await server.settle()
        assert server.links()[kept] == {"holiday"}


async def test_tags_that_were_copied_onto_a_picture_of_ours_leave_with_retag(tmp_path: Path) -> None:
    async with StandIn(tiny_library(12)) as server:
        await run_once(settings_for(server, tmp_path, policy=LOW))
        high = settings_for(server, tmp_path, policy=HIGH)
        gone, kept = unlike(server, high)
        server.resolve_duplicates(kept, gone)
        await server.settle()
        await run_operation(high, Operation("retag"))
        await server.settle()
        assert server.links()[kept] == ledger_links(high)[kept]


async def test_what_a_person_adds_to_another_picture_is_not_taken_for_a_copy(tmp_path: Path) -> None:
    async with StandIn(tiny_library(12)) as server:
        settings = settings_for(server, tmp_path)
        await run_once(settings)
        gone, other = unlike(server, settings)
        extra = sorted(ledger_links(settings)[gone] - ledger_links(settings)[other])
        server.tag(gone, "only there")
        server.tag(other, extra[0])
        server.trash(gone)
        await server.settle()
        await run_once(settings)
        await run_operation(settings, Operation("undo"))
        await server.settle()
        assert server.links()[other] == {extra[0]}


# -- another autotagger ---------------------------------------------------------------------------------------


async def test_a_library_that_another_autotagger_has_tagged_is_left_and_told(
    tmp_path: Path, told: list[str]
) -> None:
    async with StandIn(tiny_library(12)) as server:
        await run_once(settings_for(server, tmp_path / "one"))
        await server.settle()
        held = held_links(server)
        settings = settings_for(server, tmp_path / "two", policy=OTHER)
        summary = await run_once(settings)
        assert summary.states[State.VERIFIED] == 0
        assert summary.states[State.SKIPPED] == 12
        assert sum("12 assets hold the marker" in line for line in told) == 1
        assert held_links(server) == held
        told.clear()
        await run_once(settings)
        assert not [line for line in told if "marker" in line], "told once"


async def test_two_at_once_are_noticed_and_nothing_is_called_verified_that_is_not_there(
    tmp_path: Path, told: list[str]
) -> None:
    """The second one's calls come just before those of the first, for some of its assets."""
    async with StandIn(tiny_library(40)) as server:
        between: set[str] = set()

        async def other(call: Call) -> None:
            if call.name == "tag_assets" and call.number in (3, 5):
                ids = json.loads(await call.request.read())["assetIds"]
                untagged = [row.id for row in server.store.rows.values() if not row.tags and row.id not in ids]
                for asset_id in (ids[0], *untagged[:3]):
                    between.add(asset_id)
                    server.tag(asset_id, MARKER, "from elsewhere")

        server.faults = other
        settings = settings_for(server, tmp_path, immich={"batch_size": 5})
        await run_once(settings)
        await server.settle()
        assert between
        assert sum("another autotagger sets the marker" in line for line in told) == 1
        held = server.links()
        for asset_id, tags in ledger_links(settings).items():
            if state_of(settings, asset_id) is State.VERIFIED:
                assert tags <= held[asset_id]
        said = await asyncio.to_thread(
            forked.command,
            "status",
            environ={"AUTOTAGGER_STATE_DIR": str(tmp_path), "AUTOTAGGER_CONFIG": "/dev/null"},
        )
        assert said.out.count("another autotagger sets the marker") == 1

        victim = next(id_ for id_ in ledger_links(settings) if id_ not in between)
        lost = sorted(ledger_links(settings)[victim] - {MARKER})[0]
        server.untag(victim, lost)  # by the other one's retag
        await server.settle()
        found = await run_operation(settings, Operation("verify"))
        assert found.operation
        assert (found.operation["rejected"], found.operation["missing"]) == (0, 1)
        with LedgerReader(settings.ledger_path) as ledger:
            assert list(ledger.rejections()) == []


async def test_two_real_ones_at_the_same_time(tmp_path: Path) -> None:
    """Whichever is slower tells it, in one line; both ledgers say what is true."""
    async with StandIn(tiny_library(60)) as server:
        environ = {
            "AUTOTAGGER_CONFIG": "/dev/null",
            "AUTOTAGGER_MODEL": "palette",
            "AUTOTAGGER_MODEL_DEVICE": "CPU",
            "AUTOTAGGER_SERVICE_LISTEN_PORT": "0",
            "AUTOTAGGER_IMMICH_BATCH_SIZE": "5",
            "IMMICH_BASE_URL": server.url,
            "IMMICH_API_KEY": server.api_key,
        }
        runs = [
            environ
            | {"AUTOTAGGER_STATE_DIR": str(tmp_path / name), "AUTOTAGGER_POLICY_RENAME": json.dumps(rename)}
            for name, rename in (("one", {}), ("two", OTHER["rename"]))
        ]
        ends = await asyncio.gather(
            *(asyncio.to_thread(forked.command, "run", "--once", environ=each) for each in runs)
        )
        await server.settle()
        assert [end.code for end in ends] == [0, 0], [end.err for end in ends]
        held, told = server.links(), 0
        for end, each in zip(ends, runs, strict=True):
            lines = [line for line in end.err.splitlines() if " marker " in line]
            with LedgerReader(Path(each["AUTOTAGGER_STATE_DIR"]) / "ledger.sqlite3") as ledger:
                told += bool(lines)
                assert (ledger.contested_ms() is not None) == any(
                    "another autotagger sets" in one for one in lines
                )
                assert list(ledger.rejections()) == []
                links = dict(ledger.links())
                verified = [id_ for id_ in links if ledger.known(id_).state is State.VERIFIED]
            assert all(links[id_] <= held[id_] for id_ in verified)
        assert told
        assert all(MARKER in tags for tags in held.values())
