"""Every model of the catalogue, held against its contract as written down here, independently of its manifest.

A tiny ONNX model built to the contract scores what it sees: red, green and blue at two points of the tensor,
brought back to 0..1 by the contract's own range. The labels say what their scores should be, so a swapped
channel, a wrong range, layout, padding, output or activation, or labels shifted by a row, all show.
"""

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from autotagger.errors import AutotaggerError
from autotagger.tagger.catalog import catalogue, find_model
from autotagger.tagger.engine.openvino import open_session
from autotagger.tagger.manifest import Manifest
from autotagger.tagger.preprocess import prepare
from tests.tagger.support import encoded

BAND, BODY, WHITE = (10, 60, 250), (200, 100, 50), (255, 255, 255)
COLOURS, POINTS = ("red", "green", "blue"), ("middle", "above")
NAMES = [f"{colour}_{point}" for point in POINTS for colour in COLOURS]
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@dataclass(frozen=True)
class Contract:
    """`above`: what stands a tenth from the top of the square, where a 3:2 picture is padded."""

    size: int = 448
    layout: str = "NHWC"
    channels: str = "BGR"
    full: float = 255.0  # what a byte of 255 becomes, before mean and std
    norm: tuple[tuple[float, ...], tuple[float, ...]] = ((0.0,) * 3, (1.0,) * 3)
    above: tuple[int, int, int] = WHITE
    logits: bool = False
    outputs: tuple[str, ...] = ("scores",)
    scores: str = "scores"
    labels: str = "csv"
    categories: tuple[str, str] = ("9", "4")  # of the first label and of the others
    stages: tuple[dict[str, object], ...] = ()


