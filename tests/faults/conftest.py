"""The harness asserts in modules of its own: pytest is to explain those too."""

import asyncio

import pytest

pytest.register_assert_rewrite("tests.faults.stage", "tests.faults.belongings")

from tests.faults import stage  # noqa: E402 - only now


@pytest.fixture(scope="session")
def meant(tmp_path_factory: pytest.TempPathFactory) -> stage.Links:
    """What the server holds after a run that nothing disturbed."""
    return asyncio.run(stage.undisturbed(tmp_path_factory.mktemp("undisturbed")))
