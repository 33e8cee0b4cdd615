"""How long 100,000 assets take: printed, not judged: a shared machine would judge wrongly."""

import time

import numpy as np
import pytest

from autotagger.policy.rules import TagPolicy
from autotagger.scores import pack, unpack
from autotagger.settings import PolicySettings

ASSETS, SCORES, LABELS = 100_000, 100, 10_861
EVERYTHING = PolicySettings(
    mcut={"general": 0.2, "character": 0.15},
    top={"general": 40},
    min_tags=5,
    max_tags=60,
    implies={"label_7": ("label_8",)},
    series=True,
    drop_overlapping=True,
    template={"character": "character:{name}"},
)


@pytest.mark.slow
@pytest.mark.parametrize("settings", [PolicySettings(), EVERYTHING], ids=["defaults", "everything"])
def test_100_000_assets(settings: PolicySettings, capsys: pytest.CaptureFixture[str]) -> None:
    labels = [(f"rating_{number}", "rating") for number in range(4)]
    labels += [(f"label_{number}", "general") for number in range(8_106)]
    labels += [(f"name_{number}_(series_{number % 80})", "character") for number in range(LABELS - len(labels))]
    policy = TagPolicy(labels, settings, {"general": 0.26, "character": 0.85}, "marker")
    rng = np.random.default_rng(1)
    stored = []
    for _ in range(2_000):
        values = np.zeros(LABELS, np.float32)
        values[rng.choice(LABELS, SCORES, replace=False)] = 0.05 + 0.95 * rng.beta(0.6, 1.2, SCORES)
        stored.append(pack(values, policy.always))
    begun = time.process_time()
    tags = sum(len(policy.tags(unpack(stored[number % len(stored)]))) for number in range(ASSETS))
    seconds = time.process_time() - begun
    with capsys.disabled():
        print(f"\n{ASSETS:,} assets, {tags / ASSETS:.1f} tags each: {seconds:.1f} s of one core")
    assert tags > ASSETS
