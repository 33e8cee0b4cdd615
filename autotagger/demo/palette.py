"""Builds the model `palette` (tagger/models/palette): danbooru's colour and background tags from pixel statistics.

It has the contract of the WD v3 family (448 x 448, NHWC, BGR, 0..255, sigmoid scores, the same label file) in a
few kilobytes, scores honestly on any picture, and is wrong at once when channel order, range or padding is:
tests prove each. `python -m autotagger.demo.palette` writes the folder anew, byte for byte the same.

How it sees: the picture is averaged in blocks of 4 x 4 pixels. White margins on two opposite sides are taken
for padding and left out. What is left is the content; its outermost `RING` blocks are the background. A
block's chroma is split into two of six hues (orange (255, 128, 0) is half red and half yellow). A score is
the sigmoid of how far a statistic is past the value at which a person would begin to agree; a tag with
several conditions takes the least of them. Ratings cannot be told from colours, so `general` always wins.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from autotagger.tagger.catalog import SHIPPED

FOLDER = SHIPPED["palette"]
SIDE = 448
BLOCK = 4  # pixels; a sixteenth of the work, and no tag here depends on anything smaller
RING = 3  # blocks of background seen from the border, 2.7% of a side
_OPSET, _IR = 13, 8  # old enough for every runtime that reads WD v3

HUES = ("red", "yellow", "green", "aqua", "blue", "purple")
RATINGS = {
    "general": 2.2,
    "sensitive": -2.2,
    "questionable": -3.2,
    "explicit": -3.9,
}  # logits: 0.90 0.10 0.04 0.02

#: tag: danbooru's tag_id and count, as WD v3's label file has them (0: not among its labels).
TAGS = {
    "greyscale": (513837, 432002),
    "monochrome": (1681, 547787),
    "spot_color": (494669, 30882),
    "colorful": (390579, 4564),
    "dark": (506, 12729),
    "high_contrast": (385780, 2580),
    "tall_image": (0, 0),
    "wide_image": (0, 0),
    "simple_background": (412368, 1420030),
    "white_background": (515193, 1161729),
    "black_background": (569748, 58718),
    "grey_background": (632214, 211830),
    "red_background": (593296, 43164),
    "yellow_background": (593298, 45624),
    "green_background": (593297, 31415),
    "aqua_background": (541644, 8137),
    "blue_background": (580545, 88552),
    "purple_background": (643898, 30644),
    "red_theme": (714822, 8839),
    "yellow_theme": (1515362, 5133),
    "green_theme": (1515356, 7364),
    "aqua_theme": (1515352, 2104),
    "blue_theme": (1515358, 23838),
    "purple_theme": (1508967, 8354),
}


class _Graph:
    """ONNX nodes as expressions: every method adds a node and returns the name of its result."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        result = f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [result], **attributes))
        return result

    def constant(self, value: float | int | Sequence[int]) -> str:
        array = np.array(value, np.float32 if isinstance(value, float) else np.int64)
        name = f"c{value}".replace(" ", "")
        self.constants.setdefault(name, numpy_helper.from_array(array, name))
        return name

    def add(self, a: str, b: str | float) -> str:
        return self.node("Add", a, self._name(b))

    def sub(self, a: str | float, b: str | float) -> str:
        return self.node("Sub", self._name(a), self._name(b))

    def mul(self, a: str, b: str | float) -> str:
        return self.node("Mul", a, self._name(b))

    def div(self, a: str, b: str) -> str:
        return self.node("Div", a, b)

    def least(self, *values: str) -> str:
        return self.node("Min", *values)

    def most(self, *values: str) -> str:
        return self.node("Max", *values)

    def past(self, value: str, start: float, steepness: float) -> str:
        """Logit of "`value` is more than `start`"; with a negative `steepness`, less."""
        return self.mul(self.sub(value, start), steepness)

    def is_less(self, a: str, b: float) -> str:
        return self.node("Cast", self.node("Less", a, self.constant(b)), to=TensorProto.FLOAT)

    def total(self, value: str, axes: Sequence[int] = (2, 3)) -> str:
        return self.node("ReduceSum", value, self.constant(axes), keepdims=1)

    def root(self, value: str) -> str:
        return self.node("Sqrt", self.node("Relu", value))

    def _name(self, value: str | float) -> str:
        return value if isinstance(value, str) else self.constant(value)


