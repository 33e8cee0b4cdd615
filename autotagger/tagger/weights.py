"""A model without its weights: the same ONNX graph, which refers to where they lie in the model's own file.

Given a whole file, onnxruntime and OpenVINO hold its weights three times while they load it and twice for ever.
Given this, they map the file into memory instead of reading it: one copy less in each case, half the time to load
(docs/performance.md), and the mapped pages can be given back, because the CPU plugin computes on a packed copy.
The format is ONNX's own for weights in another file (TensorProto.external_data, onnx/onnx.proto).
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from autotagger.tagger.onnxfile import (
    BYTES,
    GRAPH_INITIALIZER,
    MODEL_GRAPH,
    TENSOR_EXTERNAL,
    TENSOR_PLACE,
    TENSOR_RAW,
    VARINT,
    FileBytes,
    fields_whole,
)

#: Smaller tensors stay in the graph, where shapes and axes are read from.
MIN_BYTES = 64 << 10
_EXTERNAL_PLACE = 1  # TensorProto.DataLocation
_KEY, _VALUE = 1, 2  # StringStringEntryProto


def without_weights(path: Path, names: Mapping[str, str] = MappingProxyType({})) -> bytes | None:
    """The model `path`, a file that `read_signature` could read, with its large initializers as references to
    `path.name`. None when there are none, or when the model keeps weights in files of their own already, unless
    these are called otherwise than it says: `names` has what each is called, by the name in the model."""
    with path.open("rb") as file:
        raw = FileBytes(file.fileno())
        graph = _Graph(raw, path.name, names)
        parts = []
        for number, _, start, begin, end in fields_whole(raw, 0, len(raw)):
            whole = number != MODEL_GRAPH
            parts.append(raw.span(start, end) if whole else _field(MODEL_GRAPH, b"".join(graph.parts(begin, end))))
        return b"".join(parts) if names or (graph.moved and not graph.external) else None


class _Graph:
    """`moved`: initializers that became references; `external`: those that were before."""

    def __init__(self, raw: FileBytes, name: str, names: Mapping[str, str]) -> None:
        self._raw = raw
        self._names = names
        self._name = name
        self.moved = 0
        self.external = 0

    def parts(self, start: int, stop: int) -> Iterator[bytes]:
        for number, _, start_of, begin, end in fields_whole(self._raw, start, stop):
            if number == GRAPH_INITIALIZER:
                yield _field(GRAPH_INITIALIZER, b"".join(self._tensor(begin, end)))
            else:
                yield self._raw.span(start_of, end)

    def _tensor(self, start: int, stop: int) -> Iterator[bytes]:
        for number, _, start_of, begin, end in fields_whole(self._raw, start, stop):
            if number == TENSOR_RAW and end - begin >= MIN_BYTES:
                self.moved += 1
                for key, value in (("location", self._name), ("offset", str(begin)), ("length", str(end - begin))):
                    pair = _field(_KEY, key.encode()) + _field(_VALUE, value.encode())
                    yield _field(TENSOR_EXTERNAL, pair)
                yield _varint(TENSOR_PLACE << 3 | VARINT) + _varint(_EXTERNAL_PLACE)
            elif number == TENSOR_EXTERNAL and self._names:
                yield _field(TENSOR_EXTERNAL, self._entry(begin, end))
            else:
                self.external += number == TENSOR_EXTERNAL
                yield self._raw.span(start_of, end)

    def _entry(self, start: int, stop: int) -> bytes:
        """A pair that says something of weights elsewhere: the name of the file as it is called."""
        pair = {
            number: self._raw.span(begin, end) for number, _, _, begin, end in fields_whole(self._raw, start, stop)
        }
        if pair.get(_KEY) == b"location":
            said = pair.get(_VALUE, b"").decode()
            pair[_VALUE] = self._names.get(said, said).encode()
        return b"".join(_field(number, content) for number, content in pair.items())


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | BYTES) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    digits = bytearray()
    while value > 0x7F:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    digits.append(value)
    return bytes(digits)
