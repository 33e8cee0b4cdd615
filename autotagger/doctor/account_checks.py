"""Check of the keys of several accounts, as a run tries them: one that is refused does not keep the others from
starting, one that does not say whose it is does.
"""

from collections.abc import Mapping

from autotagger.doctor.check_result import REFUSED, WRONG_SETTING, CheckResult, fail, good, skip, warn
from autotagger.doctor.facts import Facts
from autotagger.doctor.server_checks import KEYS_PAGE, NOT_REACHED, needed_permissions
from autotagger.immich.dialect import OPTIONAL, PREFERENCES
from autotagger.immich.types import Server

_FIX = f"edit the key in {KEYS_PAGE} of that user"


def accounts(facts: Facts) -> CheckResult:
    """Is the key of every account accepted, with all that it needs, and each that of another user?"""
    found = facts.server.accounts
    if facts.server.version is None or facts.server.version_trouble:
        return skip(NOT_REACHED)
    if len(found) < 2:
        return good("one account")
    accepted = {one.name: one.server for one in found if one.server and not one.trouble}
    if fatal := _lacking(accepted, needed_permissions(facts)):
        return fail(fatal, _FIX, REFUSED)
    if twice := _same_user(accepted):
        return fail(twice, "give each account the key of a different user", WRONG_SETTING)
    if troubled := "; ".join(f"{one.name}: {one.trouble.message}" for one in found if one.trouble):
        return warn(f"{troubled}; a run skips that account", f"set a working key ({KEYS_PAGE} of that user)")
    if less := _lacking(accepted, OPTIONAL.keys() - {PREFERENCES}):
        return warn(less, _FIX)
    return good(f"accepted: {', '.join(accepted)}")


def _lacking(servers: Mapping[str, Server], wanted: set[str]) -> str:
    missing = {name: sorted(one for one in wanted if not server.may(one)) for name, server in servers.items()}
    return "; ".join(f"the key of {name} lacks {', '.join(some)}" for name, some in missing.items() if some)


def _same_user(servers: Mapping[str, Server]) -> str:
    names: dict[str | None, str] = {}
    for name, server in servers.items():
        if (other := names.setdefault(server.user_id, name)) != name:
            return f"{other} and {name} have keys of the same Immich user"
    return ""


CHECKS = {"key.accounts": accounts}
