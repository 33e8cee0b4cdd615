"""The engine on this machine: a model runs in this process, through onnxruntime's OpenVINO execution provider.

Its options close traps that were measured to cost twofold or more, or to give wrong results in silence; each is
named where it is set.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from autotagger.errors import AssetFailed, AutotaggerError, Retryable, StartupFailed
from autotagger.memory import give_back, give_back_code
from autotagger.tagger.cores import allowed_cores
from autotagger.tagger.engine.protocol import Device, Session
from autotagger.tagger.model import Model
from autotagger.tagger.onnxfile import Port, Signature, external_files, read_signature
from autotagger.tagger.weights import without_weights

_PROVIDER = "OpenVINOExecutionProvider"
_SILENT = 4  # onnxruntime's "fatal": what goes wrong reaches us as an exception, and is then said once


def open_session(
    model: Model, *, device: Device = "auto", streams: int = 0, threads: int = 0, proven: bool = True
) -> Session:
    """Load `model` on `device`; `auto` is a GPU when OpenVINO finds one and it works, else the CPU.

    `streams`: pictures inferred at once, each by a calling thread of its own; `threads`: cores for all of
    them together, never more than `allowed_cores()`. 0 chooses: every allowed core, one stream a core. Not
    `proven`: the caller sees to `Session.prove`, meanwhile there may be other work for the other streams.
    Raises StartupFailed with one line: the model is missing, broken or does not fit its manifest, or the
    device is not there or cannot run the whole of it.
    """
    source = _source(model)
    found = found_devices()
    if device != "auto" and device not in found:
        raise StartupFailed(
            f"OpenVINO finds no {device} here, only {', '.join(sorted(found))}: set [model] device, or install "
            "the driver (in a container also pass the device through, /dev/dri for a GPU)",
            kind="no-device",
        )
    wanted = ["GPU", "CPU"] if device == "auto" and "GPU" in found else [likely_device(device)]
    threads = min(threads or allowed_cores(), allowed_cores())
    for place, name in enumerate(wanted):
        try:
            session = OpenVinoSession(model, source, name, streams or threads, threads)
            if proven or place < len(wanted) - 1:
                session.prove()
            return session
        except AutotaggerError:
            if place == len(wanted) - 1:
                raise
    raise AssertionError("one device is always tried")


def found_devices() -> set[Device]:
    """What OpenVINO finds here; that does not mean that it works."""
    ids = ort.capi._pybind_state.get_available_openvino_device_ids()
    names: set[Device] = {"CPU", "GPU", "NPU"}
    return {name for name in names if any(found.partition(".")[0] == name for found in ids)}


def likely_device(device: Device) -> Device:
    """What `auto` tries first here."""
    return device if device != "auto" else "GPU" if "GPU" in found_devices() else "CPU"


class OpenVinoSession:
    """See `Session`. A fresh one is not proven."""

    def __init__(self, model: Model, source: Port, device: str, streams: int, threads: int) -> None:
        self.device = device
        self.label_count = len(model.labels)
        self._model = model
        self._output = model.manifest.output
        self._shape = model.manifest.input.shape
        self._input_name = source.name
        self._session = _open(model, source, device, streams, threads)
        self._output_name = self._output.name or self._session.get_outputs()[self._output.index].name

    def scores(self, pictures: NDArray[np.float32]) -> NDArray[np.float32]:
        """As in `Session`. Raises ValueError for pictures of another shape or type."""
        if pictures.shape[1:] != self._shape or pictures.dtype != np.float32:
            raise ValueError(f"pictures are float32 (n, *{self._shape}), not {pictures.dtype} {pictures.shape}")
        answers = [self._run(pictures[row : row + 1]) for row in range(len(pictures))]
        scores = np.concatenate(answers) if answers else np.empty((0, self.label_count), np.float32)
        if not np.isfinite(scores).all():
            raise AssetFailed("the model's scores of the picture are not all numbers", kind="bad-scores")
        return scores

    def _run(self, picture: NDArray[np.float32]) -> NDArray[np.float32]:
        try:
            answer: NDArray[np.float32] = self._session.run([self._output_name], {self._input_name: picture})[0]
        except Exception as error:  # the provider's exceptions share no other root
            raise Retryable(f"inference on {self.device} failed: {_one_line(error)}", kind="inference") from None
        return _sigmoid(answer) if self._output.activation == "sigmoid" else answer

    def prove(self) -> None:
        """As in `Session`; white is what the model's manifest makes of 255."""
        model, spec = self._model, self._model.manifest.input
        white = (255.0 * spec.scale - np.array(spec.mean, np.float32)) / np.array(spec.std, np.float32)
        shape = (1, 1, 1, 3) if spec.layout == "NHWC" else (1, 3, 1, 1)
        picture = np.broadcast_to(white.astype(np.float32).reshape(shape), (1, *self._shape))
        try:
            scores = self.scores(np.ascontiguousarray(picture))
        except (AssetFailed, Retryable) as error:
            raise StartupFailed(
                f"the model {model.path} does not run on {self.device}: {error.message}", kind="model-broken"
            ) from None
        if scores.shape != (1, self.label_count):
            raise _misfit(model, scores.shape[-1])
        if scores.min() < 0.0 or scores.max() > 1.0:
            raise StartupFailed(
                f"the model {model.path} gives scores outside 0..1: its manifest needs [output] activation = "
                '"sigmoid", or another output index',
                kind="model-manifest",
            )


