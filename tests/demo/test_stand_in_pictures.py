"""The drawn library, and the previews, thumbnails and originals that the stand-in makes of it."""

import base64
import io
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image, UnidentifiedImageError

from autotagger.demo import AssetSpec, Fate, draw_library, pictures_from, tiny_library
from autotagger.demo.pictures import AWKWARD
from autotagger.demo.previews import MediaCache
from tests.demo.support import Api, good, running

FULL = draw_library(40)


async def opened(api: Api, asset: AssetSpec, size: str = "preview") -> Image.Image:
    answer = await api.picture(asset.id, size)
    assert answer.status == 200
    picture = Image.open(io.BytesIO(answer.raw))
    picture.load()
    return picture


def test_the_same_seed_draws_the_same_library() -> None:
    again = draw_library(40)
    assert [(a.id, a.file_name, a.file_created_ms) for a in again.assets] == [
        (a.id, a.file_name, a.file_created_ms) for a in FULL.assets
    ]
    for asset in FULL.assets:
        assert asset.media.original() == next(a for a in again.assets if a.id == asset.id).media.original()
    assert {a.id for a in draw_library(40, seed=2).assets}.isdisjoint(a.id for a in FULL.assets)


@pytest.mark.parametrize("pictures", [0, 1, 12, 28, 40, 200])
def test_a_library_has_exactly_the_wanted_size(pictures: int) -> None:
    library = draw_library(pictures)
    assert len(library.assets) == len({asset.id for asset in library.assets}) == pictures
    assert sum(map(len, library.expected.values())) == pictures


def test_every_fate_and_every_awkward_kind_is_there_and_ordinary_pictures_share_times() -> None:
    assert all(FULL.expected[fate] for fate in Fate)
    assert {asset.awkward for asset in FULL.assets} == {kind.name for kind in AWKWARD} | {""}
    times = Counter(asset.file_created_ms for asset in draw_library(100).assets)
    assert max(times.values()) >= 5
    assert FULL.awkward("motion-still").motion_video_id == FULL.awkward("motion-video").id
    with pytest.raises(KeyError):
        draw_library(3).awkward("very-tall")


def test_the_originals_are_what_they_are_called() -> None:
    def original(kind: str) -> Image.Image:
        return Image.open(io.BytesIO(FULL.awkward(kind).media.original()))

    assert original("cmyk").mode == "CMYK"
    assert original("png-16-bit").mode == "I;16"
    assert original("palette-png").mode == "P"
    assert original("grey").mode == "L"
    assert original("very-tall").size == (400, 20_000)
    assert original("one-pixel").size == (1, 1)
    for kind in ("palette-png", "transparent-png", "transparent-webp"):
        assert original(kind).convert("RGBA").getchannel("A").getextrema() == (0, 255), kind
    for kind in ("animated-gif", "animated-webp"):
        assert getattr(original(kind), "n_frames") > 1, kind  # noqa: B009
    rotated = FULL.awkward("exif-rotated").media
    assert original("exif-rotated").size == (rotated.height, rotated.width)
    with pytest.raises(UnidentifiedImageError):
        original("corrupt")


async def test_previews_are_shrunk_by_the_short_side_and_never_enlarged() -> None:
    async with running(FULL) as (_, api):
        sizes = {"one-pixel": (1, 1), "very-tall": (400, 20_000), "exif-rotated": (600, 900), "cmyk": (800, 600)}
        for kind, size in sizes.items():
            picture = await opened(api, FULL.awkward(kind))
            assert (picture.size, picture.format, picture.mode) == (size, "JPEG", "RGB"), kind
        large = next(asset for asset in FULL.assets if (asset.media.width, asset.media.height) == (1700, 2200))
        assert (await opened(api, large)).size == (1440, 1864)
        thumbnail = await opened(api, large, "thumbnail")
        assert (thumbnail.size, thumbnail.format) == ((250, 324), "WEBP")
        assert (await opened(api, FULL.awkward("very-tall"), "thumbnail")).width == 250


