"""Previews to measure with: JPEGs of 1440 x 960 with some 400 KB, as large as Immich's are of real pictures.

Drawn pictures compress too well to be honest work for a decoder, so these have grain.
"""

import io

import numpy as np
from PIL import Image

from autotagger.demo.drawing import THEMES, draw

SIZE = (1440, 960)
TINY_SIZE = (480, 320)
QUALITY = 80  # Immich's default for previews
#: Deviation of the grain, of 255: brings a preview to about 400 KB.
_GRAIN = 14.0


def preview_bodies(count: int, *, tiny: bool = False, seed: int = 7) -> list[bytes]:
    """`count` different JPEGs, the same ones on every machine."""
    size = TINY_SIZE if tiny else SIZE
    return [_body(seed * 1000 + number, number, size) for number in range(count)]


def _body(seed: int, number: int, size: tuple[int, int]) -> bytes:
    picture = np.asarray(draw(seed, size, THEMES[number % len(THEMES)]).convert("RGB")).astype(np.float32)
    grain = np.random.default_rng(seed).normal(0.0, _GRAIN, picture.shape[:2])[:, :, np.newaxis]
    pixels = np.clip(picture + grain, 0, 255).astype(np.uint8)
    body = io.BytesIO()
    Image.fromarray(pixels).save(body, "JPEG", quality=QUALITY)
    return body.getvalue()
