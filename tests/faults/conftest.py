"""The harness asserts in modules of its own: pytest is to explain those too."""

import pytest

pytest.register_assert_rewrite("tests.faults.stage", "tests.faults.belongings")
