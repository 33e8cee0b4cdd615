"""Every check there is, in the order in which a person reads them."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from autotagger.doctor import account_checks, machine_checks, server_checks, settings_checks, work_checks
from autotagger.doctor.check_result import CheckResult
from autotagger.doctor.facts import Facts

#: By name; a check is a pure function of the facts.
CHECKS: Mapping[str, Callable[[Facts], CheckResult]] = MappingProxyType(
    {
        **settings_checks.CHECKS,
        **server_checks.CHECKS,
        **account_checks.CHECKS,
        **work_checks.CHECKS,
        **machine_checks.CHECKS,
    }
)
