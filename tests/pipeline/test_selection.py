"""Only what is selected is tagged: whole runs against the stand-in, asset by asset."""

import asyncio
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st

from autotagger.config import load_settings
from autotagger.demo import Fate, Library, StandIn, draw_library, tiny_library
from autotagger.demo.library import ME, PARTNER
from autotagger.demo.pictures import AWKWARD
from autotagger.errors import BadConfig, ServerRefused, StartupFailed
from autotagger.immich.client import ImmichClient
from autotagger.ledger.reader import LedgerReader
from autotagger.ledger.rows import Selection
from autotagger.ledger.states import State
from autotagger.pipeline.fetcher.lister import Lister
from autotagger.pipeline.ipc.messages import Listed, Operation
from autotagger.pipeline.run import run_operation
from autotagger.selection.rules import Candidate, Either, Rules
from tests import forked
from tests.pipeline.support import MARKER, held_links, run_once, settings_for
from tests.pipeline.test_crashes import command, progress, spawned

DIALECTS = ("2.7", "3.0", "3.2", "4")


def in_album(server: StandIn, name: str) -> set[str]:
    return {asset.id for asset in server.library.assets if name in asset.albums}


async def tagged_by(server: StandIn, state_dir: Path, **select: Any) -> set[str]:
    """The ids of what holds the marker after a run."""
    await run_once(settings_for(server, state_dir, select=select))
    await server.settle()
    return {asset_id for asset_id, tags in held_links(server).items() if MARKER in tags}


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_an_album_of_the_demo_library_is_tagged_and_nothing_else(dialect: str, tmp_path: Path) -> None:
    async with StandIn(draw_library(20 + len(AWKWARD)), dialect) as server:
        album = in_album(server, "Anime")
        assert 1 < len(album) < 20
        assert await tagged_by(server, tmp_path, albums=["Anime"]) == album
        assert held_links(server).keys() == album
        assert server.calls["preview"] == len(album)


