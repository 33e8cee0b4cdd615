"""What all tests share: how the children of a run are started where the test itself is the supervisor."""

import multiprocessing
from collections.abc import Iterator

import pytest

from autotagger.pipeline import children, fetcher, inferencer, writer
from autotagger.tagger import session


@pytest.fixture(scope="session", autouse=True)
def _forked_children() -> Iterator[None]:
    """Children are forked from a process that has imported what they import: importing is most of what a short run
    costs, and there are hundreds. Where a test starts `autotagger run`, they are spawned as everywhere."""
    forkserver = multiprocessing.get_context("forkserver")
    forkserver.set_forkserver_preload([module.__name__ for module in (writer, fetcher, inferencer, session)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(children, "_SPAWN", forkserver)
        yield
