"""The palette model: what people would say of drawn pictures, in any shape."""

from functools import cache
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from autotagger.demo import palette
from autotagger.tagger.catalog import find_model
from autotagger.tagger.engine.openvino import open_session
from autotagger.tagger.engine.protocol import Session
from autotagger.tagger.manifest import InputSpec
from autotagger.tagger.model import Model
from autotagger.tagger.onnxfile import read_signature
from autotagger.tagger.preprocess import prepare
from tests.tagger.support import encoded, noise

Color = tuple[int, int, int]
SHAPES = [(300, 300), (640, 360), (360, 640), (1200, 150), (31, 500), (1, 1), (448, 447), (1003, 701)]
COLORS: dict[str, Color] = {
    "red": (220, 20, 30),
    "yellow": (240, 220, 30),
    "green": (30, 150, 50),
    "aqua": (40, 220, 210),
    "blue": (20, 40, 200),
    "purple": (190, 40, 200),
}


@cache
def model() -> Model:
    return find_model("palette", Path("unused"), download=False)


@cache
def session() -> Session:
    return open_session(model(), device="CPU", streams=1, threads=1)


def tags(image: Image.Image, spec: InputSpec | None = None, kind: str = "PNG") -> set[str]:
    tensor = prepare(encoded(image, kind), spec or model().manifest.input)
    scores = session().scores(tensor[None])[0]
    return {label.name for label, score in zip(model().labels, scores, strict=True) if score >= 0.35}


def disc(ground: Color, color: Color, size: tuple[int, int] = (600, 400)) -> Image.Image:
    image = Image.new("RGB", size, ground)
    x, y = size[0] // 2, size[1] // 2
    ImageDraw.Draw(image).ellipse((x - 90, y - 90, x + 90, y + 90), fill=color)
    return image


def tinted(color: Color) -> Image.Image:
    """Shades of one colour, from black to it."""
    shades = Image.linear_gradient("L")
    return Image.merge("RGB", [shades.point([value * part // 255 for value in range(256)]) for part in color])


def rainbow() -> Image.Image:
    full = Image.new("L", (256, 256), 255)
    return Image.merge("HSV", [Image.linear_gradient("L"), full, full]).convert("RGB")


def test_the_shipped_folder_is_what_the_module_builds(tmp_path: Path) -> None:
    palette.write(tmp_path)
    palette.write(tmp_path)
    for name in ("model.onnx", "selected_tags.csv"):
        assert (tmp_path / name).read_bytes() == (palette.FOLDER / name).read_bytes(), name
    assert (palette.FOLDER / "model.onnx").stat().st_size < 16_000


def test_it_has_the_wd_contract() -> None:
    signature = read_signature(model().path)
    assert signature.inputs[0].shape == ("batch_size", 448, 448, 3)
    assert [label.name for label in model().labels[:4]] == ["general", "sensitive", "questionable", "explicit"]
    assert {label.category for label in model().labels[:4]} == {"rating"}
    assert len(model().labels) == session().label_count


@pytest.mark.parametrize("size", SHAPES)
@pytest.mark.parametrize("color", COLORS)
def test_one_colour_in_any_shape(color: str, size: tuple[int, int]) -> None:
    said = tags(Image.new("RGB", size, COLORS[color]))
    hues = {tag for tag in said if tag.endswith("_theme") or tag.split("_")[0] in COLORS}
    assert hues == {f"{color}_theme", f"{color}_background"}
    assert {"general", "monochrome", "simple_background"} <= said
    assert not said & {"greyscale", "colorful", "spot_color", "white_background", "black_background"}


@pytest.mark.parametrize("size", SHAPES)
def test_white_grey_and_black_in_any_shape(size: tuple[int, int]) -> None:
    plain = {"general", "greyscale", "monochrome", "simple_background"}
    shape = ({"tall_image"} if size[1] > 3 * size[0] else set()) | (
        {"wide_image"} if size[0] > 3 * size[1] else set()
    )
    assert tags(Image.new("RGB", size, (255, 255, 255))) == plain | {"white_background"}
    assert tags(Image.new("RGB", size, (128, 128, 128))) == plain | shape | {"grey_background"}
    assert tags(Image.new("RGB", size, (0, 0, 0))) == plain | shape | {"black_background", "dark"}


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("size", [(600, 400), (400, 600), (400, 400)])
def test_a_figure_does_not_hide_its_background(kind: str, size: tuple[int, int]) -> None:
    assert {"simple_background", "white_background", "greyscale"} <= tags(
        disc((255, 255, 255), (90, 90, 90), size), kind=kind
    )
    assert {"simple_background", "black_background", "dark"} <= tags(
        disc((0, 0, 0), (90, 90, 90), size), kind=kind
    )
    assert {"simple_background", "blue_background", "blue_theme"} <= tags(
        disc((30, 60, 210), (255, 255, 255), size), kind=kind
    )


def test_shades_and_spots() -> None:
    grey = Image.linear_gradient("L").convert("RGB")
    assert tags(grey) == {"general", "greyscale", "monochrome"}
    ImageDraw.Draw(grey).rectangle((100, 100, 150, 150), fill=COLORS["red"])
    assert "spot_color" in tags(grey)
    assert tags(tinted((90, 120, 255))) >= {"monochrome", "blue_theme"}
    assert "greyscale" not in tags(tinted((90, 120, 255)))
    assert "colorful" in tags(rainbow())
    assert not tags(rainbow()) & {"monochrome", "greyscale", "simple_background", "blue_theme", "red_theme"}
    halves = Image.new("RGB", (400, 400))
    halves.paste((255, 255, 255), (0, 0, 200, 400))
    assert "high_contrast" in tags(halves)


def test_noise_has_no_background_and_no_theme() -> None:
    said = tags(noise(500, 300).resize((500, 300), Image.Resampling.BOX))
    assert not {tag for tag in said if tag.endswith(("_theme", "_background"))}


def test_it_sees_wrong_channel_order() -> None:
    image = Image.new("RGB", (300, 300), COLORS["blue"])
    assert "blue_theme" in tags(image)
    assert "red_theme" in tags(image, InputSpec(channels="RGB"))
    assert "blue_theme" not in tags(image, InputSpec(channels="RGB"))


@pytest.mark.parametrize("scale", [1 / 255, 1 / 127.5])
def test_it_sees_a_wrong_range(scale: float) -> None:
    image = Image.new("RGB", (300, 300), (255, 255, 255))
    assert "white_background" in tags(image)
    assert {"black_background", "dark"} <= tags(image, InputSpec(scale=scale))


def test_it_sees_wrong_padding() -> None:
    strip = Image.new("RGB", (1200, 200), (240, 220, 40))
    assert {"wide_image", "yellow_background"} <= tags(strip)
    black, squashed = tags(strip, InputSpec(color=(0, 0, 0))), tags(strip, InputSpec(pad="none"))
    assert not black & {"wide_image", "yellow_background"}
    assert "wide_image" not in squashed
    at_the_top = Image.new("RGB", (1200, 1200), (255, 255, 255))
    at_the_top.paste(strip, (0, 0))
    assert "wide_image" not in tags(at_the_top)
