"""Sessions: real (tiny) models through the real OpenVINO provider; broken ones fail at once, with the reason."""

import io
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from autotagger.errors import AssetFailed, StartupFailed
from autotagger.tagger.catalog import find_model
from autotagger.tagger.engine import openvino as session_module
from autotagger.tagger.engine.openvino import open_session
from autotagger.tagger.model import Model
from autotagger.tagger.onnxfile import read_signature
from tests.tagger.support import model_folder, tiny_model


def tiny(folder: Path, **made: Any) -> Model:
    return find_model(str(model_folder(folder, **made)), folder, download=False)


def pictures(count: int = 1) -> Any:
    return np.random.default_rng(5).random((count, 448, 448, 3), dtype=np.float32)


def test_scores_each_picture_as_if_it_were_alone(tmp_path: Path) -> None:
    session = open_session(tiny(tmp_path), device="CPU", streams=1, threads=1)
    batch = pictures(3)
    expected = 1 / (1 + np.exp(-batch.mean(axis=(1, 2))))
    assert np.allclose(session.scores(batch), expected, atol=1e-5)
    assert session.scores(batch[:0]).shape == (0, 3)
    assert (session.device, session.label_count) == ("CPU", 3)


def test_auto_is_the_cpu_where_nothing_else_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ort.capi._pybind_state, "get_available_openvino_device_ids", lambda: ["CPU"])
    assert open_session(tiny(tmp_path)).device == "CPU"


@pytest.mark.skipif(
    any(name.startswith("GPU") for name in ort.capi._pybind_state.get_available_openvino_device_ids()),
    reason="the GPU of this machine works",
)
def test_auto_passes_over_a_gpu_that_does_not_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ort.capi._pybind_state, "get_available_openvino_device_ids", lambda: ["CPU", "GPU.0"])
    model = tiny(tmp_path)
    assert open_session(model).device == "CPU"
    with pytest.raises(StartupFailed, match="on GPU"):
        open_session(model, device="GPU")


@pytest.mark.parametrize("device", ["GPU", "NPU"])
def test_a_device_that_is_not_there(tmp_path: Path, device: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ort.capi._pybind_state, "get_available_openvino_device_ids", lambda: ["CPU"])
    with pytest.raises(StartupFailed, match=f"OpenVINO finds no {device} here, only CPU"):
        open_session(tiny(tmp_path), device=device)


def test_the_traps_are_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}
    real = ort.InferenceSession

    def spy(path: str, options: Any, **rest: Any) -> Any:
        seen.update(rest, fallback=options.get_session_config_entry("session.disable_cpu_ep_fallback"))
        seen["session"] = real(path, options, **rest)
        return seen["session"]

    monkeypatch.setattr(ort, "InferenceSession", spy)
    monkeypatch.setattr(session_module, "allowed_cores", lambda: 2)
    open_session(tiny(tmp_path), device="CPU", streams=2, threads=64)
    assert seen["provider_options"] == [
        {
            "device_type": "CPU",
            "precision": "ACCURACY",
            "num_streams": "2",
            "num_of_threads": "2",
            "load_config": '{"CPU": {"ENABLE_CPU_PINNING": "NO"}}',
        }
    ]
    assert seen["fallback"] == "1"
    assert seen["session"].get_inputs()[0].shape == [1, 448, 448, 3]
    assert seen["session"].get_providers()[0] == "OpenVINOExecutionProvider"


def test_what_openvino_cannot_run_is_an_error_and_not_left_to_another_provider(tmp_path: Path) -> None:
    folder = model_folder(tmp_path)
    model = tiny_model()
    model.graph.node[
        -1
    ].op_type = "Optional"  # valid ONNX at opset 15, which no provider but onnxruntime's own takes
    model.opset_import[0].version = 15
    model.graph.node.append(helper.make_node("OptionalGetElement", ["scores"], ["element"]))
    model.graph.output[0].name = "element"
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(StartupFailed, match="cannot load the model"):
        open_session(find_model(str(folder), tmp_path, download=False), device="CPU")


def test_threads_share_a_session(tmp_path: Path) -> None:
    session = open_session(tiny(tmp_path), device="CPU", streams=2, threads=2)
    batches = [pictures(1) * scale for scale in (0.1, 0.5, 1.0, 2.0)]
    expected = [session.scores(batch) for batch in batches]
    agree: list[bool] = []

    def work(number: int) -> None:
        agree.extend(np.array_equal(session.scores(batches[number]), expected[number]) for _ in range(20))

    workers = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(agree) == 80
    assert all(agree)


