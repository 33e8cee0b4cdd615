"""Checks of the configuration itself."""

from autotagger.doctor.check_result import CheckResult, good, warn
from autotagger.doctor.facts import Facts


def old_keys(facts: Facts) -> CheckResult:
    """Does the configuration use keys of an earlier version, which will stop working?"""
    if facts.old_keys:
        return warn("; ".join(facts.old_keys), "rename or remove them in config.toml or the environment")
    return good("no key of an earlier version")


CHECKS = {"settings.keys": old_keys}