def build() -> onnx.ModelProto:
    """The model: input `input` (batch_size, 448, 448, 3), output `output` (batch_size, ratings + tags)."""
    graph = _Graph()
    planes = graph.mul(graph.node("Transpose", "input", perm=[0, 3, 1, 2]), 1 / 255)
    pixels, squares = (
        graph.node("AveragePool", value, kernel_shape=[BLOCK] * 2, strides=[BLOCK] * 2)
        for value in (planes, graph.mul(planes, planes))
    )
    logits = _logits(graph, pixels, squares)
    rating = graph.mul(graph.node("ReduceMin", pixels, axes=[1, 2, 3], keepdims=1), 0.0)
    columns = [graph.add(rating, logit) for logit in RATINGS.values()] + [logits[tag] for tag in TAGS]
    joined = graph.node("Concat", *columns, axis=1)
    flat = graph.node("Flatten", joined, axis=1)
    graph.nodes.append(helper.make_node("Sigmoid", [flat], ["output"]))
    whole = helper.make_graph(
        graph.nodes,
        "palette",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch_size", SIDE, SIDE, 3])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch_size", len(columns)])],
        list(graph.constants.values()),
    )
    model = helper.make_model(
        whole, producer_name="autotagger", opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def _logits(graph: _Graph, pixels: str, squares: str) -> dict[str, str]:
    """Of every tag, each of shape (n, 1, 1, 1). `pixels`: mean of each block; `squares`: mean of its squares."""
    low = graph.node("ReduceMin", pixels, axes=[1], keepdims=1)
    content, margins = _content(graph, low)
    area = graph.total(content)
    ring = graph.sub(content, _inside(graph, content, RING))
    high = graph.node("ReduceMax", pixels, axes=[1], keepdims=1)
    chroma = graph.sub(high, low)
    hues = _hues(graph, *_planes(graph, pixels))
    mean = [_mean(graph, hue, content, area) for hue in hues]
    logits = dict(zip(("tall_image", "wide_image"), margins, strict=True))
    logits |= _colors(graph, pixels, chroma, content, area)
    logits |= _light(graph, pixels, high, content, area)
    logits |= _background(graph, pixels, squares, ring)
    for hue, logit in zip(HUES, _dominance(graph, mean, 0.12), strict=True):
        logits[f"{hue}_theme"] = logit
    return logits


def _content(graph: _Graph, low: str) -> tuple[str, tuple[str, str]]:
    """1 where the picture is and 0 on padding; and the logits of tall and wide, from the margins of padding.

    Padding lies on two opposite sides, is equally wide on both, and the content reaches the other two.
    """
    drawn = graph.is_less(low, 0.98)
    hulls, margins, full = [], [], []
    for axis, other in ((2, 3), (3, 2)):
        used = graph.node("ReduceMax", drawn, axes=[other], keepdims=1)
        along = graph.constant(axis)
        ends = [graph.least(graph.node("CumSum", used, along, reverse=way), graph.constant(1.0)) for way in (0, 1)]
        share = [graph.node("ReduceMean", end, axes=[axis], keepdims=1) for end in ends]
        equal = graph.is_less(graph.node("Abs", graph.sub(*share)), 0.02)
        hulls.append(graph.mul(*ends))
        margins.append(graph.mul(graph.sub(1.0, graph.most(*share)), equal))
        full.append(graph.mul(graph.node("ReduceMin", hulls[-1], axes=[axis], keepdims=1), equal))
    above, beside = graph.mul(margins[0], full[1]), graph.mul(margins[1], full[0])
    content = graph.mul(
        *(
            graph.most(hull, graph.is_less(margin, 0.001))
            for hull, margin in zip(hulls, (above, beside), strict=True)
        )
    )
    pure = _inside(graph, content, 1)  # without what the resize has mixed with padding
    some = graph.node("ReduceMax", pure, axes=[2, 3], keepdims=1)
    content = graph.most(pure, graph.mul(content, graph.sub(1.0, some)))
    return content, (graph.past(beside, 0.3, 40.0), graph.past(above, 0.3, 40.0))


def _inside(graph: _Graph, area: str, depth: int) -> str:
    """The blocks of `area` that are more than `depth` blocks away from all others and from the frame."""
    around = graph.node(
        "AveragePool",
        area,
        kernel_shape=[2 * depth + 1] * 2,
        pads=[depth] * 4,
        strides=[1, 1],
        count_include_pad=1,
    )
    return graph.sub(1.0, graph.is_less(around, 0.9999))


def _planes(graph: _Graph, pixels: str) -> tuple[str, str, str]:
    """Red, green, blue: the input is BGR."""
    blue, green, red = (graph.node("Gather", pixels, graph.constant([channel]), axis=1) for channel in (0, 1, 2))
    return red, green, blue


def _hues(graph: _Graph, red: str, green: str, blue: str) -> list[str]:
    """A pixel's chroma in the order of HUES. At most two are not 0, and they add up to the chroma."""

    def above(a: str, b: str) -> str:
        return graph.node("Relu", graph.sub(a, b))

    return [
        above(red, graph.most(green, blue)),
        above(graph.least(red, green), blue),
        above(green, graph.most(red, blue)),
        above(graph.least(green, blue), red),
        above(blue, graph.most(red, green)),
        above(graph.least(red, blue), green),
    ]


def _dominance(graph: _Graph, hues: Sequence[str], start: float) -> list[str]:
    """Logits of "this hue is more than all others together, by more than `start`"."""
    both = graph.node("Sum", *hues)
    return [graph.past(graph.sub(graph.mul(hue, 2.0), both), start, 30.0) for hue in hues]


def _colors(graph: _Graph, pixels: str, chroma: str, content: str, area: str) -> dict[str, str]:
    mean_chroma = _mean(graph, chroma, content, area)
    strong = graph.sub(1.0, graph.is_less(chroma, 0.25))
    share = _mean(graph, strong, content, area)
    rest = _mean(graph, graph.mul(chroma, graph.sub(1.0, strong)), content, area)
    agreement = _agreement(graph, pixels, content)
    greyscale = graph.past(mean_chroma, 0.03, -150.0)
    one_hue = graph.past(agreement, 0.97, 100.0)
    return {
        "greyscale": greyscale,
        "monochrome": graph.most(greyscale, one_hue),
        "spot_color": graph.least(
            graph.past(share, 0.01, 400.0), graph.past(share, 0.15, -60.0), graph.past(rest, 0.03, -150.0)
        ),
        "colorful": graph.least(graph.past(mean_chroma, 0.2, 20.0), graph.past(agreement, 0.6, -20.0)),
    }


def _agreement(graph: _Graph, pixels: str, content: str) -> str:
    """How much the pixels agree in hue: length of the mean colour vector over the mean of the lengths, 0..1."""
    red, green, blue = _planes(graph, pixels)
    u = graph.sub(red, graph.mul(graph.add(green, blue), 0.5))
    v = graph.mul(graph.sub(green, blue), 0.75**0.5)
    sums = [graph.total(graph.mul(part, content)) for part in (u, v)]
    length = graph.root(graph.add(graph.mul(u, u), graph.mul(v, v)))
    together = graph.root(graph.add(graph.mul(sums[0], sums[0]), graph.mul(sums[1], sums[1])))
    return graph.div(together, graph.add(graph.total(graph.mul(length, content)), 1.0))


def _light(graph: _Graph, pixels: str, high: str, content: str, area: str) -> dict[str, str]:
    red, green, blue = _planes(graph, pixels)
    luma = graph.add(graph.add(graph.mul(red, 0.299), graph.mul(green, 0.587)), graph.mul(blue, 0.114))
    apart = graph.sub(luma, _mean(graph, luma, content, area))
    spread = graph.root(_mean(graph, graph.mul(apart, apart), content, area))
    return {
        "dark": graph.past(_mean(graph, high, content, area), 0.28, -25.0),
        "high_contrast": graph.past(spread, 0.38, 40.0),
    }


def _background(graph: _Graph, pixels: str, squares: str, ring: str) -> dict[str, str]:
    area = graph.total(ring)
    mean = _mean(graph, pixels, ring, area)
    # Of the pixels, not of the blocks: noise is no plain background, though it is even on the whole.
    spread = graph.root(graph.sub(_mean(graph, squares, ring, area), graph.mul(mean, mean)))
    plain = graph.past(graph.node("ReduceMax", spread, axes=[1], keepdims=1), 0.06, -80.0)
    low = graph.node("ReduceMin", mean, axes=[1], keepdims=1)
    high = graph.node("ReduceMax", mean, axes=[1], keepdims=1)
    logits = {
        "white_background": graph.past(low, 0.9, 60.0),
        "black_background": graph.past(high, 0.1, -60.0),
        "grey_background": graph.least(
            graph.past(graph.sub(high, low), 0.06, -60.0),
            graph.past(low, 0.18, 40.0),
            graph.past(high, 0.85, -40.0),
        ),
    }
    for hue, logit in zip(HUES, _dominance(graph, _hues(graph, *_planes(graph, mean)), 0.1), strict=True):
        logits[f"{hue}_background"] = logit
    return {"simple_background": plain} | {tag: graph.least(plain, logit) for tag, logit in logits.items()}


def _mean(graph: _Graph, value: str, where: str, area: str) -> str:
    return graph.div(graph.total(graph.mul(value, where)), area)


def labels() -> str:
    """The label file, in WD v3's format."""
    rows = [f"{9999999 - place},{name},9,0" for place, name in enumerate(RATINGS)]
    rows += [f"{tag_id},{name},0,{count}" for name, (tag_id, count) in TAGS.items()]
    return "\n".join(["tag_id,name,category,count", *rows]) + "\n"


def write(folder: Path) -> None:
    """Write `model.onnx` and `selected_tags.csv`; the manifest beside them is written by hand."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(build().SerializeToString(deterministic=True))
    (folder / "selected_tags.csv").write_text(labels(), encoding="utf-8")


if __name__ == "__main__":
    write(FOLDER)
