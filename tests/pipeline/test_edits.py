"""A cropped picture gets the tags of what its owner left of it, before its first run and after (law 19)."""

from pathlib import Path

import pytest
from PIL import Image

from autotagger.demo import Library, Media, StandIn, tiny_library
from autotagger.demo.drawing import THEMES, draw
from autotagger.demo.edits import Crop
from autotagger.demo.files import encode
from tests.pipeline.support import held_links, ledger_links, run_once, settings_for

SIDE = 300
LEFT, RIGHT = Crop(0, 0, SIDE, SIDE), Crop(SIDE, 0, SIDE, SIDE)


def as_media(key: str, picture: Image.Image) -> Media:
    return Media(key, "image/png", ".png", *picture.size, original=lambda: encode(picture, "PNG"))


@pytest.mark.parametrize("dialect", ["2.7", "3.0", "4"])
async def test_a_cropped_picture_gets_the_tags_of_what_is_left(dialect: str, tmp_path: Path) -> None:
    left, right = draw(1, (SIDE, SIDE), THEMES[0]), draw(2, (SIDE, SIDE), THEMES[2])
    both = Image.new("RGB", (2 * SIDE, SIDE))
    both.paste(left, (0, 0))
    both.paste(right, (SIDE, 0))
    async with StandIn(Library(tiny_library(1).assets), dialect) as server:
        alone = {name: server.upload(as_media(name, half)) for name, half in (("left", left), ("right", right))}
        cropped, later = (server.upload(as_media(f"both {number}", both)) for number in range(2))
        await server.settle()
        server.edit(cropped, LEFT)
        await server.settle()
        settings = settings_for(server, tmp_path)
        await run_once(settings)
        await server.settle()
        held = held_links(server)
        assert held[alone["left"]] != held[alone["right"]]
        assert held[cropped] == held[alone["left"]]
        assert held[later] != held[alone["right"]]

        server.edit(cropped, RIGHT)
        server.edit(later, RIGHT)
        await server.settle()
        await run_once(settings)
        await server.settle()
        held = held_links(server)
        assert held[cropped] == held[later] == held[alone["right"]], "what no longer holds has left"
        assert held == ledger_links(settings)
