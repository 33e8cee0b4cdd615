"""Two accounts after their first run: retag, undo, verify and rebuild for two users, and a key that is revoked."""

import asyncio
import os
import random
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from autotagger.cli.context import REFUSED
from autotagger.config import of_account
from autotagger.demo.library import ME, PARTNER
from autotagger.demo.world import ALL
from autotagger.errors import ServerRefused
from autotagger.ledger.care import inspect
from autotagger.ledger.reader import LedgerReader
from autotagger.ledger.states import State
from autotagger.pipeline.ipc.messages import Operation
from autotagger.pipeline.operations.plan import plan_library
from autotagger.pipeline.operations.rebuild import rebuild
from autotagger.pipeline.run import run_operation
from autotagger.settings import Settings
from tests.pipeline.support import MARKER, held_links, ledger_links, run_once
from tests.pipeline.test_accounts import EACH, TwoAccounts, write_config
from tests.pipeline.test_operations import HIGH, LOW, assert_as_meant
from tests.pipeline.test_operations_killed import killed_until_done
from tests.pipeline.test_service import serving, until

USERS = (ME, PARTNER)


def with_policy(accounts: TwoAccounts, policy: dict[str, Any]) -> Settings:
    settings = accounts.settings()
    return Settings.model_validate(
        {**settings.model_dump(), "account": accounts.sections()["account"], "policy": policy}
    )


async def tagged(accounts: TwoAccounts, policy: dict[str, Any] | None = None) -> Settings:
    settings = with_policy(accounts, policy or {})
    await run_once(settings)
    await accounts.server.settle()
    assert accounts.marked() == accounts.owned_by(*USERS)
    return settings


def a_gift(accounts: TwoAccounts, *tags: str) -> dict[str, frozenset[str]]:
    """Each of the two gave these tags to a picture of their own before us."""
    given = {}
    for user in USERS:
        asset_id = min(accounts.owned_by(user))
        accounts.server.tag(asset_id, *tags)
        given[asset_id] = frozenset(tags)
    return given


async def test_operations_see_to_both_accounts_or_to_the_one_that_is_named(tmp_path: Path) -> None:
    accounts = TwoAccounts(tmp_path)
    async with accounts.server as server:
        given = a_gift(accounts, "holiday", "rating:general")  # the second we give, too
        await server.settle()
        await tagged(accounts, LOW)
        high = with_policy(accounts, HIGH)
        before, calls = ledger_links(high), server.calls.copy()
        of_ben = await plan_library(of_account(high, "ben"), score=0, account="ben")
        await run_operation(high, Operation("retag"))
        await server.settle()
        meant, bens = ledger_links(high), accounts.owned_by(PARTNER)
        assert of_ben.changed == sum(before[asset_id] != meant[asset_id] for asset_id in bens)
        assert of_ben.changed + of_ben.unchanged == EACH
        assert_as_meant(server, high, given)
        assert server.calls["preview"] == calls["preview"]
        for user in USERS:
            names = set().union(*(meant[asset_id] for asset_id in accounts.owned_by(user)))
            assert "plain" in names
            assert "simple background" not in names
        accounts.assert_tags_are_the_owners()

        for user in USERS:
            lost, disliked = sorted(accounts.owned_by(user))[:2]
            server.untag(lost, *meant[lost])
            unwanted = min(meant[disliked] - {MARKER})
            server.untag(disliked, unwanted)
            meant[disliked] -= {unwanted}
        await server.settle()
        anna = await run_operation(of_account(high, "anna"), Operation("verify"))
        assert anna.operation
        assert (anna.operation["read"], anna.operation["missing"], anna.operation["rejected"]) == (EACH, 1, 1)
        both = await run_operation(high, Operation("verify", repair=True))
        assert both.operation
        assert (both.operation["read"], both.operation["missing"], both.operation["rejected"]) == (2 * EACH, 2, 1)
        await server.settle()
        with LedgerReader(high.ledger_path) as ledger:
            for name, user in (("anna", ME), ("ben", PARTNER)):
                [taken_off] = ledger.of_account(ledger.account_named(name)).rejections()
                assert taken_off.asset_id == sorted(accounts.owned_by(user))[1]
        assert ledger_links(high) == meant
        assert_as_meant(server, high, given)
        accounts.assert_tags_are_the_owners()

        undone = await run_operation(of_account(high, "ben"), Operation("undo"))
        await server.settle()
        assert undone.operation
        assert undone.operation["deleted_tags"] > 1
        assert ledger_links(high) == {key: meant[key] for key in accounts.owned_by(ME)}
        assert_as_meant(server, high, given)
        assert set(server.store.tags_of(PARTNER)) == {"holiday", "rating:general"}
        assert MARKER in server.store.tags_of(ME)


