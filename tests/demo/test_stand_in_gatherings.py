"""Albums, people, favourites and cameras of the stand-in: told, and searched for in both ways."""

from typing import Any
from uuid import uuid4

import pytest

from autotagger.demo import draw_library
from tests.demo.support import ALL_DIALECTS, Api, running

FIELDS = {
    "albumIds": lambda ids: {"albumIds": {"all": ids}},
    "personIds": lambda ids: {"personIds": {"all": ids}},
}


async def found(api: Api, dialect: str, flat: dict[str, Any], by_filter: dict[str, Any]) -> set[str]:
    body = {"filter": by_filter} if dialect == "4" else flat
    answer = await api.call("POST", "/api/search/metadata", {"size": 1000, **body})
    assert answer.status == 200, answer.body
    return {item["id"] for item in answer.body["assets"]["items"]}


@pytest.mark.parametrize("dialect", ALL_DIALECTS)
async def test_albums_and_people_are_told_and_searched_for(dialect: str) -> None:
    async with running(draw_library(60), dialect) as (server, api):
        albums = {one["albumName"]: one for one in (await api.call("GET", "/api/albums")).body}
        people = {one["name"]: one["id"] for one in (await api.call("GET", "/api/people")).body["people"]}
        assert albums.keys() == {"Anime", "Family"}
        assert people.keys() == {"Anna", "Ben"}
        assets = server.library.assets
        anime = {asset.id for asset in assets if "Anime" in asset.albums}
        assert albums["Anime"]["assetCount"] == len(anime) > 0
        for field, ids, expected in (
            ("albumIds", [albums["Anime"]["id"]], anime),
            ("albumIds", [albums["Anime"]["id"], albums["Family"]["id"]], set()),
            ("personIds", [people["Ben"]], {asset.id for asset in assets if "Ben" in asset.people}),
            ("albumIds", [str(uuid4())], set()),
        ):
            assert await found(api, dialect, {field: ids}, FIELDS[field](ids)) == expected
        stars = {asset.id for asset in assets if asset.favorite}
        assert stars
        assert await found(api, dialect, {"isFavorite": True}, {"isFavorite": {"eq": True}}) == stars
        cameras = {asset.id for asset in assets if asset.make}
        assert await found(api, dialect, {"make": "Canon"}, {"make": {"eq": "Canon"}}) == cameras


async def test_an_asset_put_into_an_album_is_found_there_at_once() -> None:
    async with running(draw_library(30), "3.0") as (server, api):
        one = server.library.awkward("grey").id
        server.put_into_album(one, "New")
        (new,) = [album for album in (await api.call("GET", "/api/albums")).body if album["albumName"] == "New"]
        assert await found(api, "3.0", {"albumIds": [new["id"]]}, {}) == {one}
        server.take_out_of_album(one, "New")
        assert await found(api, "3.0", {"albumIds": [new["id"]]}, {}) == set()
