"""Two users of one Immich, each with a key of their own, who see each other's timelines: one ledger, one model."""

import asyncio
import json
import os
import sys
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

from aiohttp import web

from autotagger.cli.context import REFUSED
from autotagger.config import load_settings
from autotagger.demo import Fate, Library, StandIn, tiny_library
from autotagger.demo.faults import Call
from autotagger.demo.library import ME, PARTNER, STRANGER
from autotagger.demo.world import ALL
from autotagger.ledger.states import State
from autotagger.pipeline.ipc.messages import Operation
from autotagger.pipeline.run import run_operation
from autotagger.settings import Settings
from tests.pipeline.support import MARKER, held_links, ledger_links, run_once

EACH = 12
SHARED_FILES = 4
"""Files that both users uploaded."""


def shared_library() -> Library:
    """Anna's pictures, Ben's, some of them the same files, and a few that somebody shares with Anna."""
    drawn = tiny_library(2 * EACH + 3).assets
    anna = [replace(spec, content=f"file {number}") for number, spec in enumerate(drawn[:EACH])]
    ben = [replace(spec, owner_id=PARTNER) for spec in drawn[EACH : 2 * EACH]]
    for number in range(SHARED_FILES):
        ben[number] = replace(ben[number], media=anna[number].media, content=anna[number].content)
    others = [replace(spec, owner_id=STRANGER, fate=Fate.PARTNER) for spec in drawn[2 * EACH :]]
    return Library((*anna, *ben, *others), 1)


class TwoAccounts:
    """A server with two users who are each other's partners, and autotagger's settings with both keys."""

    def __init__(self, state_dir: Path) -> None:
        self.server = StandIn(shared_library())
        self.server.share(ME, PARTNER)
        self.server.share(STRANGER, ME)
        self.keys = {ME: self.server.api_key, PARTNER: self.server.add_key([ALL], PARTNER)}
        self._state_dir = state_dir

    def owned_by(self, *users: str) -> frozenset[str]:
        return frozenset(spec.id for spec in self.server.library.assets if spec.owner_id in users)

    def sections(self) -> dict[str, Any]:
        return {
            "state_dir": str(self._state_dir),
            "immich": {"base_url": self.server.url, "retry_budget_s": 20.0},
            "model": {"name": "palette", "device": "CPU"},
            "account": [
                {"name": "anna", "api_key": self.keys[ME]},
                {"name": "ben", "api_key": self.keys[PARTNER]},
            ],
        }

    def settings(self) -> Settings:
        return load_settings(flags=self.sections(), environ={"AUTOTAGGER_CONFIG": "/dev/null"})

    def marked(self) -> set[str]:
        return {asset_id for asset_id, tags in self.server.links().items() if MARKER in tags}

    def assert_tags_are_the_owners(self) -> None:
        for row in self.server.store.rows.values():
            assert {tag.owner for tag in self.server.store.tags_on(row)} <= {row.spec.owner_id}, row.id


class ByKey:
    """The assets that each key sent tags for, and the ones whose preview it downloaded."""

    def __init__(self) -> None:
        self.tagged: defaultdict[str, set[str]] = defaultdict(set)
        self.seen: defaultdict[str, set[str]] = defaultdict(set)

    async def __call__(self, call: Call) -> web.StreamResponse | None:
        key = call.request.headers.get("x-api-key", "")
        if call.name == "tag_assets":
            self.tagged[key].update(json.loads(await call.request.read())["assetIds"])
        if call.name == "preview":
            self.seen[key].add(call.request.match_info["id"])
        return None