async def test_a_rotated_picture_is_shown_upright() -> None:
    rotated = FULL.awkward("exif-rotated")
    async with running(FULL) as (_, api):
        shown = await opened(api, rotated)
    stored = Image.open(io.BytesIO(rotated.media.original()))
    upright = stored.transpose(Image.Transpose.ROTATE_270)
    left, right = (picture.convert("L").resize((6, 9)).tobytes() for picture in (shown, upright))
    assert max(abs(a - b) for a, b in zip(left, right, strict=True)) < 12


async def test_transparency_is_black_in_the_preview_and_kept_in_the_thumbnail() -> None:
    async with running(FULL) as (_, api):
        for kind in ("transparent-png", "transparent-webp", "palette-png"):
            preview = await opened(api, FULL.awkward(kind))
            assert max(preview.getpixel((0, 0))) <= 8, kind  # type: ignore[arg-type]
            thumbnail = await opened(api, FULL.awkward(kind), "thumbnail")
            assert thumbnail.mode == "RGBA", kind
            assert thumbnail.getpixel((0, 0))[3] <= 8, kind  # type: ignore[index]


async def test_16_bit_is_scaled_not_clipped() -> None:
    async with running(FULL) as (_, api):
        shown = (await opened(api, FULL.awkward("png-16-bit"))).convert("L")
    stored = Image.open(io.BytesIO(FULL.awkward("png-16-bit").media.original()))
    for at in ((0, 0), (250, 200), (499, 399)):
        assert abs(shown.getpixel(at) - stored.getpixel(at) / 257) < 12  # type: ignore[operator]


async def test_videos_and_animations_have_a_still_and_a_duration() -> None:
    async with running(FULL) as (_, api):
        video = FULL.awkward("video")
        assert (await opened(api, video)).size == (1280, 720)
        assert (await api.asset(video.id))["type"] == "VIDEO"
        assert (await api.asset(video.id))["duration"] == 7000
        for kind in ("animated-gif", "animated-webp"):
            asset = await api.asset(FULL.awkward(kind).id)
            assert (asset["type"], asset["duration"]) == ("IMAGE", 800)
            assert (await opened(api, FULL.awkward(kind))).format == "JPEG"
        assert (await api.asset(FULL.awkward("cmyk").id))["duration"] is None
    async with running(FULL, "2.7") as (_, api):
        assert (await api.asset(FULL.awkward("video").id))["duration"] == "00:00:07.000"
        assert (await api.asset(FULL.awkward("cmyk").id))["duration"] == "0:00:00.00000"


async def test_no_preview_yet_none_ever_and_half_of_one() -> None:
    async with running(FULL) as (server, api):
        later, *_ = server.library.expected[Fate.WAITING]
        for asset_id in (later, FULL.awkward("corrupt").id, FULL.awkward("motion-video").id):
            for size in ("preview", "thumbnail"):
                answer = await api.picture(asset_id, size)
                assert (answer.status, answer.body) == (404, {"message": "Asset media not found"})
        server.generate_previews()
        await server.settle()
        assert (await api.picture(later)).status == 200
        assert (await api.picture(FULL.awkward("corrupt").id)).status == 404
        half = await api.picture(FULL.awkward("preview-truncated").id)
        assert half.status == 200
        with pytest.raises(OSError, match="truncated"):
            Image.open(io.BytesIO(half.raw)).load()


async def test_a_preview_can_come_after_a_number_of_requests() -> None:
    async with running(FULL, preview_after=3) as (server, api):
        later, *_ = server.library.expected[Fate.WAITING]
        before = (await api.asset(later))["updatedAt"]
        for _ in range(3):
            assert (await api.picture(later)).status == 404
        await server.settle()
        assert (await api.picture(later)).status == 200
        assert (await api.asset(later))["updatedAt"] > before


async def test_who_may_see_what() -> None:
    async with running(FULL) as (server, api):
        expected = server.library.expected
        for fate in (Fate.LOCKED, Fate.STRANGER):
            (asset_id,) = expected[fate]
            preview = await api.picture(asset_id)
            assert (preview.status, preview.body["message"]) == (400, "Not found or no asset.view access")
            read = await api.call("GET", f"/api/assets/{asset_id}")
            assert (read.status, read.body["message"]) == (400, "Not found or no asset.read access")
        (stranger,) = expected[Fate.STRANGER]
        assert (await api.call("GET", f"/api/assets/{stranger}/original")).status == 404
        (locked,) = expected[Fate.LOCKED]
        assert (await api.call("GET", f"/api/assets/{locked}/original")).status == 400
        for fate in (Fate.PARTNER, Fate.TRASHED):
            assert (await api.picture(next(iter(expected[fate])))).status == 200


