"""Models to measure with: the shape of wd-vit with random weights, a small one, and one that costs nothing.

Made on the spot with the `onnx` package, so that anybody can repeat a measurement without a download. Weights
do not change how long a matrix product takes, so a random ViT-B/16 costs what the real one does: 78 GMAC for a
picture of 448 x 448 (12 blocks of 6.5 GMAC on 784 patches).
"""

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from autotagger.bench.labels import bias, write_labels
from autotagger.errors import StartupFailed

if TYPE_CHECKING:
    import onnx

_OPSET = 17  # the first with LayerNormalization
_IR = 8
_SIDE = 448
#: Raise it when a generated model changes: those on disk are made anew.
_VERSION = 1
#: Of activations, which LayerNormalization keeps near N(0, 1): 255 steps over -4..4.
_ACTIVATION_SCALE = 8.0 / 255.0


@dataclass(frozen=True, slots=True)
class VitShape:
    """A vision transformer. `int8`: with the quantisers that NNCF puts before every matrix product."""

    patch: int
    width: int
    depth: int
    heads: int
    labels: int
    int8: bool = False

    @property
    def tokens(self) -> int:
        return (_SIDE // self.patch) ** 2

    @property
    def gmac(self) -> float:
        """Multiplications of one picture, 1e9."""
        linear = self.tokens * 12 * self.width**2
        attention = 2 * self.tokens**2 * self.width
        ends = self.tokens * 3 * self.patch**2 * self.width + self.width * self.labels
        return (self.depth * (linear + attention) + ends) / 1e9


WD_VIT = VitShape(patch=16, width=768, depth=12, heads=12, labels=10_861)
WD_VIT_INT8 = VitShape(patch=16, width=768, depth=12, heads=12, labels=10_861, int8=True)
TINY = VitShape(patch=56, width=64, depth=2, heads=2, labels=500)
TINY_INT8 = VitShape(patch=56, width=64, depth=2, heads=2, labels=500, int8=True)

#: What `autotagger bench --model` knows beside models of the catalogue and folders.
SHAPES = {"wd-vit": (WD_VIT, TINY), "wd-vit-int8": (WD_VIT_INT8, TINY_INT8)}
INSTANT = "instant"
NAMES = (*SHAPES, INSTANT)


def workload(name: str, folder: Path, *, tiny: bool = False) -> Path:
    """The folder of a workload model (`NAMES`), below `folder`, made unless it is there.

    Raises StartupFailed without the `onnx` package.
    """
    target = folder / f"{name}{'-tiny' if tiny else ''}-{_VERSION}"
    if (target / "selected_tags.csv").exists():
        return target
    if importlib.util.find_spec("onnx") is None:
        raise StartupFailed(
            f"the model {name} is made with the onnx package, which is not installed: pip install 'onnx==1.23.2' "
            "into autotagger's environment (scripts/setup --dev does), or --model with a model of your own",
            kind="no-onnx",
        )
    target.mkdir(parents=True, exist_ok=True)
    if name == INSTANT:
        labels = TINY.labels if tiny else WD_VIT.labels
        model = _instant(labels)
    else:
        shape = SHAPES[name][tiny]
        labels, model = shape.labels, _vit(shape)
    (target / "model.onnx").write_bytes(model.SerializeToString())
    write_labels(target / "selected_tags.csv", labels)  # last: it says that the folder is complete
    return target


class _Graph:
    """Nodes in order, and the constants that they take."""

    def __init__(self) -> None:
        from onnx import helper, numpy_helper

        self._helper, self._numpy_helper = helper, numpy_helper
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.random = np.random.default_rng(1)

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"{kind}_{len(self.nodes)}"
        self.nodes.append(self._helper.make_node(kind, list(inputs), [name], name=f"node_{name}", **attributes))
        return name

    def constant(self, values: NDArray[Any]) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(self._numpy_helper.from_array(values, name))
        return name

    def floats(self, *values: float) -> str:
        return self.constant(np.array(values[0] if len(values) == 1 else values, np.float32))

    def shape(self, *sides: int) -> str:
        return self.constant(np.array(sides, np.int64))

    def weights(self, *shape: int, scale: float = 0.02) -> NDArray[np.float32]:
        return self.random.standard_normal(shape, dtype=np.float32) * np.float32(scale)

    def model(self, output: str, labels: int) -> "onnx.ModelProto":
        from onnx import TensorProto

        make = self._helper.make_tensor_value_info
        self.nodes.append(self._helper.make_node("Identity", [output], ["scores"]))
        graph = self._helper.make_graph(
            self.nodes,
            "workload",
            [make("picture", TensorProto.FLOAT, ["batch_size", _SIDE, _SIDE, 3])],
            [make("scores", TensorProto.FLOAT, ["batch_size", labels])],
            self.constants,
        )
        return self._helper.make_model(
            graph,
            producer_name="autotagger",
            opset_imports=[self._helper.make_opsetid("", _OPSET)],
            ir_version=_IR,
        )


class _Vit(_Graph):
    """The parts of a vision transformer."""

    def __init__(self, shape: VitShape) -> None:
        super().__init__()
        self._of = shape

    def patches(self, picture: str) -> str:
        """(n, tokens, width) from the NHWC bytes 0..255."""
        of = self._of
        planes = self.node("Transpose", picture, perm=[0, 3, 1, 2])
        scaled = self.node("Mul", self.node("Sub", planes, self.floats(127.5)), self.floats(1 / 127.5))
        kernel = self.constant(self.weights(of.width, 3, of.patch, of.patch))
        cut = self.node("Conv", scaled, kernel, strides=[of.patch] * 2, kernel_shape=[of.patch] * 2)
        rows = self.node("Transpose", self.node("Reshape", cut, self.shape(0, of.width, -1)), perm=[0, 2, 1])
        return self.node("Add", rows, self.constant(self.weights(1, of.tokens, of.width)))

    def block(self, x: str) -> str:
        x = self.node("Add", x, self._attention(self._norm(x)))
        inner = self._linear(self._norm(x), self._of.width, 4 * self._of.width)
        return self.node("Add", x, self._linear(self._gelu(inner), 4 * self._of.width, self._of.width))

    def head(self, x: str) -> str:
        of = self._of
        mean = self.node("ReduceMean", self._norm(x), axes=[1], keepdims=0)
        logits = self.node("MatMul", self._norm(mean), self.constant(self.weights(of.width, of.labels)))
        return self.node("Sigmoid", self.node("Add", logits, self.constant(bias(of.labels))))

    def _attention(self, x: str) -> str:
        of = self._of
        deep = of.width // of.heads
        joint = self.node("Reshape", self._linear(x, of.width, 3 * of.width), self.shape(0, -1, 3, of.heads, deep))
        apart = self.node("Transpose", joint, perm=[2, 0, 3, 1, 4])
        query, key, value = (self.node("Gather", apart, self.constant(np.array(i)), axis=0) for i in range(3))
        query = self.node("Mul", query, self.floats(deep**-0.5))
        key = self.node("Transpose", key, perm=[0, 1, 3, 2])
        weights = self.node("Softmax", self.node("MatMul", self._quantised(query), self._quantised(key)), axis=-1)
        mixed = self.node("Transpose", self.node("MatMul", weights, value), perm=[0, 2, 1, 3])
        return self._linear(self.node("Reshape", mixed, self.shape(0, -1, of.width)), of.width, of.width)

    def _linear(self, x: str, wide: int, out: int) -> str:
        product = self.node("MatMul", self._quantised(x), self._matrix(wide, out))
        return self.node("Add", product, self.constant(self.weights(out)))

    def _matrix(self, wide: int, out: int) -> str:
        if not self._of.int8:
            return self.constant(self.weights(wide, out))
        values = self.random.integers(-127, 128, (wide, out), dtype=np.int8)
        scale = np.full(out, 0.02 / 73, np.float32)  # 73: the deviation of even numbers in -127..127
        zero = np.zeros(out, np.int8)
        parts = self.constant(values), self.constant(scale), self.constant(zero)
        return self.node("DequantizeLinear", *parts, axis=1)

    def _quantised(self, x: str) -> str:
        if not self._of.int8:
            return x
        how = self.floats(_ACTIVATION_SCALE), self.constant(np.array(128, np.uint8))
        return self.node("DequantizeLinear", self.node("QuantizeLinear", x, *how), *how)

    def _norm(self, x: str) -> str:
        ones, zeros = np.ones(self._of.width, np.float32), np.zeros(self._of.width, np.float32)
        return self.node("LayerNormalization", x, self.constant(ones), self.constant(zeros), axis=-1, epsilon=1e-6)

    def _gelu(self, x: str) -> str:
        """As PyTorch exports it; OpenVINO makes one operator of the five."""
        share = self.node("Erf", self.node("Div", x, self.floats(2**0.5)))
        return self.node("Mul", self.node("Mul", x, self.node("Add", share, self.floats(1.0))), self.floats(0.5))


def _vit(shape: VitShape) -> "onnx.ModelProto":
    graph = _Vit(shape)
    x = graph.patches("picture")
    for _ in range(shape.depth):
        x = graph.block(x)
    return graph.model(graph.head(x), shape.labels)


def _instant(labels: int) -> "onnx.ModelProto":
    """Scores from sixteen pixels: everything but the model costs what it always does."""
    graph = _Graph()
    ends, steps = graph.shape(_SIDE, _SIDE), graph.shape(112, 112)
    few = graph.node("Slice", "picture", graph.shape(56, 56), ends, graph.shape(1, 2), steps)
    flat = graph.node("Reshape", graph.node("Mul", few, graph.floats(1 / 255)), graph.shape(-1, 48))
    logits = graph.node("MatMul", flat, graph.constant(graph.weights(48, labels, scale=0.15)))
    return graph.model(graph.node("Sigmoid", graph.node("Add", logits, graph.constant(bias(labels)))), labels)