def mixed(assets: int = 24) -> Library:
    """A library where every key of [select] divides the pictures in another way."""
    return replace(
        tiny_library(assets),
        assets=tuple(
            replace(
                asset,
                albums=(("Anime",) if number % 2 else ()) + (("Old",) if number % 5 == 0 else ()),
                people=("Anna",) if number % 3 == 0 else (),
                make="Canon" if number % 4 == 0 else None,
                favorite=number % 2 == 0,
                folder="/mnt/art" if number % 3 else "/mnt/x/Screenshots",
                file_created_ms=asset.file_created_ms + number * 86_400_000,
            )
            for number, asset in enumerate(tiny_library(assets).assets)
        ),
    )


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    ("select", "wanted"),
    [
        ({"exclude_people": ["anna"]}, lambda number: number % 3),
        ({"albums": ["An*"], "exclude_albums": ["Old"]}, lambda number: number % 2 and number % 5),
        ({"albums": ["Anime"], "people": ["Anna"]}, lambda number: number % 2 and not number % 3),
        ({"camera": "skip", "paths": ["/mnt/art/**"]}, lambda number: number % 4 and number % 3),
        ({"exclude_paths": ["**/Screenshots/**"], "favorites_only": True}, lambda n: n % 3 and not n % 2),
        ({"taken": "2015-01-05..2015-01-10"}, lambda number: 4 <= number <= 9),
        ({"albums": ["Anime"], "camera": "only"}, lambda number: False),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
async def test_what_is_listed_as_selected_is_what_fits(
    dialect: str, select: dict[str, Any], wanted: Any, tmp_path: Path
) -> None:
    """The lister alone: every key, against what it says of the numbers."""
    async with StandIn(mixed(), dialect) as server:
        kept, _ = await listed(server, tmp_path, select)
        expected = {asset.id for number, asset in enumerate(server.library.assets) if wanted(number)}
        assert kept == expected


async def listed(server: StandIn, state_dir: Path, select: dict[str, Any]) -> tuple[set[str], set[str]]:
    """What a sweep tells: ids of what is selected, and of what is not."""
    from autotagger.pipeline.accounts import check_accounts

    settings = settings_for(server, state_dir, select=select)
    account = (await check_accounts(settings)).accounts[0]
    kept: set[str] = set()
    others: set[str] = set()

    async def note(part: Listed) -> None:
        kept.update(asset.asset_id for asset in (*part.assets, *part.marked))
        others.update(asset.asset_id for asset in part.unselected)

    async with ImmichClient(settings.immich, account.key) as client:
        server.calls.clear()
        lister = Lister(
            client, account.server, settings, note=note, now_ms=lambda: 1_800_000_000_000, name=account.name
        )
        await lister.sweep(1)
    assert not kept & others
    return kept, others


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_an_album_of_500_in_a_library_of_100_000_is_listed_in_a_handful_of_calls(
    dialect: str, tmp_path: Path
) -> None:
    library = tiny_library(100_000)
    assets = tuple(
        replace(asset, albums=("Anime",)) if number % 200 == 0 else asset
        for number, asset in enumerate(library.assets)
    )
    async with StandIn(replace(library, assets=assets), dialect) as server:
        kept, _ = await listed(server, tmp_path, {"albums": ["Anime"]})
        assert len(kept) == 500
        assert sum(server.calls.values()) <= 13


@pytest.mark.parametrize(
    ("select", "says"),
    [({"albums": ["Anmie"]}, "did you mean Anime?"), ({"exclude_people": ["Ana"]}, "did you mean Anna?")],
)
async def test_an_unknown_name_ends_the_run_before_it_begins(
    select: dict[str, Any], says: str, tmp_path: Path
) -> None:
    async with StandIn(mixed()) as server:
        with pytest.raises(BadConfig) as caught:
            await tagged_by(server, tmp_path, **select)
        assert says in caught.value.message
        assert held_links(server) == {}


async def test_permissions_are_needed_only_where_they_are_used(tmp_path: Path) -> None:
    async with StandIn(mixed(4)) as server:
        server.api_key = server.add_key(["asset.read", "asset.view", "tag.read", "tag.create", "tag.asset"])
        with pytest.raises(ServerRefused, match=r"album\.read"):
            await tagged_by(server, tmp_path, albums=["Anime"])
        with pytest.raises(ServerRefused, match=r"person\.read"):
            await tagged_by(server, tmp_path, exclude_people=["Anna"])
        assert len(await tagged_by(server, tmp_path, favorites_only=True)) == 2


async def test_what_enters_is_tagged_and_what_leaves_keeps_its_tags(tmp_path: Path) -> None:
    async with StandIn(mixed(8)) as server:
        ids = [asset.id for asset in server.library.assets]
        first = in_album(server, "Anime")
        assert await tagged_by(server, tmp_path, albums=["Anime"]) == first
        server.put_into_album(ids[0], "Anime")
        server.take_out_of_album(ids[1], "Anime")
        assert await tagged_by(server, tmp_path, albums=["Anime"]) == {*first, ids[0]}
        with LedgerReader(tmp_path / "ledger.sqlite3") as ledger:
            assert ledger.left_with_tags() == 1
            assert ledger.not_selected() == 8 - len(first)


async def test_a_narrower_selection_leaves_alone_what_was_pending(tmp_path: Path) -> None:
    """A run of everything is cut short; the next one, for an album, fetches nothing of the rest."""
    async with StandIn(mixed(12)) as server:
        server.calls.clear()
        settings = settings_for(server, tmp_path)
        await run_once(settings, limit=2)
        before = {asset_id for asset_id, tags in held_links(server).items() if tags}
        album = in_album(server, "Anime")
        assert await tagged_by(server, tmp_path, albums=["Anime"]) == before | album
        with LedgerReader(tmp_path / "ledger.sqlite3") as ledger:
            counts = ledger.counts()
            assert counts[State.SKIPPED] == 12 - len(before | album)
            assert counts[State.PENDING] == 0
        assert await tagged_by(server, tmp_path) == {asset.id for asset in server.library.assets}


async def test_what_left_is_undone_on_request_and_tagged_again_when_it_is_back(tmp_path: Path) -> None:
    async with StandIn(mixed(8)) as server:
        left = sorted(in_album(server, "Anime"))[0]
        album = await tagged_by(server, tmp_path, albums=["Anime"])
        server.take_out_of_album(left, "Anime")
        assert await tagged_by(server, tmp_path, albums=["Anime"]) == album
        undo = Operation("undo", selection=Selection(unselected=True))
        with pytest.raises(StartupFailed, match="has changed"):
            await run_operation(settings_for(server, tmp_path, select={"albums": ["An*"]}), undo)
        await run_operation(settings_for(server, tmp_path, select={"albums": ["Anime"]}), undo)
        await server.settle()
        assert held_links(server).keys() == album - {left}
        server.put_into_album(left, "Anime")
        assert await tagged_by(server, tmp_path, albums=["Anime"]) == album


STEPS = st.lists(st.tuples(st.sampled_from(["in", "out", "star", "upload"]), st.integers(0, 7)), max_size=5)


@settings_of_hypothesis(max_examples=6, deadline=None)
@given(dialect=st.sampled_from(DIALECTS), rounds=st.lists(STEPS, min_size=1, max_size=2))
def test_whatever_people_do_what_is_tagged_is_what_fits(dialect: str, rounds: list[list[tuple[str, int]]]) -> None:
    """Runs, and between them uploads and moves between albums: tagged is what the predicate held for at a run."""
    asyncio.run(_compared(dialect, rounds))


async def _compared(dialect: str, rounds: list[list[tuple[str, int]]]) -> None:
    select = {"albums": ["Anime"], "exclude_albums": ["Old"], "favorites_only": True}
    with tempfile.TemporaryDirectory() as folder:
        async with StandIn(mixed(8), dialect) as server:
            server.store.album("Anime")
            expected: set[str] = set()
            for steps in ([], *rounds):
                for act, number in steps:
                    _do(server, act, number)
                await server.settle()
                expected |= fitting(server)
                assert await tagged_by(server, Path(folder), **select) == expected


def _do(server: StandIn, act: str, number: int) -> None:
    if act == "upload":
        albums = ("Anime", "Old")[: number % 3]
        server.upload(albums=albums, favorite=number % 2 == 0)
        return
    asset_id = sorted(server.store.rows)[number % len(server.store.rows)]
    if act == "star":
        server.make_favorite(asset_id, number % 3 > 0)
    elif act == "in":
        server.put_into_album(asset_id, "Anime" if number % 2 else "Old")
    else:
        server.take_out_of_album(asset_id, "Anime" if number % 2 else "Old")


def fitting(server: StandIn) -> set[str]:
    """The predicate over the whole library, asked of the stand-in's own database."""
    albums = {name: frozenset({one}) for name, one in server.store.albums_of(ME).items()}
    rules = Rules(
        frozenset({"IMAGE"}),
        frozenset({"timeline"}),
        albums=Either(albums["Anime"], albums["Old"]),
        favorites_only=True,
    )
    return {
        row.id
        for row in server.store.rows.values()
        if not rules.misfit(
            Candidate(row.spec.media.kind, row.visibility, albums=frozenset(row.albums), favorite=row.favorite)
        )
    }


async def test_processes_may_die_and_still_only_the_album_is_tagged(tmp_path: Path) -> None:
    """By the variable of the environment, as people set it; every kind of process is killed once."""
    library = mixed(120)
    async with StandIn(library) as server:
        arguments, environ = command(server, tmp_path / "state")
        run = await asyncio.create_subprocess_exec(
            *arguments,
            env={**environ, "AUTOTAGGER_SELECT_ALBUMS": "Anime", "AUTOTAGGER_SELECT_EXCLUDE_PEOPLE": "Anna"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        for kill in range(3):
            await progress(server, 3 + 10 * kill, run)
            if run.returncode is None and (children := spawned(run.pid)):
                children[kill % len(children)].kill()
        assert run.stdout is not None
        await run.stdout.read()
        assert await run.wait() == 0
        await server.settle()
        wanted = {asset.id for asset in library.assets if "Anime" in asset.albums and not asset.people}
        assert held_links(server).keys() == wanted
        assert server.calls["preview"] < len(wanted) + 40


async def test_each_account_has_a_selection_of_its_own(tmp_path: Path) -> None:
    mine = mixed(6).assets
    theirs = tuple(
        replace(asset, id=f"{asset.id[:-4]}beef", owner_id=PARTNER, content="x") for asset in mixed(6).assets
    )
    async with StandIn(replace(mixed(6), assets=(*mine, *theirs))) as server:
        keys = {"anna": server.api_key, "ben": server.add_key(["all"], PARTNER)}
        config = tmp_path / "config.toml"
        lines = [f'[immich]\nbase_url = "{server.url}"\n[model]\nname = "palette"\ndevice = "CPU"']
        lines += ["[select]\nfavorites_only = true"]
        lines += [f'[[account]]\nname = "{name}"\napi_key = "{key}"' for name, key in keys.items()]
        lines[2] += '\n[account.select]\nalbums = ["Anime"]\nfavorites_only = false'
        config.write_text("\n".join(lines))
        environ = {"AUTOTAGGER_STATE_DIR": str(tmp_path / "state")}
        await run_once(load_settings(config, environ=environ))
        await server.settle()
        wanted = {asset.id for asset in mine if asset.albums and "Anime" in asset.albums}
        wanted |= {asset.id for asset in theirs if asset.favorite}
        assert held_links(server).keys() == wanted


async def test_status_counts_what_is_not_selected(tmp_path: Path) -> None:
    async with StandIn(mixed(8)) as server:
        album = await tagged_by(server, tmp_path, albums=["Anime"])
    environ = {"AUTOTAGGER_STATE_DIR": str(tmp_path), "AUTOTAGGER_CONFIG": "/dev/null"}
    told = json.loads(forked.command("status", "--json", environ=environ).out)
    assert (told["not_selected"], told["verified"]) == (8 - len(album), len(album))


def test_the_demo_library_has_what_selection_asks_for() -> None:
    library = draw_library(60)
    ordinary = [asset for asset in library.assets if not asset.awkward]
    assert {name for asset in ordinary for name in asset.albums} == {"Anime", "Family"}
    assert {name for asset in ordinary for name in asset.people} == {"Anna", "Ben"}
    assert all((asset.make == "Canon") is ("Family" in asset.albums) for asset in ordinary)
    assert any(asset.favorite for asset in ordinary)
    assert library.expected[Fate.GOOD]