@pytest.mark.parametrize("shape", [("N", 448, 448, 3), (1, 448, 448, 3), (None, 448, 448, 3), ("N", "h", "w", 3)])
def test_batch_dimensions_that_work(tmp_path: Path, shape: tuple[Any, ...]) -> None:
    assert open_session(tiny(tmp_path, shape=shape), device="CPU").scores(pictures(2)).shape == (2, 3)


def test_another_contract(tmp_path: Path) -> None:
    manifest = 'name = "other"\n[input]\nsize = 64\nlayout = "NCHW"\n[output]\nactivation = "sigmoid"'
    model = tiny(tmp_path, manifest=manifest, shape=("n", 3, 64, 64), last="Identity")
    batch = np.full((1, 3, 64, 64), -200.0, np.float32)
    assert open_session(model, device="CPU").scores(batch).tolist() == [[0.0, 0.0, 0.0]]


def broken(**made: Any) -> Callable[[Path], Path]:
    return lambda folder: model_folder(folder, **made)


def cut_short(folder: Path) -> Path:
    path = model_folder(folder) / "model.onnx"
    path.write_bytes(path.read_bytes()[:-20])
    return folder


def holding(content: bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (model_folder(folder) / "model.onnx").write_bytes(content)
        return folder

    return make


def weights_in(
    location: str, *, remove: bool = False, cut: bool = False, link: bool = False
) -> Callable[[Path], Path]:
    """A model that keeps a factor for each channel in another file."""

    def make(folder: Path) -> Path:
        model = tiny_model()
        factor = onnx.TensorProto(name="factor", data_type=TensorProto.FLOAT, dims=[3])
        factor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", location), ("offset", "0"), ("length", "12")):
            factor.external_data.add(key=key, value=value)
        model.graph.initializer.append(factor)
        model.graph.node.insert(1, helper.make_node("Mul", ["mean", "factor"], ["scaled"]))
        model.graph.node[-1].input[0] = "scaled"
        model_folder(folder)
        (folder / "model.onnx").write_bytes(model.SerializeToString())
        weights = np.array([1, 2, 3], np.float32).tobytes()[: 8 if cut else 12]
        if link:
            (folder.parent / "elsewhere.bin").write_bytes(weights)
            (folder / location).symlink_to(folder.parent / "elsewhere.bin")
        elif not remove and not Path(location).is_absolute():
            (folder / location).write_bytes(weights)
        return folder

    return make


def test_weights_in_a_file_beside_the_model(tmp_path: Path) -> None:
    folder = weights_in("factors.bin")(tmp_path / "model")
    model = find_model(str(folder), folder, download=False)
    batch = pictures()
    expected = 1 / (1 + np.exp(-batch.mean(axis=(1, 2)) * [1, 2, 3]))
    assert np.allclose(open_session(model, device="CPU").scores(batch), expected, atol=1e-5)
    before = model.identity
    (folder / "factors.bin").write_bytes(np.array([1, 2, 4], np.float32).tobytes())
    assert find_model(str(folder), folder, download=False).identity != before


def as_cached(folder: Path, cache: Path) -> Path:
    """`folder` as the hub's cache keeps it: a snapshot of links to files that are named by their hash."""
    repo = cache / "models--author--tiny"
    snapshot = repo / "snapshots" / ("0123456789" * 4)
    snapshot.mkdir(parents=True)
    (repo / "blobs").mkdir()
    for number, file in enumerate(sorted(folder.iterdir())):
        file.rename(repo / "blobs" / f"{number:064x}")
        (snapshot / file.name).symlink_to(f"../../blobs/{number:064x}")
    return snapshot


@pytest.mark.parametrize("weights", [None, "factors.bin"])
def test_a_snapshot_of_the_hub_s_cache_is_a_folder_like_any_other(weights: str | None, tmp_path: Path) -> None:
    folder = weights_in(weights)(tmp_path / "model") if weights else model_folder(tmp_path / "model")
    session = open_session(find_model(str(folder), tmp_path, download=False), device="CPU")
    batch = pictures()
    expected = session.scores(batch)
    snapshot = as_cached(folder, tmp_path / "cache")
    cached = find_model(str(snapshot), tmp_path, download=False)
    assert np.array_equal(open_session(cached, device="CPU").scores(batch), expected)


def test_a_link_out_of_the_hub_s_cache_is_not_followed(tmp_path: Path) -> None:
    snapshot = as_cached(weights_in("factors.bin")(tmp_path / "model"), tmp_path / "cache")
    (tmp_path / "elsewhere.bin").write_bytes(bytes(12))
    (snapshot / "factors.bin").unlink()
    (snapshot / "factors.bin").symlink_to(tmp_path / "elsewhere.bin")
    with pytest.raises(StartupFailed, match="outside its own folder"):
        open_session(find_model(str(snapshot), tmp_path, download=False), device="CPU")


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (holding(b""), "is not an ONNX model"),
        (holding(b"<!doctype html><html>not found</html>"), "is not an ONNX model"),
        (holding(b"version https://git-lfs.github.com/spec/v1\n"), "is not an ONNX model"),
        (holding(b"\x3a\x00"), "has 0 inputs"),
        (cut_short, "is not an ONNX model"),
        (broken(opset=99), r"it is made for opset 99, this onnxruntime knows them up to \d+: export it"),
        (broken(ir_version=99), r"it has ONNX IR version 99, this onnxruntime knows up to \d+: export it"),
        (broken(shape=("n", 224, 224, 3)), r"takes float32 \(n, 224, 224, 3\), its manifest says"),
        (broken(shape=("n", 3, 448, 448)), r"takes float32 \(n, 3, 448, 448\), its manifest says"),
        (broken(shape=(8, 448, 448, 3)), "takes 8 pictures at a time"),
        (broken(shape=("n", 448, 3)), r"takes float32 \(n, 448, 3\)"),
        (broken(kind=TensorProto.DOUBLE), r"a type that is not supported \(number 11 of"),
        (broken(extra_input=True), "has 2 inputs"),
        (broken(csv="name,category\na,0\nb,0\n"), "scores 3 labels, its label file selected_tags.csv holds 2"),
        (broken(last="Identity"), "scores outside 0..1: its manifest needs"),
        (broken(last="Log", manifest='name = "t"\n[input]\nscale = 1e-9\nmean = [9, 9, 9]'), "not all numbers"),
        (broken(manifest='name = "t"\n[output]\nindex = 1'), "has 1 outputs, its manifest says output.index = 1"),
        (
            broken(manifest='name = "t"\n[output]\nname = "p"'),
            "has the outputs scores, its manifest says output.name = p",
        ),
        (weights_in("gone.bin", remove=True), "keeps its weights in 'gone.bin', which is missing"),
        (weights_in("w.bin", cut=True), r"w\.bin, the weights of the model .*, is cut short \(8 of 12 bytes\)"),
        (weights_in("../w.bin"), r"wants its weights from '\.\./w\.bin', outside its own folder"),
        (weights_in("/etc/passwd"), "wants its weights from '/etc/passwd', outside its own folder"),
        (weights_in("link.bin", link=True), "wants its weights from 'link.bin', outside its own folder"),
    ],
)
def test_models_that_cannot_work_say_why_in_one_line(
    tmp_path: Path, make: Callable[[Path], Path], reason: str, capfd: pytest.CaptureFixture[str]
) -> None:
    model = find_model(str(make(tmp_path / "model")), tmp_path, download=False)
    with pytest.raises(StartupFailed, match=reason) as caught:
        open_session(model, device="CPU")
    assert "\n" not in caught.value.message
    assert str(model.path) in caught.value.message
    assert capfd.readouterr() == ("", "")


