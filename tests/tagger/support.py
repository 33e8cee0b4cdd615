"""Tiny ONNX models, model folders and pictures for the tests of the tagger."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper
from PIL import Image, ImageOps

WD_CSV = "tag_id,name,category,count\n1,general,9,5\n2,long_hair,0,5\n3,hatsune_miku,4,5\n"


def tiny_model(
    shape: Sequence[int | str | None] = ("batch", 448, 448, 3),
    *,
    opset: int = 13,
    ir_version: int = 8,
    kind: int = TensorProto.FLOAT,
    last: str = "Sigmoid",
    extra_input: bool = False,
    output: str = "scores",
) -> onnx.ModelProto:
    """A model that scores the mean of each channel, through the operator `last`."""
    axes = [1, 2] if shape[-1] == 3 else [2, 3]
    inputs = [helper.make_tensor_value_info("picture", kind, shape)]
    if extra_input:
        inputs.append(helper.make_tensor_value_info("other", kind, shape))
    first = helper.make_node("Add", ["picture", "other"], ["sum"]) if extra_input else None
    mean = helper.make_node("ReduceMean", ["sum" if extra_input else "picture"], ["mean"], axes=axes, keepdims=0)
    nodes = [node for node in (first, mean, helper.make_node(last, ["mean"], [output])) if node]
    outputs = [helper.make_tensor_value_info(output, kind, [shape[0], 3])]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version)


def model_folder(folder: Path, manifest: str | None = 'name = "tiny"', csv: str = WD_CSV, **model: Any) -> Path:
    """Write a model folder as a user would have it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(tiny_model(**model).SerializeToString())
    (folder / "selected_tags.csv").write_text(csv, encoding="utf-8")
    if manifest is not None:
        (folder / "manifest.toml").write_text(manifest, encoding="utf-8")
    return folder


def noise(width: int, height: int, mode: str = "RGB", seed: int = 0) -> Image.Image:
    """A picture that punishes every sample in the wrong place."""
    bands = len(Image.new(mode, (1, 1)).getbands())
    shape = (height, width, bands) if bands > 1 else (height, width)
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    if mode == "P":
        return Image.fromarray(pixels).quantize(64)
    return Image.frombytes(mode, (width, height), pixels.tobytes())


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    body = io.BytesIO()
    image.save(body, kind, **options)
    return body.getvalue()


def reference(body: bytes) -> NDArray[np.float32]:
    """The WD contract in plain Pillow and numpy, as its authors' demo does it: (448, 448, 3) BGR."""
    picture = ImageOps.exif_transpose(Image.open(io.BytesIO(body)))
    if picture.mode.startswith("I"):
        grey = np.round(np.asarray(picture).astype(np.float64) / 257.0)
        picture = Image.fromarray(grey.astype(np.uint8))
    canvas = Image.new("RGBA", picture.size, (255, 255, 255, 255))
    canvas.alpha_composite(
        picture.convert("RGB").convert("RGBA") if picture.mode == "CMYK" else picture.convert("RGBA")
    )
    side = max(picture.size)
    square = Image.new("RGB", (side, side), (255, 255, 255))
    square.paste(canvas.convert("RGB"), ((side - picture.width) // 2, (side - picture.height) // 2))
    if side != 448:
        square = square.resize((448, 448), Image.Resampling.BICUBIC)
    return np.asarray(square, dtype=np.float32)[:, :, ::-1]
