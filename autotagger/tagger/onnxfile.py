"""What an ONNX file says about its inputs and outputs, read without loading its weights.

The batch dimension must be fixed *before* a session is made, by the name that the file gives it, and a model
that does not fit its manifest should fail in milliseconds, not after a gigabyte of weights. The protobuf
fields needed are few and their numbers never change (onnx/onnx.proto), so they are walked by hand: the `onnx`
package is for development only.
"""

import dataclasses
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from autotagger.errors import StartupFailed

VARINT, _FIXED64, BYTES, _FIXED32 = 0, 1, 2, 5
MODEL_GRAPH, GRAPH_INITIALIZER = 7, 5
_GRAPH_NODE, _GRAPH_INPUT, _GRAPH_OUTPUT = 1, 11, 12
_NODE_ATTRIBUTE = 5
T = TypeVar("T")
_ATTRIBUTE_TENSOR, _ATTRIBUTE_GRAPH, _ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS = 5, 6, 10, 11
_TENSOR_NAME, TENSOR_RAW, TENSOR_EXTERNAL, TENSOR_PLACE = 8, 9, 13, 14
#: TensorProto.DataType, those that a picture may be given in.
FLOAT32, UINT8, FLOAT16 = 1, 2, 10
#: Some exports write -1 for a dimension that is open; a varint has no sign.
_NEGATIVE = 1 << 63


class FileBytes:
    """An open file as if it were one `bytes`, of which little is read. Mapped into memory it would cost more: the
    kernel maps 64 KB around each of the thousand places that are looked at."""

    _BLOCK = 1 << 13

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._number, self._block = -1, b""

    def __len__(self) -> int:
        return os.fstat(self._descriptor).st_size

    def span(self, start: int, stop: int) -> bytes:
        return os.pread(self._descriptor, stop - start, start)

    def __getitem__(self, place: int) -> int:
        number, offset = divmod(place, self._BLOCK)
        if number != self._number:
            self._number, self._block = number, self.span(number * self._BLOCK, (number + 1) * self._BLOCK)
        return self._block[offset]


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output of the graph. `kind`: the number that ONNX has for its type, 0 where it says none. A
    dimension is a number, a name, or "" when the file leaves it open."""

    name: str
    kind: int
    shape: tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class Signature:
    """`inputs` are those that a caller gives: initializers that older files list among them are left out.

    `external`: files that hold weights, by the path that the model gives, and how many bytes each must have.
    """

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    external: dict[str, int] = dataclasses.field(default_factory=dict)


def read_signature(path: Path) -> Signature:
    """Read the graph's inputs and outputs. Raises StartupFailed when `path` is missing or not an ONNX model."""
    return _read(path, _signature)


def node_outputs(path: Path) -> dict[str, tuple[str, str]]:
    """By the name of every value that the graph computes: the operator, and the first value that it is given.
    Raises as `read_signature`."""
    return _read(path, _node_outputs)


def _read(path: Path, reading: Callable[[FileBytes], T]) -> T:
    try:
        with path.open("rb") as file:
            return reading(FileBytes(file.fileno()))
    except FileNotFoundError:
        raise StartupFailed(f"the model {path} is missing", kind="model-missing") from None
    except OSError as error:
        raise StartupFailed(f"cannot read the model {path}: {error.strerror}", kind="model-broken") from None
    except (ValueError, IndexError, UnicodeDecodeError, RecursionError):
        raise StartupFailed(
            f"{path} is not an ONNX model, or is cut short: fetch it again", kind="model-broken"
        ) from None


def external_files(path: Path, signature: Signature) -> list[Path]:
    """The files of weights beside the model `path`, after checking them.

    A model names them itself, so one that was made to could have any file of this machine read: they must lie
    in the model's own folder, or where that is a snapshot of the hub's cache, whose files are links, in the same
    repository's blobs. Raises StartupFailed when one does not, is missing, or is cut short.
    """
    folder = path.parent.resolve()
    found = []
    for location, length in signature.external.items():
        file = (folder / location).resolve()
        if not location or "\0" in location or not _is_inside(path.parent, location, file) or file == folder:
            raise StartupFailed(
                f"the model {path} wants its weights from {location!r}, outside its own folder: it is not opened",
                kind="model-broken",
            )
        if not file.is_file():
            raise StartupFailed(
                f"the model {path} keeps its weights in {location!r}, which is missing: copy that file beside it",
                kind="model-missing",
            )
        if file.stat().st_size < length:
            raise StartupFailed(
                f"{file}, the weights of the model {path}, is cut short ({file.stat().st_size:,} of {length:,} "
                "bytes): fetch it again",
                kind="model-broken",
            )
        found.append(file)
    return found


def _is_inside(folder: Path, location: str, file: Path) -> bool:
    if file.is_relative_to(folder.resolve()):
        return True
    named = Path(location)
    if named.is_absolute() or ".." in named.parts:
        return False
    blobs = blobs_of(folder)
    return blobs is not None and file.is_relative_to(blobs)


def blobs_of(folder: Path) -> Path | None:
    """The folder of the real files where `folder` is, or lies in, a snapshot of the hub's cache
    (`models--owner--name/snapshots/<commit>/...`, whose files are links to `models--owner--name/blobs`)."""
    for above in (folder.absolute(), *folder.absolute().parents):
        if above.parent.name == "snapshots" and (above.parent.parent / "blobs").is_dir():
            return (above.parent.parent / "blobs").resolve()
    return None


