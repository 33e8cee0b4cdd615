"""The gate, by a model that is built so that the answer is known: sixteen pixels times a matrix.

A good quantisation keeps its weights to eight bits, a bad one to two. Both are real models that really run.
"""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from autotagger.policy.rules import TagPolicy
from autotagger.quantize.gate import Agreement, Counts, GateResult, agreement, compare
from autotagger.quantize.run import _compare as gate_of
from autotagger.scores import SparseScores
from autotagger.settings import ModelSettings, PolicySettings, Settings
from autotagger.tagger.catalog import find_model
from autotagger.tagger.engine.openvino import open_session
from autotagger.tagger.model import Model

LABELS = 64
PICTURES = 24


def built(folder: Path, weights: NDArray[np.float32]) -> Model:
    """A WD-like model: a label's logit is what its weights (48, LABELS) make of 4 x 4 pixels in -1..1."""
    folder.mkdir()
    constants = {
        "starts": np.array([56, 56]), "ends": np.array([448, 448]), "axes": np.array([1, 2]),
        "steps": np.array([112, 112]), "scale": np.array(1 / 127.5, np.float32), "one": np.array(1.0, np.float32),
        "flat": np.array([-1, 48]), "weights": weights,
    }  # fmt: skip
    nodes = [
        helper.make_node("Slice", ["picture", "starts", "ends", "axes", "steps"], ["few"]),
        helper.make_node("Mul", ["few", "scale"], ["scaled"]),
        helper.make_node("Sub", ["scaled", "one"], ["centred"]),
        helper.make_node("Reshape", ["centred", "flat"], ["row"]),
        helper.make_node("MatMul", ["row", "weights"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["scores"]),
    ]
    make = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "built",
        [make("picture", TensorProto.FLOAT, ["n", 448, 448, 3])],
        [make("scores", TensorProto.FLOAT, ["n", LABELS])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "model.onnx")
    rows = [f"{row},label_{row},{9 if row < 4 else 4 if row % 4 == 0 else 0},1" for row in range(LABELS)]
    (folder / "selected_tags.csv").write_text("\n".join(["tag_id,name,category,count", *rows]) + "\n")
    return find_model(str(folder), folder, download=False)


def rounded(weights: NDArray[np.float32], bits: int) -> NDArray[np.float32]:
    """Each label's weights to whole steps of what `bits` bits can hold, symmetric."""
    step = np.abs(weights).max(axis=0) / (2 ** (bits - 1) - 1)
    kept: NDArray[np.float32] = (np.rint(weights / step) * step).astype(np.float32)
    return kept


def pictures() -> list[tuple[str, bytes]]:
    found = []
    for seed in range(PICTURES):
        pixels = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
        body = io.BytesIO()
        Image.fromarray(pixels).resize((448, 448), Image.Resampling.NEAREST).save(body, "PNG")
        found.append((f"{seed}.png", body.getvalue()))
    return found


def judged(tmp_path: Path, bits: int, speed_up: float = 2.0) -> GateResult:
    weights = np.random.default_rng(0).standard_normal((48, LABELS)).astype(np.float32)
    original, quantised = built(tmp_path / "fp32", weights), built(tmp_path / "int8", rounded(weights, bits))
    policy = TagPolicy(original.labels, PolicySettings(), original.manifest.thresholds, "auto:processed")
    sessions = [open_session(model, device="CPU", streams=1, threads=1) for model in (original, quantised)]
    broken = ("broken.png", b"no picture at all")
    found = compare(policy, sessions[0], sessions[1], original, [*pictures(), broken])
    assert found.pictures == PICTURES
    return GateResult(found, speed_up, 0.97, 1.3)


def test_a_good_quantisation_passes(tmp_path: Path) -> None:
    result = judged(tmp_path, bits=8)
    assert result.passed, result.reasons
    assert 0.97 <= result.agreement.whole.f1 <= 1.0
    assert set(result.agreement.by_category) == {"general", "character", "rating"}


def test_a_bad_quantisation_is_rejected_with_its_worst_pictures(tmp_path: Path) -> None:
    result = judged(tmp_path, bits=2)
    assert not result.passed
    assert result.agreement.whole.f1 < 0.97
    assert "F1" in result.reasons[0]
    assert "--calibrate" in result.advice
    worst = result.agreement.worst
    assert [picture.f1 for picture in worst] == sorted(picture.f1 for picture in worst)
    assert worst[0].extra or worst[0].missing


def test_a_quantisation_that_gains_nothing_is_rejected(tmp_path: Path) -> None:
    result = judged(tmp_path, bits=8, speed_up=1.29)
    assert result.reasons == ("it is 1.29 times as fast, 1.3 is needed",)
    assert "keep the original" in result.advice


def test_f1_is_by_the_book() -> None:
    counts = Counts(both=8, extra=2, missing=8)
    assert (counts.precision, counts.recall) == (0.8, 0.5)
    assert counts.f1 == pytest.approx(2 * 0.8 * 0.5 / (0.8 + 0.5))


def test_tags_are_judged_by_the_thresholds_that_the_model_has_for_single_labels(tmp_path: Path) -> None:
    weights = np.random.default_rng(0).standard_normal((48, LABELS)).astype(np.float32)
    model, twin = built(tmp_path / "fp32", weights), built(tmp_path / "int8", rounded(weights, 2))
    settings = Settings(state_dir=tmp_path, model=ModelSettings(device="CPU"))
    strict = replace(model, thresholds=dict.fromkeys(model.labels, 0.99))

    def tags(of: Model) -> int:
        found = gate_of(settings, of, twin, pictures()).by_category["general"]
        return found.both + found.missing

    assert 0 < tags(strict) < tags(model) / 2


def test_a_sample_without_tags_proves_nothing() -> None:
    nothing = Agreement(10, {}, Counts(0, 0, 0), ())
    assert not GateResult(nothing, 3.0, 0.97, 1.3).passed


def test_agreement_counts_by_category() -> None:
    labels = [("general", "rating"), ("a", "general"), ("b", "general"), ("c", "character")]
    policy = TagPolicy(labels, PolicySettings(), {"general": 0.35, "character": 0.85}, "m")

    def scores(**values: float) -> SparseScores:
        rows = [row for row, (name, _) in enumerate(labels) if name in values]
        return SparseScores(
            np.array(rows, np.uint32), np.array([values[labels[row][0]] for row in rows], np.float32)
        )

    found = agreement(
        policy,
        [
            ("same", scores(general=0.9, a=0.5), scores(general=0.8, a=0.4)),
            ("other", scores(general=0.9, a=0.5, c=0.9), scores(general=0.9, a=0.3, b=0.4, c=0.86)),
        ],
    )
    assert found.by_category == {
        "rating": Counts(2, 0, 0),
        "general": Counts(1, 1, 1),
        "character": Counts(1, 0, 0),
    }
    assert [(one.name, one.extra, one.missing) for one in found.worst] == [("other", ("b",), ("a",))]
