"""The page for people: its examples are settings that work, and it names every key."""

import re
import tomllib
from pathlib import Path

import pytest

from autotagger.settings import PolicySettings, Settings

PAGE = (Path(__file__).parent.parent.parent / "docs/policy.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("example", re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL))
def test_the_examples_are_settings(example: str) -> None:
    assert Settings.model_validate(tomllib.loads(example)) != Settings()


@pytest.mark.parametrize("key", PolicySettings.model_fields)
def test_every_key_is_on_the_page(key: str) -> None:
    assert re.search(rf"\b{key}\b", PAGE)
