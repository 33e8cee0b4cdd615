"""Client and sweep against the stand-in Immich, over sockets, in all dialects."""

import io
from typing import Any

import pytest
from PIL import Image
from pydantic import SecretStr

from autotagger.demo import StandIn, draw_library, tiny_library
from autotagger.demo.edits import Crop
from autotagger.demo.faults import Call
from autotagger.demo.jobs import METADATA, THUMBNAILS
from autotagger.errors import AssetGone, Retryable, ServerRefused
from autotagger.immich.arrivals import arrived, extracted
from autotagger.immich.client import ImmichClient
from autotagger.immich.dialect import NEEDED, connect, speaks_filter
from autotagger.immich.searches import random_search, totals
from autotagger.immich.sweep import sweep, tagged
from autotagger.immich.types import Dialect, settled
from autotagger.settings import ImmichSettings
from tests.immich.support import Clock

MARKER = "auto:processed"
DIALECTS = pytest.mark.parametrize("dialect", ["2.7", "3.0", "3.2", "4"])


def settings_of(server: StandIn) -> ImmichSettings:
    return ImmichSettings(base_url=server.url)


def client_of(server: StandIn, key: str | None = None) -> ImmichClient:
    clock = Clock()
    return ImmichClient(settings_of(server), SecretStr(key or server.api_key), sleep=clock.sleep, clock=clock)


async def swept(server: StandIn, **how: Any) -> tuple[list[str], list[str]]:
    asked: dict[str, Any] = {"types": ("image", "video"), "visibilities": ("timeline", "archive")} | how
    assets: list[str] = []
    marks: list[str] = []
    async with client_of(server) as client:
        found = await connect(client, settings_of(server))
        async for listed in sweep(client, found, marker=MARKER, **asked):
            assets += [asset.id for asset in listed.assets]
            marks += [asset.id for asset in listed.marked]
    return assets, marks


@DIALECTS
async def test_more_ties_than_a_page_holds_are_listed_completely_and_once(dialect: str) -> None:
    library = tiny_library(1500, ties=1200)
    marks = {asset.id for asset in library.assets[::5]}
    async with StandIn(library, dialect) as server:
        for asset_id in marks:
            server.tag(asset_id, MARKER)
        assets, told = await swept(server)
    assert sorted(assets) == sorted({asset.id for asset in library.assets} - marks)
    assert set(told) == marks


@DIALECTS
async def test_uploads_and_trash_while_listing(dialect: str) -> None:
    library = tiny_library(1500, ties=50)
    trashed = [asset.id for asset in library.assets[-4:]]
    async with StandIn(library, dialect) as server, client_of(server) as client:
        found = await connect(client, settings_of(server))
        told: list[str] = []
        async for listed in sweep(client, found, marker=MARKER, types=("image",), visibilities=("timeline",)):
            told += [asset.id for asset in listed.assets]
            if trashed:
                server.trash(trashed.pop())
                server.upload()
    assert len(told) == len(set(told))
    stayed = {asset.id for asset in library.assets[:-4]}
    assert stayed <= set(told)


@DIALECTS
async def test_only_our_own_and_what_is_asked_for(dialect: str) -> None:
    library = draw_library(60)
    specs = {asset.id: asset for asset in library.assets}
    async with StandIn(library, dialect) as server, client_of(server) as client:
        mine = await client.my_user_id()
        assets, _ = await swept(server)
        images, _ = await swept(server, types=("image",), visibilities=("archive",))
    wanted = {
        spec.id
        for spec in library.assets
        if spec.owner_id == mine and not spec.trashed and spec.visibility in ("timeline", "archive")
    }
    assert sorted(assets) == sorted(wanted)
    assert {specs[one].visibility for one in images} == {"archive"}
    assert {specs[one].media.kind for one in images} == {"IMAGE"}


