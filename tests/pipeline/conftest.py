"""What the pipeline's tests share."""

from collections.abc import Iterator

import pytest

from autotagger.pipeline.ipc.channel import Channel


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Channel]]:
    """Both ends of a channel."""
    pair = Channel.pair()
    yield pair
    for end in pair:
        end.close()
