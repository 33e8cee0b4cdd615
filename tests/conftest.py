"""What all tests share: how they start processes, and the profile of hypothesis."""

import subprocess
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from autotagger.pipeline.supervisor import processes as children
from tests.dying import DyingPopen
from tests.forked import FORKED

# Under load an example can take seconds: how long one takes says nothing about what is right.
settings.register_profile("no deadlines", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("no deadlines")


@pytest.fixture(scope="session", autouse=True)
def _forked_children() -> Iterator[None]:
    """Children are forked from a process that has imported everything (forked.py). Where a test starts
    `autotagger run`, and in tests/pipeline/test_spawned.py, they are spawned as everywhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(children, "_SPAWN", FORKED)
        yield


@pytest.fixture(scope="session", autouse=True)
def _dying_children() -> Iterator[None]:
    """What the tests start ends with them, however they end. (FORKED ends with them by itself, and so do those
    that it has forked.)"""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess, "Popen", DyingPopen)
        yield