@DIALECTS
async def test_the_whole_round_of_one_asset(dialect: str) -> None:
    library = tiny_library(3, ties=1)
    asset_id = library.assets[0].id
    async with StandIn(library, dialect) as server, client_of(server) as client:
        found = await connect(client, settings_of(server))
        assert found.dialect is Dialect("3.2" if dialect == "4" else dialect)
        assert (await client.picture(asset_id, "preview")).content_type == "image/jpeg"
        assert (await client.picture(asset_id, "thumbnail")).content_type == "image/webp"
        assert (await client.picture(asset_id, "original")).body
        before = (await client.asset(asset_id)).asset.updated_ms
        tags = await client.upsert_tags([MARKER, "1girl", "long hair", "1girl"])
        answer = await client.tag_assets([asset_id], [tag.id for tag in tags.values()])
        assert answer == 3
        called_ms = tags[MARKER].updated_ms
        await server.settle()
        after = await client.asset(asset_id)
        assert after.tags == {MARKER, "1girl", "long hair"}
        assert settled(before, after.asset.updated_ms, called_ms)
        assert not settled(before, before, called_ms)
        marker_id = tags[MARKER].id
        assert [a.id async for batch in tagged(client, marker_id) for a in batch] == [asset_id]
        later = [b async for b in tagged(client, marker_id, updated_after_ms=after.asset.updated_ms + 60_000)]
        assert later == []
        assert client.calls["tag_assets"] == server.calls["tag_assets"] == 1


@DIALECTS
async def test_every_search_finds_what_it_asks_for(dialect: str) -> None:
    library = draw_library(60)
    async with StandIn(library, dialect) as server, client_of(server) as client:
        visibilities = ("timeline", "archive")
        new = server.upload()
        server.jobs.pause(METADATA)
        unread = server.upload()
        await server.jobs.settle(THUMBNAILS)
        found = await connect(client, settings_of(server))
        after_ms = (await client.asset(new)).asset.created_ms
        pages = arrived(client, found, after_ms=after_ms, types=("image",), visibilities=visibilities)
        assert {asset.id async for page in pages for asset in page.assets} == {new, unread}
        ready = await extracted(client, after_ms=after_ms, visibilities=visibilities)
        assert unread not in ready
        body = random_search(1000, filters=await speaks_filter(client))
        drawn = await client.random(body)
        assert {(asset.kind, asset.visibility, asset.trashed) for asset in drawn} == {("IMAGE", "timeline", False)}
        assert await client.total(totals(body)) == len(drawn)
        told = any("filter" in search for search in (body,))
        assert told is (dialect in ("3.2", "4"))


@DIALECTS
async def test_a_cropped_picture_is_seen_as_its_owner_sees_it(dialect: str) -> None:
    library = draw_library(60)
    asset_id = library.awkward("grey").id
    async with StandIn(library, dialect) as server, client_of(server) as client:
        server.edit(asset_id, Crop(0, 0, 100, 300))
        await server.settle()
        for size in ("preview", "thumbnail", "original"):
            picture = await client.picture(asset_id, size)
            assert Image.open(io.BytesIO(picture.body)).size == (100, 300), size


@DIALECTS
async def test_pictures_are_moved_by_patch_where_there_is_one(dialect: str) -> None:
    library = tiny_library(2)
    asset_id = library.assets[0].id
    for introduced in (True, False):
        methods: list[str] = []

        async def note(call: Call, methods: list[str] = methods) -> None:
            if call.name == "update_assets":
                methods.append(call.request.method)

        async with StandIn(library, dialect, faults=note) as server, client_of(server) as client:
            if introduced:
                await connect(client, settings_of(server))
            await client.set_visibility([asset_id], "archive")
            assert (await client.asset(asset_id)).asset.visibility == "archive"
        assert methods == ["PATCH" if dialect in ("3.2", "4") else "PUT"]


@DIALECTS
async def test_refusals(dialect: str) -> None:
    library = draw_library(60)
    locked = next(asset for asset in library.assets if asset.visibility == "locked")
    async with StandIn(library, dialect) as server:
        async with client_of(server) as client:
            with pytest.raises(AssetGone):
                await client.picture(locked.id, "preview")
            with pytest.raises(AssetGone):
                await client.asset(locked.id)
            motion_part = next(asset for asset in library.assets if asset.visibility == "hidden")
            with pytest.raises(Retryable) as caught:
                await client.picture(motion_part.id, "preview")
            assert caught.value.kind == "preview-missing"
        async with client_of(server, server.add_key(NEEDED)) as client:
            assert (await connect(client, settings_of(server))).user_id is None
            with pytest.raises(ServerRefused, match=r"user\.read"):
                await client.my_user_id()
        async with client_of(server, "wrong") as client:
            with pytest.raises(ServerRefused, match="does not accept the API key"):
                await connect(client, settings_of(server))
