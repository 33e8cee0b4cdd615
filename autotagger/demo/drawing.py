"""Pictures drawn from a seed: plain backgrounds, gradients and shapes, so that colour and background tags fit."""

import random
from dataclasses import dataclass

from PIL import Image, ImageDraw

Colour = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Theme:
    """A background (one colour, or two for a vertical gradient) and the colours of the shapes on it."""

    name: str
    background: tuple[Colour, ...]
    shapes: tuple[Colour, ...]


THEMES = (
    Theme("white_background", ((255, 255, 255),), ((220, 60, 60), (60, 90, 220), (40, 160, 90))),
    Theme("black_background", ((0, 0, 0),), ((240, 200, 60), (90, 200, 230), (230, 90, 160))),
    Theme("blue_theme", ((20, 40, 160), (70, 140, 240)), ((30, 60, 200), (120, 180, 255), (10, 20, 90))),
    Theme("red_theme", ((150, 15, 20), (240, 70, 60)), ((200, 20, 30), (255, 120, 110), (90, 5, 10))),
    Theme("green_theme", ((15, 110, 40), (90, 220, 110)), ((30, 160, 60), (150, 240, 160), (5, 70, 20))),
    Theme("yellow_theme", ((240, 210, 40), (255, 240, 130)), ((230, 190, 20), (255, 250, 180), (170, 140, 0))),
    Theme("purple_theme", ((80, 20, 130), (170, 90, 230)), ((120, 40, 190), (210, 150, 255), (50, 5, 90))),
    Theme("greyscale", ((60, 60, 60), (190, 190, 190)), ((30, 30, 30), (140, 140, 140), (230, 230, 230))),
    Theme("monochrome", ((235, 235, 235),), ((20, 20, 20), (90, 90, 90))),
    Theme("dark", ((8, 8, 14), (28, 24, 36)), ((40, 30, 50), (20, 34, 40))),
    Theme("pink_background", ((255, 190, 210),), ((255, 90, 140), (250, 250, 250), (120, 40, 80))),
    Theme("multicolored", ((250, 120, 40), (40, 120, 250)), ((250, 240, 30), (30, 220, 90), (230, 30, 210))),
)


def draw(seed: int, size: tuple[int, int], theme: Theme) -> Image.Image:
    """An RGB picture: the theme's background and a few shapes that leave its edges free."""
    source = random.Random(seed)
    picture = _background(size, theme.background)
    pen = ImageDraw.Draw(picture)
    for _ in range(source.randint(3, 9)):
        _shape(pen, source, size, source.choice(theme.shapes))
    return picture


def draw_cutout(seed: int, size: tuple[int, int], theme: Theme) -> Image.Image:
    """An RGBA picture: the same shapes on full transparency, half of them half transparent."""
    source = random.Random(seed)
    picture = Image.new("RGBA", size, (0, 0, 0, 0))
    pen = ImageDraw.Draw(picture)
    for number in range(6):
        red, green, blue = source.choice(theme.shapes)
        _shape(pen, source, size, (red, green, blue, 255 if number % 2 else 128))
    return picture


def _background(size: tuple[int, int], colours: tuple[Colour, ...]) -> Image.Image:
    if len(colours) == 1:
        return Image.new("RGB", size, colours[0])
    ramp = Image.linear_gradient("L").resize(size, Image.Resampling.BILINEAR)
    return Image.composite(Image.new("RGB", size, colours[1]), Image.new("RGB", size, colours[0]), ramp)


def _shape(
    pen: ImageDraw.ImageDraw, source: random.Random, size: tuple[int, int], colour: tuple[int, ...]
) -> None:
    width, height = size
    left, right = sorted(source.randint(width // 8, max(width // 8, width * 7 // 8)) for _ in range(2))
    top, bottom = sorted(source.randint(height // 8, max(height // 8, height * 7 // 8)) for _ in range(2))
    box = (left, top, right + 1, bottom + 1)
    kind = source.randrange(3)
    if kind == 0:
        pen.rectangle(box, fill=colour)
    elif kind == 1:
        pen.ellipse(box, fill=colour)
    else:
        pen.polygon([(left, bottom), ((left + right) // 2, top), (right, bottom)], fill=colour)