async def test_a_lost_ledger_is_written_anew_for_everybody_or_not_at_all(tmp_path: Path) -> None:
    accounts = TwoAccounts(tmp_path)
    async with accounts.server as server:
        given = a_gift(accounts, "holiday")
        await server.settle()
        settings = await tagged(accounts)
        before, path = ledger_links(settings), settings.ledger_path
        server.revoke_key(accounts.keys[PARTNER])
        with pytest.raises(ServerRefused, match="account ben"):
            await rebuild(settings, replace=True, report=lambda _: None)
        assert ledger_links(settings) == before, "the ledger that knows Ben's pictures is still there"

        accounts.keys[PARTNER] = server.add_key([ALL], PARTNER)
        path.unlink()
        settings = accounts.settings()
        found = await rebuild(settings, replace=False, report=lambda _: None)
        assert (found.assets, found.others) == (2 * EACH, 2)
        assert ledger_links(settings) == before
        assert inspect(path) == []
        with LedgerReader(path) as ledger:
            counts = ledger.account_counts()
        assert {name: counts[name][State.VERIFIED] for name in ("anna", "ben")} == {"anna": EACH, "ben": EACH}
        again = await run_once(settings)
        assert again.counts.get("tag_calls", 0) == again.counts.get("preview_downloads", 0) == 0
        await run_operation(settings, Operation("undo"))
        await server.settle()
        assert held_links(server) == given


def environment(config: Path) -> dict[str, str]:
    """What every command of two accounts is started with; a service lists the libraries every second."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("AUTOTAGGER_", "IMMICH_"))}
    return ours | {
        "AUTOTAGGER_CONFIG": str(config),
        "AUTOTAGGER_PIPELINE_SWEEP_INTERVAL_S": "1",
        "AUTOTAGGER_VERIFY_INTERVAL_S": "0.5",
        "AUTOTAGGER_SERVICE_LISTEN_PORT": "0",
        "COLUMNS": "200",
    }


async def command(config: Path, *arguments: str) -> tuple[int | None, str]:
    """Exit code and stdout."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "autotagger", *arguments), env=environment(config), stdout=asyncio.subprocess.PIPE
    )
    printed, _ = await process.communicate()
    return process.returncode, printed.decode()


async def test_an_operation_that_left_an_account_out_says_so_and_the_next_one_ends_it(tmp_path: Path) -> None:
    accounts, config = TwoAccounts(tmp_path / "state"), tmp_path / "config.toml"
    async with accounts.server as server:
        settings = await tagged(accounts)
        before = ledger_links(settings)
        server.revoke_key(accounts.keys[PARTNER])
        write_config(accounts, config)
        code, printed = await command(config, "undo", "--all", "--yes")
        await server.settle()
        assert code == REFUSED
        assert "ben: key refused" in printed
        assert ledger_links(settings) == {key: before[key] for key in accounts.owned_by(PARTNER)}
        code, printed = await command(config, "status")
        assert code == 0
        assert "the last run skipped account ben: " in printed
        counted = {" ".join(line.split()) for line in printed.splitlines()}
        assert {f"anna: skipped {EACH}", f"ben: verified {EACH}"} <= counted, printed
        assert (await command(config, "verify"))[0] == REFUSED

        accounts.keys[PARTNER] = server.add_key([ALL], PARTNER)
        await run_operation(accounts.settings(), Operation("undo"))
        await server.settle()
        assert held_links(server) == {}


async def test_a_key_revoked_while_the_service_runs_stops_its_account_until_it_has_another(tmp_path: Path) -> None:
    accounts, config = TwoAccounts(tmp_path / "state"), tmp_path / "config.toml"
    async with accounts.server as server:
        write_config(accounts, config)
        async with serving(environment(config)) as process:
            await until(lambda: accounts.marked() == accounts.owned_by(*USERS), process)
            server.revoke_key(accounts.keys[PARTNER])
            theirs = server.upload(owner_id=PARTNER)
            mine: set[str] = set()
            for _ in range(2):
                mine.add(server.upload(owner_id=ME))
                await until(lambda: mine <= accounts.marked(), process)
            assert theirs not in accounts.marked()
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0
        accounts.keys[PARTNER] = server.add_key([ALL], PARTNER)
        write_config(accounts, config)
        async with serving(environment(config)) as process:
            await until(lambda: theirs in accounts.marked(), process)
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0
        await server.settle()
        accounts.assert_tags_are_the_owners()
        assert held_links(server) == ledger_links(accounts.settings())


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 7))])
async def test_retag_and_undo_for_two_survive_kill_9(seed: int, tmp_path: Path) -> None:
    accounts, config, log = TwoAccounts(tmp_path / "state"), tmp_path / "config.toml", tmp_path / "log"
    chance = random.Random(seed)
    async with accounts.server as server:
        given = a_gift(accounts, "holiday", "rating:general")  # the second we give, too
        await server.settle()
        await tagged(accounts, LOW)
        previews = server.calls["preview"]
        write_config(accounts, config)
        high = accounts.settings()
        more = {"AUTOTAGGER_CONFIG": str(config), "IMMICH_API_KEY": ""}

        await killed_until_done(server, high.state_dir, "retag", log, chance, more)
        await server.settle()
        assert_as_meant(server, high, given)
        meant = ledger_links(high)
        assert meant.keys() == accounts.owned_by(*USERS)
        assert all("simple background" not in tags for tags in meant.values())
        assert server.calls["preview"] == previews
        accounts.assert_tags_are_the_owners()

        await killed_until_done(server, high.state_dir, "undo --account ben --all --yes", log, chance, more)
        await server.settle()
        assert ledger_links(high) == {key: meant[key] for key in accounts.owned_by(ME)}
        assert_as_meant(server, high, given)
        server.refresh_metadata()
        await server.settle()
        assert_as_meant(server, high, given)

        await killed_until_done(server, high.state_dir, "undo --all --yes", log, chance, more)
        await server.settle()
        assert held_links(server) == given
        assert ledger_links(high) == {}
