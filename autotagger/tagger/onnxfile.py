"""What an ONNX file says about its inputs and outputs, read without loading its weights.

The batch dimension must be fixed *before* a session is made, by the name that the file gives it, and a model
that does not fit its manifest should fail in milliseconds, not after a gigabyte of weights. The protobuf
fields needed are few and their numbers never change (onnx/onnx.proto), so they are walked by hand: the `onnx`
package is for development only.
"""

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from autotagger.errors import StartupFailed

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MODEL_GRAPH = 7
_GRAPH_INITIALIZER, _GRAPH_INPUT, _GRAPH_OUTPUT = 5, 11, 12
_TENSOR_NAME = 8
_FLOAT = 1


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output of the graph. A dimension is a number, a name, or "" when the file leaves it open."""

    name: str
    is_float32: bool
    shape: tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class Signature:
    """`inputs` are those that a caller gives: initializers that older files list among them are left out."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]


def read_signature(path: Path) -> Signature:
    """Read the graph's inputs and outputs. Raises StartupFailed when `path` is missing or not an ONNX model."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as raw:
            return _signature(raw)
    except FileNotFoundError:
        raise StartupFailed(f"the model {path} is missing", kind="model-missing") from None
    except OSError as error:
        raise StartupFailed(f"cannot read the model {path}: {error.strerror}", kind="model-broken") from None
    except (ValueError, IndexError, UnicodeDecodeError):  # ValueError also from mapping an empty file
        raise StartupFailed(
            f"{path} is not an ONNX model, or is cut short: fetch it again", kind="model-broken"
        ) from None


def _signature(raw: mmap.mmap) -> Signature:
    graph = next((span for field, span in _fields(raw, 0, len(raw)) if field == _MODEL_GRAPH), None)
    if graph is None:
        raise ValueError("no graph")
    weights: set[str] = set()
    inputs, outputs = [], []
    for field, (start, stop) in _fields(raw, *graph):
        if field == _GRAPH_INITIALIZER:
            weights.update(_text(raw, span) for name, span in _fields(raw, start, stop) if name == _TENSOR_NAME)
        elif field == _GRAPH_INPUT:
            inputs.append(_port(raw, start, stop))
        elif field == _GRAPH_OUTPUT:
            outputs.append(_port(raw, start, stop))
    return Signature(tuple(port for port in inputs if port.name not in weights), tuple(outputs))


def _port(raw: mmap.mmap, start: int, stop: int) -> Port:
    """ValueInfoProto: name = 1, type = 2; TypeProto: tensor_type = 1; Tensor: elem_type = 1, shape = 2."""
    name, is_float32, shape = "", False, []
    for field, span in _fields(raw, start, stop):
        if field == 1:
            name = _text(raw, span)
        for tensor in _inside(raw, field == 2, span, 1):
            for part, value in _fields(raw, *tensor):
                is_float32 = is_float32 or (part == 1 and value[0] == _FLOAT)
                shape += [_dimension(raw, dim) for dim in _inside(raw, part == 2, value, 1)]
    return Port(name, is_float32, tuple(shape))


def _dimension(raw: mmap.mmap, span: tuple[int, int]) -> int | str:
    """Dimension: dim_value = 1, dim_param = 2."""
    for field, value in _fields(raw, *span):
        if field == 1:
            return value[0]
        if field == 2:
            return _text(raw, value)
    return ""


def _inside(raw: mmap.mmap, wanted: bool, span: tuple[int, int], number: int) -> list[tuple[int, int]]:
    return [value for field, value in _fields(raw, *span) if field == number] if wanted else []


def _fields(raw: mmap.mmap, start: int, stop: int) -> Iterator[tuple[int, tuple[int, int]]]:
    """The fields of the message in `raw[start:stop]`: number, and the span of bytes or (value, 0) of a varint."""
    while start < stop:
        key, start = _varint(raw, start)
        kind = key & 7
        if kind == _VARINT:
            value, start = _varint(raw, start)
            yield key >> 3, (value, 0)
            continue
        if kind == _BYTES:
            length, start = _varint(raw, start)
        elif kind in (_FIXED32, _FIXED64):
            length = 4 if kind == _FIXED32 else 8
        else:
            raise ValueError("unknown kind of field")
        if start + length > stop:
            raise ValueError("cut short")
        yield key >> 3, (start, start + length)
        start += length


def _varint(raw: mmap.mmap, start: int) -> tuple[int, int]:
    value = 0
    for place in range(10):
        byte = raw[start + place]
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value, start + place + 1
    raise ValueError("varint too long")


def _text(raw: mmap.mmap, span: tuple[int, int]) -> str:
    return bytes(raw[span[0] : span[1]]).decode("utf-8")
