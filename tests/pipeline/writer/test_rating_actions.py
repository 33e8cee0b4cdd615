"""Rating actions: off unless asked for, after the proof, never twice, never backwards."""

import random
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web

from autotagger.demo import StandIn, tiny_library
from autotagger.demo.faults import Call, status
from autotagger.errors import BadConfig, ServerRefused
from autotagger.pipeline.ipc.messages import Operation
from autotagger.pipeline.run import run_operation
from autotagger.pipeline.writer.rating_actions import actions_of
from autotagger.policy.rules import TagPolicy
from autotagger.settings import PolicySettings
from tests.pipeline.support import MARKER, held_links, ledger_links, run_once, settings_for
from tests.pipeline.test_operations_killed import killed_until_done

#: What every drawn picture is rated.
RATED = "general"
ARCHIVE: dict[str, Any] = {"rating_action": {RATED: "archive"}}
LABELS = [("general", "rating"), ("explicit", "rating"), ("general", "general")]


class Updates:
    """Notes the calls that change assets, and what the assets were like then. `refuse` answers them instead."""

    def __init__(self, *, refuse: int = 0) -> None:
        self.server: StandIn | None = None
        self.changed: list[str] = []
        self.unsettled: list[str] = []
        self._refuse = refuse

    async def __call__(self, call: Call) -> web.StreamResponse | None:
        if call.name != "update_assets":
            return None
        if self._refuse:
            self._refuse -= 1
            return status(503)
        body = orjson.loads(await call.request.read())
        assert body.keys() == {"ids", "visibility"}
        assert self.server
        for asset_id in body["ids"]:
            row = self.server.world.store.rows[asset_id]
            held = self.server.links()[asset_id]
            if MARKER not in held or set(row.xmp or ()) != held:
                self.unsettled.append(asset_id)
        self.changed += body["ids"]
        return None


def visibilities(server: StandIn) -> dict[str, str]:
    return {asset_id: row.visibility for asset_id, row in server.world.store.rows.items()}


async def test_what_is_proven_is_archived_once_and_stays_as_a_person_left_it(tmp_path: Path) -> None:
    updates = Updates(refuse=1)
    async with StandIn(tiny_library(12), faults=updates) as server:
        updates.server = server
        ids = [asset.id for asset in server.library.assets]
        server.set_visibility(ids[0], "archive")
        settings = settings_for(server, tmp_path, policy=ARCHIVE, immich={"batch_size": 5})
        await run_once(settings)
        await server.settle()
        assert set(visibilities(server).values()) == {"archive"}
        assert sorted(updates.changed) == sorted(ids[1:]), "each once, and none that was archived before"
        assert updates.unsettled == [], "all tags had gone through Immich's own jobs"
        assert held_links(server) == ledger_links(settings), "and none was lost over it"

        server.set_visibility(ids[1], "timeline")
        await run_once(settings)
        assert visibilities(server)[ids[1]] == "timeline"
        assert len(updates.changed) == len(ids) - 1


async def test_what_was_tagged_before_follows_and_a_retag_leaves_what_a_person_moved_back(tmp_path: Path) -> None:
    updates = Updates()
    async with StandIn(tiny_library(12), faults=updates) as server:
        updates.server = server
        ids = [asset.id for asset in server.library.assets]
        await run_once(settings_for(server, tmp_path))
        await server.settle()
        assert set(visibilities(server).values()) == {"timeline"}
        gone = ids.pop()
        server.remove(gone)  # which keeps nobody else

        asking = settings_for(server, tmp_path, policy=ARCHIVE)
        await run_once(asking)
        assert set(visibilities(server).values()) == {"archive"}
        assert sorted(updates.changed) == sorted(ids)

        server.set_visibility(ids[0], "timeline")
        renamed = settings_for(server, tmp_path, policy={**ARCHIVE, "rename": {"white_background": "white"}})
        await run_operation(renamed, Operation("retag"))
        await server.settle()
        meant = ledger_links(renamed)
        del meant[gone]
        assert held_links(server) == meant, "all were changed once more"
        assert any("white" in tags for tags in held_links(server).values())
        assert visibilities(server)[ids[0]] == "timeline"
        assert len(updates.changed) == len(ids), "and none of them moved again"


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
async def test_kill_9_at_random_moments_loses_no_tag_and_leaves_nothing_in_the_timeline(
    seed: int, tmp_path: Path
) -> None:
    updates = Updates()
    async with StandIn(tiny_library(24), faults=updates) as server:
        updates.server = server
        asked = {"AUTOTAGGER_POLICY_RATING_ACTION": '{"general": "archive"}'}
        chance, log = random.Random(seed), tmp_path / "log"
        await killed_until_done(server, tmp_path / "state", "run --once", log, chance, more=asked)
        await server.settle()
        assert updates.unsettled == []
        assert set(visibilities(server).values()) == {"archive"}
        assert held_links(server) == ledger_links(settings_for(server, tmp_path / "state", policy=ARCHIVE))


async def test_a_key_that_may_not_is_told_before_anything_is_done(tmp_path: Path) -> None:
    async with StandIn(tiny_library(1)) as server:
        key = server.add_key(["asset.read", "asset.view", "tag.read", "tag.create", "tag.asset"])
        settings = settings_for(server, tmp_path, policy=ARCHIVE, immich={"api_key": key})
        with pytest.raises(ServerRefused, match=r"asset\.update, which \[policy\.rating_action\] needs"):
            await run_once(settings)
        assert server.calls["preview"] == 0


def policy(**settings: Any) -> TagPolicy:
    return TagPolicy(LABELS, PolicySettings.model_validate(settings), {"general": 0.5}, MARKER)


def test_a_rating_is_known_by_its_tag() -> None:
    named = policy(template={"rating": "age:{name}"})
    assert actions_of(named, {"explicit": "locked"}) == {"age:explicit": "locked"}
    assert actions_of(named, {}) == {}


@pytest.mark.parametrize("settings", [{"rating": False}, {"blacklist": ["rating:explicit"]}])
def test_a_rating_without_a_tag_is_no_ground_for_anything(settings: dict[str, Any]) -> None:
    with pytest.raises(BadConfig, match="gives it no tag"):
        actions_of(policy(**settings), {"explicit": "archive"})
    with pytest.raises(BadConfig, match="known: general, explicit"):
        actions_of(policy(), {"general_audience": "archive"})
