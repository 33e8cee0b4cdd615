"""Checks of the configuration itself, also against the model's labels and the ports of this machine."""

from autotagger.doctor.check_result import NO_START, CheckResult, fail, good, skip, warn
from autotagger.doctor.facts import Facts


def old_keys(facts: Facts) -> CheckResult:
    """Does the configuration use keys of an earlier version, which will stop working?"""
    if facts.old_keys:
        return warn("; ".join(facts.old_keys), "rename or remove them in config.toml or the environment")
    return good("no key of an earlier version")


def policy(facts: Facts) -> CheckResult:
    """Can tags be decided by the [policy] settings, with this model's labels and the second names?"""
    if trouble := facts.policy_trouble:
        return fail(trouble.message, "correct that key in config.toml or the environment", trouble.exit_code)
    if facts.model.labels is None:
        return skip("not checked against the model's labels: the model is not here")
    return good("[policy] fits the model")


def port(facts: Facts) -> CheckResult:
    """Is the port for health and metrics free?"""
    service = facts.settings.service
    if facts.port_trouble:
        what = f"cannot serve health and metrics on {service.listen_host} port {service.listen_port}"
        fix = "set [service] listen_port to a free port, or to 0 to turn them off"
        return fail(f"{what} ({facts.port_trouble})", fix, NO_START)
    return good(f"port {service.listen_port}" if service.listen_port else "turned off")


CHECKS = {"settings.keys": old_keys, "settings.policy": policy, "settings.port": port}