def _open(model: Model, source: Port, device: str, streams: int, threads: int) -> ort.InferenceSession:
    ort.set_default_logger_severity(_SILENT)
    options = ort.SessionOptions()
    options.log_severity_level = _SILENT
    # A free batch dimension splits swinv2 into 28 subgraphs: 1.25x slower, twice the memory.
    if isinstance(source.shape[0], str) and source.shape[0]:
        options.add_free_dimension_override_by_name(source.shape[0], 1)
    # Without it a part that OpenVINO cannot run goes to onnxruntime's own CPU provider, unsaid.
    options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    path = model.path.resolve()
    # Given as bytes, the model finds the weights that it refers to in this folder.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(path.parent))

    def load(content: bytes | str) -> ort.InferenceSession:
        return ort.InferenceSession(
            content,
            options,
            providers=[_PROVIDER],
            provider_options=[_provider_options(device, streams, threads)],
            enable_fallback=0,  # the Python wrapper has a fallback of its own, which prints to stdout
        )

    try:
        session = _load_lean(load, path) or load(str(path))
    except Exception as error:  # the provider's exceptions share no other root
        raise StartupFailed(
            f"cannot load the model {model.path} on {device}: {_too_new(error) or _one_line(error)}",
            kind="model-broken",
        ) from None
    give_back(path)
    give_back_code(Path(ort.__file__).parent)  # 100 MB of it compiled the model, 40 will be called again
    if session.get_providers()[0] != _PROVIDER:
        raise StartupFailed(f"the model {model.path} runs on something other than OpenVINO", kind="no-device")
    return session


def _load_lean(load: Callable[[bytes], ort.InferenceSession], path: Path) -> ort.InferenceSession | None:
    """Without a copy of the weights. None where that does not apply, or does not work: then the model is given as
    a whole, which takes more memory, or says what is wrong with it."""
    graph = without_weights(path)
    try:
        return load(graph) if graph else None
    except Exception:
        return None


def _provider_options(device: str, streams: int, threads: int) -> dict[str, str]:
    # f32 everywhere: fp16 is known to give wrong results for these models on iGPUs, bf16 is slower on CPUs.
    options = {"device_type": device, "precision": "ACCURACY"}
    if device == "CPU":
        options |= {"num_streams": str(streams), "num_of_threads": str(threads)}
        # By default every process pins its threads to the same first cores: two ran at 45%. A JSON *string*.
        options["load_config"] = json.dumps({"CPU": {"ENABLE_CPU_PINNING": "NO"}})
    return options


def _source(model: Model) -> Port:
    """The model's one input, after checking that it is what the manifest says. Raises StartupFailed."""
    signature = read_signature(model.path)
    spec, path = model.manifest.input, model.path
    if len(signature.inputs) != 1:
        raise StartupFailed(f"the model {path} has {len(signature.inputs)} inputs, not one", kind="model-broken")
    source = signature.inputs[0]
    sides = zip(source.shape[1:], spec.shape, strict=False)
    fits = len(source.shape) == 4 and all(isinstance(have, str) or have == want for have, want in sides)
    if not fits or not source.is_float32:
        raise StartupFailed(
            f"the model {path} takes {_shape_text(source)}, its manifest says float32 "
            f"(n, {', '.join(map(str, spec.shape))}): correct size and layout in [input] of the manifest",
            kind="model-manifest",
        )
    if isinstance(source.shape[0], int) and source.shape[0] != 1:
        raise StartupFailed(
            f"the model {path} takes {source.shape[0]} pictures at a time; export it with a free or single "
            "batch dimension",
            kind="model-broken",
        )
    width = _output(model, signature).shape[-1:]
    if width and isinstance(width[0], int) and width[0] != len(model.labels):
        raise _misfit(model, width[0])
    external_files(path, signature)
    return source


def _output(model: Model, signature: Signature) -> Port:
    wanted, outputs = model.manifest.output, signature.outputs
    if wanted.name is not None:
        found = next((port for port in outputs if port.name == wanted.name), None)
        if found is None:
            raise StartupFailed(
                f"the model {model.path} has the outputs {', '.join(port.name for port in outputs)}, its manifest "
                f"says output.name = {wanted.name}",
                kind="model-manifest",
            )
        return found
    if wanted.index >= len(outputs):
        raise StartupFailed(
            f"the model {model.path} has {len(outputs)} outputs, its manifest says output.index = {wanted.index}",
            kind="model-manifest",
        )
    return outputs[wanted.index]


def _misfit(model: Model, width: int) -> StartupFailed:
    return StartupFailed(
        f"the model {model.path} scores {width} labels, its label file {model.manifest.labels.file} holds "
        f"{len(model.labels)}: they do not belong together",
        kind="model-labels",
    )


def _too_new(error: Exception) -> str | None:
    """What onnxruntime means when it refuses a model that was made by tools newer than itself."""
    text = str(error)
    if found := re.search(r"Opset (\d+) .*support for domain (\S+) is till opset (\d+)", text):
        made, _, known = found.groups()
        return (
            f"it is made for opset {made}, this onnxruntime knows them up to {known}: export it with an older one"
        )
    if found := re.search(r"IR version: (\d+), max supported IR version: (\d+)", text):
        made, known = found.groups()
        return f"it has ONNX IR version {made}, this onnxruntime knows up to {known}: export it with an older onnx"
    return None


def _sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """In the form that cannot overflow."""
    scores: NDArray[np.float32] = 0.5 * np.tanh(0.5 * logits) + 0.5
    return scores


def _shape_text(port: Port) -> str:
    return (
        f"{'float32' if port.is_float32 else 'another type'} ({', '.join(str(dim or '?') for dim in port.shape)})"
    )


def _one_line(error: Exception) -> str:
    """The provider's message without its stack of C++ files, in at most 300 characters."""
    return re.sub(r"\s+", " ", str(error)).strip()[:300]
