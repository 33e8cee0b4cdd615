"""Packed scores: what goes in comes out, small, and nothing else comes out of anything else."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from autotagger.scores import SCORE_FLOOR, pack, unpack

Scores = NDArray[np.float32]
scores_of_a_picture = st.integers(1, 400).flatmap(
    lambda width: arrays(np.float32, width, elements=st.floats(0.0, 1.0, width=32))
)


@given(scores_of_a_picture)
def test_keeps_every_score_from_the_floor_up(scores: Scores) -> None:
    labels, values = unpack(pack(scores))[:2]
    assert labels.tolist() == np.flatnonzero(scores >= SCORE_FLOOR).tolist()
    assert np.abs(values - scores[labels]).max(initial=0.0) <= 0.5 / 65535 + 1e-7
    assert labels.dtype == np.uint32
    assert values.dtype == np.float32


@given(scores_of_a_picture)
def test_packing_again_what_was_unpacked_changes_nothing(scores: Scores) -> None:
    packed = pack(scores)
    labels, values = unpack(packed)[:2]
    again = np.zeros_like(scores)
    again[labels] = values
    assert pack(again, always=labels.astype(np.intp)) == packed


@given(scores_of_a_picture, st.data())
def test_always_keeps_its_rows_whatever_they_score(scores: Scores, data: st.DataObject) -> None:
    always = np.array(sorted(data.draw(st.sets(st.integers(0, len(scores) - 1)))), dtype=np.intp)
    labels = unpack(pack(scores, always)).labels
    assert set(labels.tolist()) == set(always.tolist()) | set(np.flatnonzero(scores >= SCORE_FLOOR).tolist())


def test_the_floor_itself_is_kept_and_the_number_below_it_is_not() -> None:
    floor = np.float32(SCORE_FLOOR)
    below = np.nextafter(floor, np.float32(0.0))
    assert unpack(pack(np.array([below, floor], np.float32))).labels.tolist() == [1]


def test_a_picture_that_scores_nothing() -> None:
    labels, values = unpack(pack(np.zeros(10, np.float32)))[:2]
    assert len(labels) == len(values) == 0


@pytest.mark.parametrize("rows", [[0], [127, 128], [16383, 16384], [2097151, 2097152], [0, 3_000_000]])
def test_rows_around_the_borders_of_the_number_format(rows: list[int]) -> None:
    scores = np.zeros(3_000_001, np.float32)
    scores[rows] = 1.0
    assert unpack(pack(scores)).labels.tolist() == rows


def test_a_wd_picture_takes_about_three_bytes_a_label() -> None:
    scores = np.zeros(10_861, np.float32)
    scores[np.random.default_rng(1).choice(len(scores), 100, replace=False)] = 0.5
    assert len(pack(scores)) <= 380


def test_the_frames_that_a_label_was_seen_in_come_along() -> None:
    scores, seen = np.array([0.5, 0.0, 0.9], np.float32), np.array([2, 0, 7], np.uint8)
    stored = unpack(pack(scores, frames=8, seen=seen))
    assert stored.labels.tolist() == [0, 2]
    assert stored.frames == 8
    assert stored.seen is not None
    assert stored.seen.tolist() == [2, 7]
    plain = unpack(pack(scores))
    assert (plain.frames, plain.seen) == (1, None)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_no_number_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="not all numbers"):
        pack(np.array([0.5, bad], np.float32))


@given(scores_of_a_picture, st.data())
def test_cut_short_is_an_error(scores: Scores, data: st.DataObject) -> None:
    packed = pack(scores)
    with pytest.raises(ValueError, match="packed scores"):
        unpack(packed[: data.draw(st.integers(0, len(packed) - 1))])


@given(st.binary(max_size=60))
def test_any_bytes_are_scores_in_order_or_an_error(damaged: bytes) -> None:
    try:
        labels, values = unpack(damaged)[:2]
    except ValueError:
        return
    assert len(labels) == len(values)
    assert (np.diff(labels.astype(np.int64)) > 0).all()
    assert ((values >= 0.0) & (values <= 1.0)).all()


@pytest.mark.parametrize(
    "damaged",
    [
        b"\x02\x05\x00\x00\x00\x00\x00",  # one label twice
        b"\x01\xff\xff\xff\xff\xff\xff\x01\x00\x00",  # a number of seven bytes
        b"\x01\xff\xff\xff\xff\x7f\x00\x00",  # beyond 32 bits
        b"\x00\x00",  # something after the end
    ],
)
def test_damage_that_looks_whole(damaged: bytes) -> None:
    with pytest.raises(ValueError, match="packed scores"):
        unpack(damaged)
