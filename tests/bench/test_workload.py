"""The models to measure with: their size, that they run as everything else does, and what is said without onnx."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from autotagger.bench.labels import SCORING, TAGGED
from autotagger.bench.pictures import preview_bodies
from autotagger.bench.workload import NAMES, WD_VIT, workload
from autotagger.errors import StartupFailed
from autotagger.tagger.catalog import find_model
from autotagger.tagger.engine.openvino import open_session
from autotagger.tagger.preprocess import prepare


def test_the_shape_is_that_of_wd_vit() -> None:
    assert WD_VIT.tokens == 784
    assert WD_VIT.labels == 10_861
    assert 77 < WD_VIT.gmac < 80


@pytest.mark.parametrize("name", NAMES)
def test_a_workload_scores_like_a_real_model(name: str, tmp_path: Path) -> None:
    model = find_model(str(workload(name, tmp_path, tiny=True)), tmp_path, download=False)
    session = open_session(model, device="CPU", streams=1, threads=1)
    pictures = np.stack([prepare(body, model.manifest.input) for body in preview_bodies(2, tiny=True)])
    scores = session.scores(pictures)
    assert scores.shape == (2, 500)
    assert (np.abs((scores >= 0.05).sum(axis=1) - SCORING) < 30).all()
    assert (np.abs((scores >= 0.35).sum(axis=1) - TAGGED) < 15).all()
    assert not np.array_equal(scores[0], scores[1])


def test_a_workload_is_made_once(tmp_path: Path) -> None:
    first = workload("instant", tmp_path, tiny=True)
    made = (first / "model.onnx").stat().st_mtime_ns
    assert workload("instant", tmp_path, tiny=True) == first
    assert (first / "model.onnx").stat().st_mtime_ns == made


def test_without_onnx_it_is_said_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnx" else found(name))
    with pytest.raises(StartupFailed, match=r"onnx package.*pip install"):
        workload("wd-vit", tmp_path)
    assert not list(tmp_path.iterdir())
