"""`models check`: what it measures, and the mistakes it sees in a model that opens all the same."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from autotagger.errors import AssetFailed, StartupFailed
from autotagger.tagger import checkup
from autotagger.tagger.catalog import find_model
from autotagger.tagger.checkup import check_model
from autotagger.tagger.engine import openvino
from autotagger.tagger.engine.protocol import Session
from autotagger.tagger.model import Model
from tests.tagger.support import encoded, model_folder, noise, tiny_model

#: Each darker than the one before.
BODIES = [encoded(noise(90, 60).point([value // divisor for value in range(256)] * 3)) for divisor in (1, 2, 3)]


def tiny(folder: Path, **made: Any) -> Model:
    return find_model(str(model_folder(folder, **made)), folder, download=False)


def test_a_good_model(tmp_path: Path) -> None:
    model = find_model("palette", tmp_path, download=False)
    report = check_model(model, BODIES, "CPU")
    assert report.problems == ()
    (device,) = report.devices
    assert (device.device, device.not_numbers, device.difference) == ("CPU", 0, None)
    assert device.lowest is not None
    assert device.highest is not None
    assert 0.0 <= device.lowest < device.highest <= 1.0
    assert min(device.load_s, device.prepare_ms, device.inference_ms) > 0


def test_scores_that_say_nothing(tmp_path: Path) -> None:
    # bytes of 0..255 through a sigmoid: always 1, where the model was made for 0..1
    report = check_model(tiny(tmp_path), BODIES, "CPU")
    assert report.problems == (
        "CPU: every picture gets the same scores: look at scale, mean and std, layout and output",
    )


def test_a_sigmoid_too_many(tmp_path: Path) -> None:
    manifest = 'name = "tiny"\n[input]\nscale = 0.00392\n[output]\nactivation = "sigmoid"'
    report = check_model(tiny(tmp_path, manifest=manifest), BODIES, "CPU")
    assert report.problems == (
        'CPU: no score is below 0.5: they were 0..1 already, [output] activation must be "none"',
    )


def test_a_sigmoid_too_few_that_white_does_not_show(tmp_path: Path) -> None:
    manifest = 'name = "tiny"\n[input]\nscale = 0.00392\nmean = [0.8, 0.8, 0.8]'
    report = check_model(tiny(tmp_path, manifest=manifest, last="Identity"), BODIES, "CPU")
    assert report.problems == (
        'CPU: scores lie outside 0..1: [output] activation = "sigmoid" or another output is missing',
    )


def test_scores_that_are_no_numbers(tmp_path: Path) -> None:
    model = tiny_model(last="Sqrt")  # of a negative number for what is dark
    model.graph.node.append(helper.make_node("Mul", ["scores", "scores"], ["squared"]))
    model.graph.output[0].name = "squared"
    folder = model_folder(tmp_path, manifest='name = "t"\n[input]\nscale = 0.00392\nmean = [0.55, 0.55, 0.55]')
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    report = check_model(find_model(str(folder), folder, download=False), BODIES, "CPU")
    assert report.problems[0] == "CPU: 2 of 3 pictures gave scores that are no numbers"
    assert report.devices[0].not_numbers == 2


def test_a_device_that_does_not_agree_and_one_that_does_not_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No second device here: the real CPU stands in for one that is off by a little."""

    class Off:
        device, label_count = "GPU", 28

        def __init__(self, real: Session) -> None:
            self._real = real

        def scores(self, pictures: Any) -> Any:
            return np.clip(self._real.scores(pictures) + 0.05, 0, 1)

    def open_session(model: Model, *, device: Any, streams: int) -> Any:
        if device == "NPU":
            raise StartupFailed("cannot load the model on NPU")
        real = openvino.open_session(model, device="CPU", streams=streams)
        return real if device == "CPU" else Off(real)

    monkeypatch.setattr(checkup, "found_devices", lambda: {"NPU", "GPU", "CPU"})
    monkeypatch.setattr(checkup, "open_session", open_session)
    report = check_model(find_model("palette", tmp_path, download=False), BODIES)
    assert [device.device for device in report.devices] == ["CPU", "GPU"]
    assert report.devices[1].difference == pytest.approx(0.05)
    assert report.problems == (
        "GPU: scores differ by up to 0.050 from the first device's: do not use it",
        "cannot load the model on NPU",
    )


def test_a_picture_that_is_none_is_a_mistake_of_the_caller(tmp_path: Path) -> None:
    with pytest.raises(AssetFailed):
        check_model(find_model("palette", tmp_path, download=False), [b"?"], "CPU")
