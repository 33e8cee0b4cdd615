"""The sample of assets that are read back."""

from hypothesis import given
from hypothesis import strategies as st

from autotagger.pipeline.writer.sampling import is_sampled


@given(st.uuids(), st.floats(0, 1), st.floats(0, 1))
def test_a_larger_sample_holds_every_smaller_one(asset_id: object, one: float, other: float) -> None:
    small, large = sorted((one, other))
    assert is_sampled(str(asset_id), large) >= is_sampled(str(asset_id), small)
    assert is_sampled(str(asset_id), 1.0)
    assert not is_sampled(str(asset_id), 0.0)


def test_a_share_of_the_ids_is_in_it() -> None:
    ids = [f"{number << 24:08x}-0000-4000-8000-000000000000" for number in range(256)]
    assert sum(is_sampled(asset_id, 0.25) for asset_id in ids) == 64