def _external(raw: FileBytes, graph: tuple[int, int]) -> dict[str, int]:
    """TensorProto.external_data is a list of key = 1, value = 2: location, offset, length."""
    found: dict[str, int] = {}
    for tensor in _tensors(raw, graph):
        said = {}
        for number, entry in _fields(raw, *tensor):
            if number == TENSOR_EXTERNAL:
                pair = {key: _text(raw, value) for key, value in _fields(raw, *entry)}
                said[pair.get(1, "")] = pair.get(2, "")
        if said:
            location = said.get("location", "")
            end = int(said.get("offset") or 0) + int(said.get("length") or 0)
            found[location] = max(end, found.get(location, 0))
    return found


def _tensors(raw: FileBytes, graph: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """All tensors of a graph: its weights, and the constants of its nodes and of the graphs within these."""
    for number, span in _fields(raw, *graph):
        if number == GRAPH_INITIALIZER:
            yield span
        for attribute in _inside(raw, number == _GRAPH_NODE, span, _NODE_ATTRIBUTE):
            for part, value in _fields(raw, *attribute):
                if part in (_ATTRIBUTE_TENSOR, _ATTRIBUTE_TENSORS):
                    yield value
                elif part in (_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS):
                    yield from _tensors(raw, value)


def _graph(raw: FileBytes) -> tuple[int, int]:
    graph = next((span for field, span in _fields(raw, 0, len(raw)) if field == MODEL_GRAPH), None)
    if graph is None:
        raise ValueError("no graph")
    return graph


def _node_outputs(raw: FileBytes) -> dict[str, tuple[str, str]]:
    """NodeProto: input = 1, output = 2, op_type = 4."""
    found: dict[str, tuple[str, str]] = {}
    for field, span in _fields(raw, *_graph(raw)):
        if field != _GRAPH_NODE:
            continue
        said = [(part, _text(raw, value)) for part, value in _fields(raw, *span) if part in (1, 2, 4)]
        source = next((text for part, text in said if part == 1), "")
        operator = next((text for part, text in said if part == 4), "")
        found |= {text: (operator, source) for part, text in said if part == 2}
    return found


def _signature(raw: FileBytes) -> Signature:
    graph = _graph(raw)
    weights: set[str] = set()
    inputs, outputs = [], []
    for field, (start, stop) in _fields(raw, *graph):
        if field == GRAPH_INITIALIZER:
            weights.update(_text(raw, span) for name, span in _fields(raw, start, stop) if name == _TENSOR_NAME)
        elif field == _GRAPH_INPUT:
            inputs.append(_port(raw, start, stop))
        elif field == _GRAPH_OUTPUT:
            outputs.append(_port(raw, start, stop))
    given = tuple(port for port in inputs if port.name not in weights)
    return Signature(given, tuple(outputs), _external(raw, graph))


def _port(raw: FileBytes, start: int, stop: int) -> Port:
    """ValueInfoProto: name = 1, type = 2; TypeProto: tensor_type = 1; Tensor: elem_type = 1, shape = 2."""
    name, kind, shape = "", 0, []
    for field, span in _fields(raw, start, stop):
        if field == 1:
            name = _text(raw, span)
        for tensor in _inside(raw, field == 2, span, 1):
            for part, value in _fields(raw, *tensor):
                kind = value[0] if part == 1 else kind
                shape += [_dimension(raw, dim) for dim in _inside(raw, part == 2, value, 1)]
    return Port(name, kind, tuple(shape))


def _dimension(raw: FileBytes, span: tuple[int, int]) -> int | str:
    """Dimension: dim_value = 1, dim_param = 2."""
    for field, value in _fields(raw, *span):
        if field == 1:
            return value[0] if value[0] < _NEGATIVE else ""
        if field == 2:
            return _text(raw, value)
    return ""


def _inside(raw: FileBytes, wanted: bool, span: tuple[int, int], number: int) -> list[tuple[int, int]]:
    return [value for field, value in _fields(raw, *span) if field == number] if wanted else []


def _fields(raw: FileBytes, start: int, stop: int) -> Iterator[tuple[int, tuple[int, int]]]:
    """The fields of the message in `raw[start:stop]`: number, and the span of bytes or (value, 0) of a varint."""
    for number, kind, _, begin, end in fields_whole(raw, start, stop):
        yield number, (_varint(raw, begin)[0], 0) if kind == VARINT else (begin, end)


def fields_whole(raw: FileBytes, start: int, stop: int) -> Iterator[tuple[int, int, int, int, int]]:
    """The fields of the message in `raw[start:stop]`: number, kind, where the field begins, where its content,
    and where both end. Raises ValueError or IndexError where that is no message."""
    while start < stop:
        key, begin = _varint(raw, start)
        kind = key & 7
        if kind == VARINT:
            _, end = _varint(raw, begin)
        elif kind == BYTES:
            length, begin = _varint(raw, begin)
            end = begin + length
        elif kind in (_FIXED32, _FIXED64):
            end = begin + (4 if kind == _FIXED32 else 8)
        else:
            raise ValueError("unknown kind of field")
        if end > stop:
            raise ValueError("cut short")
        yield key >> 3, kind, start, begin, end
        start = end


def _varint(raw: FileBytes, start: int) -> tuple[int, int]:
    value = 0
    for place in range(10):
        byte = raw[start + place]
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value, start + place + 1
    raise ValueError("varint too long")


def _text(raw: FileBytes, span: tuple[int, int]) -> str:
    return raw.span(*span).decode("utf-8")