TIMM = Contract(
    layout="NCHW", channels="RGB", full=1.0, norm=IMAGENET,
    outputs=("embedding", "logits", "prediction"), scores="prediction",
    stages=(
        {"type": "pad_to_size", "size": [512, 512], "background_color": "white", "interpolation": "bilinear"},
        {"type": "resize", "size": 448, "interpolation": "bicubic", "max_size": None, "antialias": True},
        {"type": "center_crop", "size": [448, 448]},
        {"type": "maybe_to_tensor"},
        {"type": "normalize", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
    ),
)  # fmt: skip
SMALL = tuple(
    stage | {"size": 384 if stage["type"] == "resize" else [384, 384]}
    if stage["type"] in ("resize", "center_crop")
    else stage
    for stage in TIMM.stages
)
CONTRACTS = {
    **dict.fromkeys([name for name in catalogue() if name.startswith("wd-") or name == "palette"], Contract()),
    "deepdanbooru-v3-20211112": Contract(
        512, channels="RGB", full=1.0, above=BAND, labels="lines", categories=("rating:", "")
    ),
    "pixai-tagger-v0.9": replace(
        TIMM, norm=HALF, above=BODY, labels="pixai", categories=("0", "4"), stages=(
            {"type": "convert_rgb"},
            {"type": "resize", "size": [448, 448], "interpolation": "bilinear"},
            {"type": "to_tensor"},
            {"type": "normalize", "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
        ),
    ),
    "camie-tagger-v2": Contract(
        512, "NCHW", "RGB", 1.0, IMAGENET, (124, 116, 104), logits=True,
        outputs=("initial_predictions", "refined_predictions", "selected_candidates"),
        scores="refined_predictions", labels="camie", categories=("rating", "year"),
    ),
    "cl-tagger-1.02": Contract(
        448, "NCHW", "BGR", 1.0, HALF, logits=True, labels="tag-mapping", categories=("Rating", "Quality")
    ),
    "joytag": Contract(448, "NCHW", "RGB", 1.0, CLIP, logits=True, labels="lines", categories=("", "")),
    "caformer_b36.dbv4-full": replace(TIMM, size=384, stages=SMALL),
    "swinv2_base_window8_256.dbv4-full": TIMM,
    "eva02_large_patch14_448.dbv4-full": TIMM,
}  # fmt: skip
DIFFERENT = ["wd-vit-tagger-v3", *(name for name in CONTRACTS if not name.startswith(("wd-", "palette")))]


def test_every_model_of_the_catalogue_has_a_contract_here() -> None:
    assert set(CONTRACTS) == set(catalogue())


@pytest.mark.parametrize("name", catalogue())
def test_a_category_without_a_default_threshold_would_stop_the_policy(name: str) -> None:
    manifest = catalogue()[name]
    assert set(manifest.labels.categories.values()) - {"rating"} <= set(manifest.thresholds)
    assert manifest.license
    assert manifest.label_count


@pytest.mark.parametrize("name", CONTRACTS)
def test_the_contract_is_met(name: str, tmp_path: Path) -> None:
    contract = CONTRACTS[name]
    folder = model_folder(tmp_path, contract, catalogue()[name])
    scores = scores_by_name(folder)
    assert scores == pytest.approx(expected(contract), abs=0.01)


Part = dict[str, Any]


def flipped(section: str, field: str, *values: object) -> Callable[[Part], None]:
    """One field of a manifest changed to the first of `values` that it does not have."""

    def change(document: Part) -> None:
        part = document[section]
        part[field] = next(value for value in values if value != part.get(field))

    return change


def other_padding(document: Part) -> None:
    padded = document["input"]["pad"] == "center" and not squashed(document["input"]["stages"])
    document["input"] |= {"stages": (), "order": "pad-first", "pad": "none" if padded else "center"}
    document["input"] |= {"pad_color": None}


def squashed(stages: Sequence[Part]) -> bool:
    return bool(stages) and not any(stage["type"] == "pad_to_size" for stage in stages)


def other_output(document: Part) -> None:
    right = document["output"]
    document["output"] = {**right, "name": None, "index": 0 if right["name"] or right["index"] else 1}


MISTAKES: dict[str, Callable[[Part], None]] = {
    "channels": flipped("input", "channels", "RGB", "BGR"),
    "range": flipped("input", "scale", 1.0, 1 / 255),
    "mean": flipped("input", "mean", (40.0, 40.0, 40.0)),
    "std": flipped("input", "std", (0.7, 0.7, 0.7)),
    "layout": flipped("input", "layout", "NHWC", "NCHW"),
    "size": flipped("input", "size", 224),
    "activation": flipped("output", "activation", "sigmoid", "none"),
    "padding": other_padding,
    "output": other_output,
}


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.parametrize("name", DIFFERENT)
def test_any_mistake_in_a_manifest_would_show(name: str, mistake: str, tmp_path: Path) -> None:
    contract = CONTRACTS[name]
    folder = model_folder(tmp_path, contract, catalogue()[name])
    resolved = find_model(str(folder), tmp_path, download=False).manifest
    document = resolved.model_dump() | {"preprocess": None}
    MISTAKES[mistake](document)
    try:
        scores = scores_by_name(folder, Manifest.model_validate(document))
    except AutotaggerError:
        return  # refused before the first picture
    assert scores != pytest.approx(expected(contract), abs=0.01)


@pytest.mark.parametrize("name", DIFFERENT)
def test_labels_shifted_by_a_row_would_show(name: str, tmp_path: Path) -> None:
    contract = CONTRACTS[name]
    folder = model_folder(tmp_path, contract, catalogue()[name], NAMES[1:] + NAMES[:1])
    assert scores_by_name(folder) != pytest.approx(expected(contract), abs=0.01)


def expected(contract: Contract) -> dict[str, float]:
    values = [channel / 255 for colour in (BODY, contract.above) for channel in colour]
    return dict(zip(NAMES, values, strict=True))


def picture() -> bytes:
    """3:2, of one colour but for a band along the upper edge, thinner than what is looked at."""
    image = Image.new("RGB", (300, 200), BODY)
    image.paste(BAND, (0, 0, 300, 8))
    return encoded(image)


def scores_by_name(folder: Path, manifest: Manifest | None = None) -> dict[str, float]:
    if manifest is not None:
        (folder / "manifest.toml").write_text(as_toml(manifest.model_dump(exclude_none=True)))
    model = find_model(str(folder), folder, download=False)
    tensor = prepare(picture(), model.manifest.input)
    scores = open_session(model, device="CPU", streams=1, threads=1).scores(tensor[np.newaxis])[0]
    return {label.name: float(score) for label, score in zip(model.labels, scores, strict=True)}


def as_toml(document: dict[str, object]) -> str:
    """TOML of a manifest: JSON's numbers, strings and lists are TOML's too."""
    flat = {name: value for name, value in document.items() if not isinstance(value, dict)}
    lines = [f"{name} = {json.dumps(value)}" for name, value in flat.items()]
    for name, table in document.items():
        if isinstance(table, dict):
            lines += [f"[{name}]", *(f"{json.dumps(key)} = {inline(value)}" for key, value in table.items())]
    return "\n".join(lines)


def inline(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {inline(part)}" for key, part in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(inline(part) for part in value) + "]"
    return json.dumps(value)


def model_folder(folder: Path, contract: Contract, manifest: Manifest, names: list[str] = NAMES) -> Path:
    document = manifest.model_dump(exclude_none=True, exclude={"source"})
    (folder / "manifest.toml").write_text(as_toml(document))
    (folder / manifest.model).write_bytes(onnx_model(contract))
    (folder / manifest.labels.file).write_text(LABEL_FILES[contract.labels](names, contract.categories))
    if manifest.preprocess:
        (folder / manifest.preprocess).write_text(json.dumps({"test": contract.stages}))
    return folder


def onnx_model(contract: Contract) -> bytes:
    """The middle, and the middle a tenth from the top, as RGB 0..1 (or logits of it): six scores."""
    side = [contract.size, contract.size]
    shape: list[str | int | None] = ["n", *side, 3] if contract.layout == "NHWC" else ["n", 3, *side]
    rows_axis = 1 if contract.layout == "NHWC" else 2
    order = [2, 1, 0] if contract.channels == "BGR" else [0, 1, 2]
    constants: dict[str, NDArray[Any]] = {
        "order": np.array(order, np.int64),
        "mean": np.array(contract.norm[0], np.float32),
        "std": np.array(contract.norm[1], np.float32),
        "full": np.array(contract.full, np.float32),
        "least": np.array(1e-5, np.float32),
        "most": np.array(1 - 1e-5, np.float32),
        "one": np.array(1.0, np.float32),
        "column": np.array(contract.size // 2, np.int64),
    }
    nodes = []
    for point, row in zip(POINTS, (contract.size // 2, contract.size // 10), strict=True):
        constants[f"row_{point}"] = np.array(row, np.int64)
        nodes += [
            helper.make_node("Gather", ["picture", f"row_{point}"], [f"line_{point}"], axis=rows_axis),
            helper.make_node("Gather", [f"line_{point}", "column"], [f"seen_{point}"], axis=rows_axis),
            helper.make_node("Mul", [f"seen_{point}", "std"], [f"wide_{point}"]),
            helper.make_node("Add", [f"wide_{point}", "mean"], [f"raw_{point}"]),
            helper.make_node("Div", [f"raw_{point}", "full"], [f"share_{point}"]),
            helper.make_node("Gather", [f"share_{point}", "order"], [f"rgb_{point}"], axis=1),
        ]
    nodes += [
        helper.make_node("Concat", [f"rgb_{point}" for point in POINTS], ["seen"], axis=1),
        helper.make_node("Clip", ["seen", "least", "most"], ["shares"]),
    ]
    if contract.logits:
        nodes += [
            helper.make_node("Sub", ["one", "shares"], ["rest"]),
            helper.make_node("Div", ["shares", "rest"], ["odds"]),
            helper.make_node("Log", ["odds"], [contract.scores]),
        ]
    else:
        nodes.append(helper.make_node("Identity", ["shares"], [contract.scores]))
    nodes += [
        helper.make_node("Mul", ["shares", "least"], [output])
        for output in contract.outputs
        if output != contract.scores
    ]
    graph = helper.make_graph(
        nodes,
        "contract",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 6]) for name in contract.outputs],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return bytes(model.SerializeToString())


def wd_csv(names: list[str], categories: tuple[str, str]) -> str:
    rows = [f"{row},{name},{categories[row > 0]},7" for row, name in enumerate(names)]
    return "\n".join(["tag_id,name,category,count", *rows, ""])


def pixai_csv(names: list[str], categories: tuple[str, str]) -> str:
    series = ["[]", *['"[""saga""]"'] * (len(names) - 1)]
    rows = [f"{row},{row},{name},{categories[row > 0]},7,{series[row]},0.4" for row, name in enumerate(names)]
    return "\n".join(["id,tag_id,name,category,count,ips,best_threshold", *rows, ""])


def plain_lines(names: list[str], categories: tuple[str, str]) -> str:
    return "".join(f"{categories[row > 0]}{name}\n" for row, name in enumerate(names))


def shuffled(entries: dict[str, object]) -> dict[str, object]:
    """The order in the file says nothing, the numbers do."""
    items = list(entries.items())
    random.Random(4).shuffle(items)
    return dict(items)


def tag_mapping(names: list[str], categories: tuple[str, str]) -> str:
    return json.dumps(
        shuffled({str(row): {"tag": name, "category": categories[row > 0]} for row, name in enumerate(names)})
    )


def camie_metadata(names: list[str], categories: tuple[str, str]) -> str:
    theirs = ["rating_" + names[0], *names[1:]]
    mapping = {
        "idx_to_tag": shuffled({str(row): name for row, name in enumerate(theirs)}),
        "tag_to_category": shuffled({name: categories[row > 0] for row, name in enumerate(theirs)}),
    }
    return json.dumps({"model_info": {"img_size": 512}, "dataset_info": {"tag_mapping": mapping}})


LABEL_FILES = {
    "csv": wd_csv,
    "pixai": pixai_csv,
    "lines": plain_lines,
    "tag-mapping": tag_mapping,
    "camie": camie_metadata,
}