def test_the_proof_can_be_put_off(tmp_path: Path) -> None:
    model = find_model(str(broken(last="Identity")(tmp_path / "model")), tmp_path, download=False)
    session = open_session(model, device="CPU", proven=False)
    with pytest.raises(StartupFailed, match=r"scores outside 0\.\.1"):
        session.prove()


def test_a_model_that_vanished(tmp_path: Path) -> None:
    model = tiny(tmp_path)
    model.path.unlink()
    with pytest.raises(StartupFailed, match="is missing"):
        open_session(model, device="CPU")


def test_a_picture_that_gives_no_numbers_fails_alone(tmp_path: Path) -> None:
    session = open_session(tiny(tmp_path), device="CPU")
    bad = np.full((1, 448, 448, 3), np.nan, np.float32)
    with pytest.raises(AssetFailed, match="not all numbers") as caught:
        session.scores(bad)
    assert caught.value.kind == "bad-scores"
    assert np.isfinite(session.scores(pictures())).all()


def odd_model(
    *,
    given: int = TensorProto.FLOAT,
    gives: int = TensorProto.FLOAT,
    batch: int | str = "n",
    tail: tuple[int, ...] = (),
) -> onnx.ModelProto:
    """`tiny_model` as exporters also make it."""
    nodes = [
        helper.make_node("Cast", ["picture"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float"], ["mean"], axes=[1, 2], keepdims=0),
        helper.make_node("Sigmoid", ["mean"], ["plain"]),
        helper.make_node("Reshape", ["plain", "shape"], ["shaped"]),
        helper.make_node("Cast", ["shaped"], ["scores"], to=gives),
    ]
    shape = helper.make_tensor("shape", TensorProto.INT64, [2 + len(tail)], [-1, 3, *tail])
    inputs = [helper.make_tensor_value_info("picture", given, (batch, 448, 448, 3))]
    outputs = [helper.make_tensor_value_info("scores", gives, ("n", 3, *tail))]
    graph = helper.make_graph(nodes, "odd", inputs, outputs, [shape])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


@pytest.mark.parametrize(
    "made",
    [
        {"given": TensorProto.FLOAT16, "gives": TensorProto.FLOAT16},
        {"given": TensorProto.UINT8},
        {"batch": -1},
        {"tail": (1, 1)},
    ],
    ids=str,
)
def test_what_exporters_also_make_gives_the_same_scores(made: dict[str, Any], tmp_path: Path) -> None:
    folder = model_folder(tmp_path)
    (folder / "model.onnx").write_bytes(odd_model(**made).SerializeToString())
    session = open_session(find_model(str(folder), tmp_path, download=False), device="CPU", streams=1, threads=1)
    batch = np.zeros((2, 448, 448, 3), np.float32)
    batch[0], batch[1, ..., 2] = 1.0, 4.0
    scores = session.scores(batch)
    assert scores.shape == (2, 3)
    assert scores.dtype == np.float32
    assert np.allclose(scores, 1 / (1 + np.exp(-batch.mean(axis=(1, 2)))), atol=1e-3)


def test_scores_of_every_place_of_a_picture_are_no_scores_of_labels(tmp_path: Path) -> None:
    folder = model_folder(tmp_path, csv="name,category\n" + "".join(f"tag{n},0\n" for n in range(3)))
    model = odd_model(tail=(1, 1))
    model.graph.output[0].type.tensor_type.shape.dim[3].dim_value = 2
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(StartupFailed, match="scores 6 labels"):
        open_session(find_model(str(folder), tmp_path, download=False), device="CPU")


def test_a_model_that_takes_bytes_scales_them_itself(tmp_path: Path) -> None:
    folder = model_folder(tmp_path, 'name = "tiny"\n[input]\nscale = 0.5')
    (folder / "model.onnx").write_bytes(odd_model(given=TensorProto.UINT8).SerializeToString())
    with pytest.raises(StartupFailed, match=r"takes bytes \(uint8\) and scales them itself: set scale = 1.0"):
        open_session(find_model(str(folder), tmp_path, download=False), device="CPU")


@pytest.mark.parametrize("wrong", [np.zeros((1, 3, 448, 448), np.float32), np.zeros((1, 448, 448, 3), np.float64)])
def test_the_wrong_tensor_is_a_mistake_of_ours(tmp_path: Path, wrong: Any) -> None:
    with pytest.raises(ValueError, match="pictures are float32"):
        open_session(tiny(tmp_path), device="CPU").scores(wrong)


def test_a_new_process_opens_it_without_a_word(tmp_path: Path) -> None:
    program = """
import sys
from pathlib import Path
from autotagger.tagger.catalog import find_model
from autotagger.tagger.engine.openvino import open_session
open_session(find_model(sys.argv[1], Path("unused"), download=False), device="CPU")
"""
    command = [sys.executable, "-c", program, str(model_folder(tmp_path))]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (ran.stdout, ran.stderr) == ("", "")


def test_the_signature_is_read_without_the_weights(tmp_path: Path) -> None:
    model = tiny_model(("batch", 448, 448, 3))
    weights = helper.make_tensor("picture_bias", TensorProto.FLOAT, [2], [1.0, 2.0])
    model.graph.initializer.append(weights)
    model.graph.input.append(helper.make_tensor_value_info("picture_bias", TensorProto.FLOAT, [2]))
    path = tmp_path / "old.onnx"
    path.write_bytes(model.SerializeToString())
    signature = read_signature(path)
    assert [(port.name, port.shape, port.kind) for port in signature.inputs] == [
        ("picture", ("batch", 448, 448, 3), TensorProto.FLOAT)
    ]
    assert [(port.name, port.shape) for port in signature.outputs] == [("scores", ("batch", 3))]


def test_any_damage_to_the_file_is_noticed_or_harmless(tmp_path: Path) -> None:
    content = tiny_model().SerializeToString()
    path, random = tmp_path / "model.onnx", np.random.default_rng(11)
    for _ in range(300):
        damaged = io.BytesIO(content).getbuffer()
        damaged[int(random.integers(len(content)))] = int(random.integers(256))
        path.write_bytes(damaged)
        try:
            read_signature(path)
        except StartupFailed as error:
            assert error.kind == "model-broken"  # noqa: PT017