async def test_every_key_tags_its_own_users_pictures_and_the_same_file_is_inferred_once(tmp_path: Path) -> None:
    accounts, calls = TwoAccounts(tmp_path), ByKey()
    async with accounts.server as server:
        server.faults = calls
        settings = accounts.settings()
        summary = await run_once(settings)
        await server.settle()

        assert accounts.marked() == accounts.owned_by(ME, PARTNER), "and nothing of whoever shares with Anna"
        assert held_links(server) == ledger_links(settings)
        accounts.assert_tags_are_the_owners()
        for user, key in accounts.keys.items():
            assert calls.tagged[key] == accounts.owned_by(user)
            assert calls.seen[key] <= accounts.owned_by(user)
            assert MARKER in server.store.tags_of(user)
        assert not server.store.tags_of(STRANGER)

        assert summary.counts["copied"] == SHARED_FILES
        assert summary.counts["inferred"] == server.calls["preview"] == 2 * EACH - SHARED_FILES
        pairs = defaultdict(list)
        for spec in server.library.assets:
            pairs[spec.checksum].append(server.links()[spec.id])
        assert sum(len(pair) == 2 and pair[0] == pair[1] for pair in pairs.values()) == SHARED_FILES
        verified = {name: states[State.VERIFIED] for name, states in summary.accounts.items()}
        assert verified == {"anna": EACH, "ben": EACH}

        before = server.calls.copy()
        await run_once(settings)
        assert not {"preview", "tag_assets", "upsert_tags"} & set(server.calls - before), "all is done already"


async def test_undo_takes_back_what_is_ours_in_both_accounts(tmp_path: Path) -> None:
    accounts = TwoAccounts(tmp_path)
    async with accounts.server as server:
        given = {}
        for user in (ME, PARTNER):
            asset_id = min(accounts.owned_by(user))
            server.tag(asset_id, "holiday", "rating:general")
            given[asset_id] = frozenset({"holiday", "rating:general"})
        await server.settle()
        settings = accounts.settings()
        await run_once(settings)
        await server.settle()
        assert accounts.marked() == accounts.owned_by(ME, PARTNER)

        await run_operation(settings, Operation("undo"))
        await server.settle()
        assert held_links(server) == given
        assert ledger_links(settings) == {}
        for user in (ME, PARTNER):
            assert set(server.store.tags_of(user)) == {"holiday", "rating:general"}
        server.refresh_metadata()
        await server.settle()
        assert held_links(server) == given, "the .xmp files know nothing of us either"


async def test_a_key_revoked_during_a_run_stops_its_account_alone(tmp_path: Path) -> None:
    accounts = TwoAccounts(tmp_path / "state")
    async with accounts.server as server:

        async def revoke_bens(call: Call) -> web.StreamResponse | None:
            theirs = call.request.headers.get("x-api-key") == accounts.keys[PARTNER]
            if call.name == "tag_assets" and theirs and accounts.keys[PARTNER] in server.world.keys:
                server.revoke_key(accounts.keys[PARTNER])
            return None

        server.faults = revoke_bens
        exit_code, told = await run_command(accounts, tmp_path / "config.toml")
        await server.settle()
        assert exit_code == REFUSED
        assert list(told["refused"]) == ["ben"]
        assert "key" in told["refused"]["ben"]
        assert told["accounts"]["anna"]["verified"] == EACH
        assert accounts.marked() == accounts.owned_by(ME)

        # As at the next start, with a key that is refused from the beginning, and then with a new one.
        exit_code, told = await run_command(accounts, tmp_path / "config.toml")
        assert (exit_code, list(told["refused"])) == (REFUSED, ["ben"])
        accounts.keys[PARTNER] = server.add_key([ALL], PARTNER)
        server.faults = None
        summary = await run_once(accounts.settings())
        await server.settle()
        assert not summary.refused
        assert accounts.marked() == accounts.owned_by(ME, PARTNER)
        accounts.assert_tags_are_the_owners()


def write_config(accounts: TwoAccounts, config: Path) -> None:
    """What a user would write, with the keys in it."""
    sections = accounts.sections()
    sections_of_accounts, state_dir = sections.pop("account"), sections.pop("state_dir")
    lines = [f"state_dir = {json.dumps(state_dir)}"]
    for name, section in [*sections.items(), *(("[account]", account) for account in sections_of_accounts)]:
        lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in section.items())]
    config.write_text("\n".join(lines))
    config.chmod(0o600)


async def run_command(accounts: TwoAccounts, config: Path) -> tuple[int | None, dict[str, Any]]:
    """`autotagger run --once --json` as a user calls it: exit code and counts."""
    write_config(accounts, config)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "autotagger", "--config", str(config), "run", "--once", "--json"),
        env={
            name: value for name, value in os.environ.items() if "IMMICH" not in name and "AUTOTAGGER" not in name
        },
        stdout=asyncio.subprocess.PIPE,
    )
    printed, _ = await process.communicate()
    told: dict[str, Any] = json.loads(printed)
    return process.returncode, told
