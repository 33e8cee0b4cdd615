"""Sparse scores: the labels a picture scored on, packed to about three bytes each.

A score is kept as a 16-bit fraction of 65535, so that a tag decided from stored scores is decided from the
very same number as on the day of the inference: the policy only ever sees unpacked scores.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from autotagger.errors import Malformed

#: Labels below it are not kept. No published threshold of any supported model is lower, and
#: at 0.05 a WD v3 model leaves some 100 of its 10,861 labels.
SCORE_FLOOR = 0.05
_SCALE = 65535.0
_VARINT_BYTES = 5  # of a 32-bit number
_MIN_FRAMES = 2  # one is a picture
_MAX_LABELS = 0xFFFFFFFF


class SparseScores(NamedTuple):
    """`labels`: rows of the label file, ascending, uint32, shape (n,). `values`: float32 in 0..1, shape (n,).

    Of a video: `frames` that were looked at, and in how many of them each label scored (`seen`, uint8, (n,)).
    """

    labels: NDArray[np.uint32]
    values: NDArray[np.float32]
    frames: int = 1
    seen: NDArray[np.uint8] | None = None


def pack(
    scores: NDArray[np.float32],
    always: NDArray[np.intp] | None = None,
    *,
    frames: int = 1,
    seen: NDArray[np.uint8] | None = None,
) -> bytes:
    """Pack one picture's `scores` (shape (labels,), 0..1): those >= `SCORE_FLOOR` and the rows in `always`.

    `always` names the rows that decide by comparison (ratings: argmax), which need every candidate.
    Layout: count as varint, gaps between label rows as varints, then the values as little-endian uint16; where
    there is `seen` (shape (labels,)), a byte with the number of frames and a byte for each kept label.
    Raises ValueError when a score is not a finite number: it would be lost as if the label had scored nothing.
    """
    if not np.isfinite(scores).all():
        raise ValueError("scores to pack are not all numbers")
    keep = scores >= SCORE_FLOOR
    if always is not None:
        keep[always] = True
    rows = np.flatnonzero(keep)
    gaps = np.diff(rows, prepend=0)
    values = np.rint(np.clip(scores[rows], 0.0, 1.0) * _SCALE).astype("<u2")
    shares = b"" if seen is None else bytes((frames,)) + seen[rows].astype(np.uint8).tobytes()
    return b"".join((_varints(np.concatenate(([len(rows)], gaps))), values.tobytes(), shares))


def unpack(packed: bytes) -> SparseScores:
    """Undo `pack`. Raises Malformed when `packed` is cut short or was not written by it."""
    raw = np.frombuffer(packed, dtype=np.uint8)
    ends = np.flatnonzero(raw < 0x80)
    if not len(ends):
        raise Malformed("packed scores are empty")
    count = int(_from_varints(raw[: ends[0] + 1])[0])
    if len(ends) <= count:
        raise Malformed("packed scores are cut short")
    start, stop = int(ends[0]) + 1, int(ends[count]) + 1
    values_end = stop + 2 * count
    if len(raw) not in (values_end, values_end + 1 + count):
        raise Malformed(f"packed scores hold {len(raw) - stop} bytes of values where {2 * count} were written")
    gaps = _from_varints(raw[start:stop])
    if (gaps[1:] == 0).any() or gaps.sum() > _MAX_LABELS:
        raise Malformed("packed scores name a label twice, or one that no model has")
    labels = np.cumsum(gaps).astype(np.uint32)
    values = np.frombuffer(packed, "<u2", count, stop).astype(np.float32) / np.float32(_SCALE)
    if len(raw) == values_end:
        return SparseScores(labels, values)
    frames, seen = int(raw[values_end]), raw[values_end + 1 :]
    if frames < _MIN_FRAMES or (seen > frames).any():
        raise Malformed("packed scores name frames that are none")
    return SparseScores(labels, values, frames, seen)


def _varints(numbers: NDArray[np.int64]) -> bytes:
    """LEB128: seven bits a byte, low first, the high bit set on all but the last byte of a number."""
    numbers = numbers.astype(np.uint32)
    width = 1 + sum((numbers >= (1 << bits)).astype(np.int64) for bits in (7, 14, 21, 28))
    last = np.cumsum(width)
    place = np.arange(last[-1]) - np.repeat(last - width, width)
    septets = (np.repeat(numbers, width) >> (7 * place).astype(np.uint32)) & 0x7F
    septets[place < np.repeat(width, width) - 1] |= 0x80
    return septets.astype(np.uint8).tobytes()


def _from_varints(raw: NDArray[np.uint8]) -> NDArray[np.int64]:
    if not len(raw):
        return np.empty(0, dtype=np.int64)
    ends = np.flatnonzero(raw < 0x80) + 1
    starts = np.zeros_like(ends)
    starts[1:] = ends[:-1]
    ends[-1] = len(raw)  # a number that is cut off counts, as one that is too long
    width = ends - starts
    if width.max() > _VARINT_BYTES:
        raise Malformed("packed scores hold a number that is too long")
    place = np.arange(len(raw)) - np.repeat(starts, width)
    return np.add.reduceat((raw & 0x7F).astype(np.int64) << (7 * place), starts)
