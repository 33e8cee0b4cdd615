"""`plan`: what it says is what retag then does, and it writes nothing in Immich."""

import uuid
from collections import Counter
from pathlib import Path

import pytest

from autotagger.demo import StandIn, tiny_library
from autotagger.errors import AssetFailed
from autotagger.ledger.rows import AssetFilter
from autotagger.pipeline.ipc.messages import Operation
from autotagger.pipeline.operations.plan import plan_library
from autotagger.pipeline.run import run_operation
from tests.pipeline.support import held_links, ledger_links, run_once, settings_for
from tests.pipeline.test_operations import HIGH, LOW

WRITES = {"tag_assets", "untag_assets", "upsert_tags", "delete_tag"}


async def test_a_fresh_library_is_planned_from_a_sample_and_nothing_is_written(tmp_path: Path) -> None:
    async with StandIn(tiny_library(30)) as server:
        settings = settings_for(server, tmp_path)
        planned = await plan_library(settings, score=10)
        assert (planned.first, planned.unscored) == (10, 20)
        assert planned.added[settings.marker] == 10
        assert set(planned.new_tags) == set(planned.added)
        assert planned.changes == 10
        assert planned.background_s == 10 / 8
        assert not WRITES & set(server.calls)

        previews = server.calls["preview"]
        await run_once(settings)
        assert server.calls["preview"] == previews + 20, "what was scored for the plan is not scored again"
        await server.settle()
        held = held_links(server)
        assert all(tag in set().union(*held.values()) for tag in planned.added)


async def test_the_plan_of_another_policy_is_what_retag_does(tmp_path: Path) -> None:
    async with StandIn(tiny_library(30)) as server:
        low, high = (settings_for(server, tmp_path, policy=policy) for policy in (LOW, HIGH))
        await run_once(low)
        before, calls = ledger_links(low), server.calls.copy()
        planned = await plan_library(high, score=0)
        assert not (WRITES | {"preview"}) & set(server.calls - calls)
        assert (planned.first, planned.unscored) == (0, 0)
        one = next(iter(before))
        alone = await plan_library(high, score=0, chosen=AssetFilter(asset_id=one))
        plain = {key for key, tags in before.items() if "simple background" in tags}
        of_plain = await plan_library(high, score=0, chosen=AssetFilter(tag="simple background"))
        await run_operation(high, Operation("retag"))
        after = ledger_links(high)
        assert Counter(tag for key in after for tag in after[key] - before[key]) == planned.added
        assert Counter(tag for key in after for tag in before[key] - after[key]) == planned.removed
        assert sum(before[key] != after[key] for key in after) == planned.changed
        assert planned.changed + planned.unchanged == 30

        assert alone.changed + alone.unchanged == 1
        assert set(alone.removed) == before[one] - after[one]
        assert 0 < of_plain.changed + of_plain.unchanged == len(plain) < 30
        assert Counter(tag for key in plain for tag in before[key] - after[key]) == of_plain.removed
        with pytest.raises(AssetFailed, match="does not know"):
            await plan_library(high, score=0, chosen=AssetFilter(asset_id=str(uuid.uuid4())))

        done = await plan_library(high, score=0)
        assert (done.changed, done.unchanged, done.calls, done.changes) == (0, 30, 0, 0)
