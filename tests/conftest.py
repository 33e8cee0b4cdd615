"""What all tests share: how the children of a run are started where the test itself is the supervisor."""

from collections.abc import Iterator

import pytest

from autotagger.pipeline.supervisor import processes as children
from tests.forked import FORKED


@pytest.fixture(scope="session", autouse=True)
def _forked_children() -> Iterator[None]:
    """Where a test starts `autotagger run`, they are spawned as everywhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(children, "_SPAWN", FORKED)
        yield
