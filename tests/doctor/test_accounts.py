"""The doctor and two accounts: every account's key is tried, and the libraries are counted together."""

from pathlib import Path

import pytest

from autotagger.demo.library import ME, PARTNER
from autotagger.doctor.check_result import REFUSED, WRONG_SETTING, CheckResult, Level
from autotagger.doctor.registry import CHECKS
from autotagger.doctor.server import look_at_server
from autotagger.immich.dialect import NEEDED, OPTIONAL
from tests.doctor.support import facts_with
from tests.pipeline.test_accounts import EACH, TwoAccounts

EVERY = (*NEEDED, *OPTIONAL)
LOOKED_AT = ("server.address", "key.accepted", "key.user.read", "key.accounts", "library.size")


async def judged(accounts: TwoAccounts) -> dict[str, CheckResult]:
    settings = accounts.settings()
    facts = facts_with(settings=settings, server=await look_at_server(settings))
    return {name: CHECKS[name](facts) for name in LOOKED_AT}


async def test_all_keys_are_tried_and_all_libraries_counted(tmp_path: Path) -> None:
    accounts = TwoAccounts(tmp_path)
    async with accounts.server as server:
        accounts.keys = {user: server.add_key(EVERY, user) for user in (ME, PARTNER)}
        results = await judged(accounts)
    assert {result.level for result in results.values()} == {Level.PASS}
    assert results["key.accounts"].found == "accepted: anna, ben"
    # and what they share with each other, or others with them, is not counted twice
    assert results["library.size"].found.startswith(f"{2 * EACH} assets, 0 of them marked")


@pytest.mark.parametrize(("user", "name"), [(ME, "anna"), (PARTNER, "ben")])
async def test_a_key_that_is_refused_is_named_and_does_not_keep_the_others(
    user: str, name: str, tmp_path: Path
) -> None:
    accounts = TwoAccounts(tmp_path)
    async with accounts.server as server:
        server.revoke_key(accounts.keys[user])
        results = await judged(accounts)
    assert results["key.accounts"].level is Level.WARN
    assert results["key.accounts"].found.startswith(f"{name}: Immich does not accept the API key")
    assert results["library.size"].level is Level.PASS


async def test_nobody_s_key_is_accepted(tmp_path: Path) -> None:
    accounts = TwoAccounts(tmp_path)
    async with accounts.server as server:
        for key in accounts.keys.values():
            server.revoke_key(key)
        results = await judged(accounts)
    assert (results["key.accepted"].level, results["key.accepted"].exit_code) == (Level.FAIL, REFUSED)


@pytest.mark.parametrize(
    ("missing", "level", "code"),
    [("tag.asset", Level.WARN, 0), ("user.read", Level.FAIL, REFUSED), ("tag.delete", Level.WARN, 0)],
)
async def test_what_another_account_s_key_lacks_is_named(
    missing: str, level: Level, code: int, tmp_path: Path
) -> None:
    accounts = TwoAccounts(tmp_path)
    async with accounts.server as server:
        accounts.keys[ME] = server.add_key(EVERY, ME)
        accounts.keys[PARTNER] = server.add_key([one for one in EVERY if one != missing], PARTNER)
        result = (await judged(accounts))["key.accounts"]
    assert (result.level, result.exit_code) == (level, code)
    assert "ben" in result.found
    assert missing in result.found


async def test_two_keys_of_one_user_keep_a_run_from_starting(tmp_path: Path) -> None:
    accounts = TwoAccounts(tmp_path)
    async with accounts.server as server:
        accounts.keys[PARTNER] = server.add_key(EVERY, ME)
        result = (await judged(accounts))["key.accounts"]
    assert (result.level, result.exit_code) == (Level.FAIL, WRONG_SETTING)
    assert result.found == "anna and ben have keys of the same Immich user"