async def test_originals_ranges_and_conditions() -> None:
    asset = FULL.awkward("transparent-png")
    path = f"/api/assets/{asset.id}/original"
    body = asset.media.original()
    async with running(FULL) as (_, api):
        whole = await api.call("GET", path)
        assert (whole.status, whole.raw, whole.headers["Content-Type"]) == (200, body, "image/png")
        for wanted, part in (("bytes=0-99", body[:100]), ("bytes=50-", body[50:]), ("bytes=-7", body[-7:])):
            answer = await api.call("GET", path, headers={"Range": wanted})
            assert (answer.status, answer.raw) == (206, part)
        assert (await api.call("GET", path, headers={"Range": f"bytes={len(body)}-"})).status == 416
        preview = await api.picture(asset.id)
        again = await api.picture(asset.id, **{"If-None-Match": preview.headers["ETag"]})
        assert (again.status, again.raw) == (304, b"")
        full_size = await api.picture(asset.id, "fullsize")
        assert (full_size.status, full_size.headers["Location"]) == (302, "original?")


async def test_checksums_look_like_sha1_and_differ_though_pictures_are_shared() -> None:
    async with running(tiny_library(20)) as (_, api):
        checksums = {item["checksum"] for item in (await api.search())["items"]}
    assert len(checksums) == 20
    assert {len(base64.b64decode(checksum)) for checksum in checksums} == {20}


async def test_a_folder_of_ones_own_pictures_is_served_and_never_written(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    (folder / "below").mkdir(parents=True)
    Image.new("RGB", (1500, 3000), (200, 30, 30)).save(folder / "red.png")
    Image.new("RGB", (40, 30), (30, 30, 200)).save(folder / "below" / "blue.JPG")
    (folder / "notes.txt").write_text("not a picture")
    (folder / "broken.jpg").write_bytes(b"not a picture either")
    (folder / "cut.png").write_bytes((folder / "red.png").read_bytes()[:60])
    before = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in folder.rglob("*")}
    library = pictures_from(folder)
    by_name = {asset.file_name: asset for asset in library.assets}
    assert set(by_name) == {"red.png", "blue.JPG", "broken.jpg", "cut.png"}
    assert {by_name["red.png"].id, by_name["blue.JPG"].id} <= library.expected[Fate.GOOD]
    assert by_name["broken.jpg"].id in library.expected[Fate.CORRUPT]
    async with running(library) as (server, api):
        assert (await opened(api, by_name["red.png"])).size == (1440, 2880)
        assert (await api.asset(by_name["blue.JPG"].id))["originalMimeType"] == "image/jpeg"
        for name in ("broken.jpg", "cut.png"):
            assert (await api.picture(by_name[name].id)).status == 404
        await api.tag(good(library, 2), (await api.upsert("a")).values())
        await server.settle()
    assert {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in folder.rglob("*")} == before
    with pytest.raises(FileNotFoundError):
        pictures_from(tmp_path / "nowhere")


async def test_rendered_pictures_stay_within_their_limit() -> None:
    cache = MediaCache(limit_bytes=60_000)
    media = [asset.media for asset in draw_library(60).assets if not asset.awkward]
    for each in media:
        assert await cache.get(each, "preview") == await cache.get(each, "preview")
        assert cache.held_bytes <= 70_000
    cache.close()


def test_a_hundred_thousand_tiny_assets_share_a_handful_of_files() -> None:
    library = tiny_library(100_000)
    assert len({asset.id for asset in library.assets}) == 100_000
    assert len({asset.media for asset in library.assets}) < 10


async def test_an_admin_may_choose_webp_previews() -> None:
    async with running(FULL, webp_previews=True) as (_, api):
        asset = FULL.awkward("exif-rotated")
        assert (await api.picture(asset.id)).headers["Content-Type"] == "image/webp"
        picture = await opened(api, asset)
        assert (picture.size, picture.format) == ((600, 900), "WEBP")
