"""Models that refer to their weights in their own file: the same scores, without a copy of the weights."""

import mmap
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from autotagger.memory import give_back, give_back_code
from autotagger.tagger.catalog import find_model
from autotagger.tagger.engine import openvino as session_module
from autotagger.tagger.engine.openvino import open_session
from autotagger.tagger.model import Model
from autotagger.tagger.weights import MIN_BYTES, without_weights
from tests.tagger.support import model_folder, tiny_model

#: Added to every pixel: 2.4 MB.
BIAS = np.random.default_rng(3).random((1, 448, 448, 3), dtype=np.float32)
PICTURE = np.random.default_rng(5).random((1, 448, 448, 3), dtype=np.float32)
SCORES = 1 / (1 + np.exp(-(PICTURE + BIAS).mean(axis=(1, 2))))


def biased(folder: Path, bias: NDArray[np.float32] = BIAS, **saved: Any) -> Model:
    """The tiny model with a constant that is added to the picture first."""
    model_folder(folder)
    model = tiny_model()
    model.graph.node[0].input[0] = "biased"
    model.graph.node.insert(0, helper.make_node("Add", ["picture", "bias"], ["biased"]))
    model.graph.initializer.append(numpy_helper.from_array(bias, "bias"))
    onnx.save_model(model, folder / "model.onnx", **saved)
    return find_model(str(folder), folder, download=False)


def resident(file: Path, access: str = "") -> int | None:
    """KB of a mapped file (or folder of files) that are in memory; None when it is not mapped."""
    lines = Path("/proc/self/smaps").read_text().splitlines()
    mapped = [number for number, line in enumerate(lines) if f" {file}" in line and access in line]
    sizes = [next(line for line in lines[number:] if line.startswith("Rss:")) for number in mapped]
    return sum(int(size.split()[1]) for size in sizes) if sizes else None


def test_the_weights_stay_in_the_file(tmp_path: Path) -> None:
    model = biased(tmp_path)
    session = open_session(model, device="CPU")
    assert np.allclose(session.scores(PICTURE), SCORES, atol=1e-5)
    assert resident(model.path) is not None


def test_a_model_that_is_a_link_to_a_file_elsewhere(tmp_path: Path) -> None:
    model = biased(tmp_path / "model")
    blob = model.path.rename(tmp_path / "m\u00f6del \u7d75")
    model.path.symlink_to(blob)
    session = open_session(model, device="CPU")
    assert np.allclose(session.scores(PICTURE), SCORES, atol=1e-5)
    assert resident(blob) is not None


def test_the_graph_without_weights_is_the_model_itself(tmp_path: Path) -> None:
    path = biased(tmp_path).path
    graph = without_weights(path)
    assert graph is not None
    assert len(graph) < 2_000
    without = onnx.load_model_from_string(graph)
    onnx.load_external_data_for_model(without, str(tmp_path))
    whole = onnx.load(path)
    assert numpy_helper.to_array(without.graph.initializer[0]).tobytes() == BIAS.tobytes()
    for model in (without, whole):
        del model.graph.initializer[:]
    assert without == whole


def test_models_that_have_nothing_to_refer_to(tmp_path: Path) -> None:
    few = np.ones((1, 1, 1, MIN_BYTES // 4 - 1), np.float32)
    assert without_weights(biased(tmp_path / "small", few).path) is None
    beside = biased(tmp_path / "beside", save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert without_weights(beside.path) is None
    assert np.allclose(open_session(beside, device="CPU").scores(PICTURE), SCORES, atol=1e-5)


def test_where_references_do_not_work_the_model_is_loaded_as_a_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = biased(tmp_path)
    monkeypatch.setattr(session_module, "without_weights", lambda path: b"no model")
    assert np.allclose(open_session(model, device="CPU").scores(PICTURE), SCORES, atol=1e-5)
    assert resident(model.path) is None


def test_pages_that_were_given_back_are_read_again(tmp_path: Path) -> None:
    path = tmp_path / "a file"
    path.write_bytes(bytes(range(256)) * 4096)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, mmap.MAP_PRIVATE, mmap.PROT_READ) as mapped:
        before = bytes(mapped)
        assert resident(path) == len(before) // 1024
        give_back(path)
        assert resident(path) == 0
        assert bytes(mapped) == before
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        give_back(path)
        assert bytes(mapped) == before


def test_code_that_was_given_back_is_there_when_it_is_called(tmp_path: Path) -> None:
    libraries = Path(onnxruntime.__file__).resolve().parent
    session = open_session(biased(tmp_path), device="CPU")
    called = resident(libraries, "r-xp") or 0
    give_back_code(libraries)
    assert (resident(libraries, "r-xp") or 0) < called // 2  # the session's threads call some of it on their own
    assert np.allclose(session.scores(PICTURE), SCORES, atol=1e-5)
