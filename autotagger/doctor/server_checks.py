"""Checks of Immich: address, TLS, version, key, permissions, tags feature, library, previews, latency, clock."""

from collections import Counter
from collections.abc import Callable
from functools import partial

from yarl import URL

from autotagger.doctor.check_result import REFUSED, WRONG_SETTING, CheckResult, fail, good, skip, warn
from autotagger.doctor.facts import Facts, Sample
from autotagger.errors import Fatal
from autotagger.immich.dialect import LIBRARIES, NEEDED, OPTIONAL, PREFERENCES, SOMETIMES, UPDATE
from autotagger.pipeline.selecting import needed_by

#: A call that a server in the same house answers more slowly than this is busy, asleep or far away.
SLOW_S = 0.5
#: More than this and the two clocks are not only rounded differently.
MAX_SKEW_S = 5.0
KEYS_PAGE = "Immich: Account Settings > API Keys"
NOT_REACHED = "not checked: Immich is unreachable"
NO_KEY = "not checked: Immich does not accept the key"


def address(facts: Facts) -> CheckResult:
    """The address and the key, as settings."""
    if trouble := facts.server.address_trouble:
        return fail(
            trouble.message, "set IMMICH_BASE_URL and IMMICH_API_KEY_FILE, or run autotagger init", WRONG_SETTING
        )
    return good(facts.server.address)


def reach(facts: Facts) -> CheckResult:
    """Does Immich, and not something else, answer there, and over TLS that is trusted?"""
    server = facts.server
    if server.address_trouble:
        return skip("not checked: no usable address and key")
    if trouble := server.reach_trouble:
        return fail(trouble.message, _reach_fix(trouble, server.address), REFUSED)
    return good(f"Immich answers at {server.address}")


def _reach_fix(trouble: Fatal, address: str) -> str:
    if "certificate" in trouble.message:
        return "set ca_file in [immich] to the certificate of the authority that signed Immich's"
    if "not Immich's API" in trouble.message or "redirects" in trouble.message:
        return "set base_url in [immich] to the address that Immich's web page has in a browser"
    return f"start Immich, and try `curl {address}/server/ping` on this machine: it must answer pong"


def tls(facts: Facts) -> CheckResult:
    """Does the key travel where others could read it?"""
    server = facts.server
    if server.address_trouble or server.reach_trouble:
        return skip(NOT_REACHED)
    if server.exposed:
        return warn("the API key travels unencrypted to a public address", "use https in base_url of [immich]")
    scheme = URL(server.address).scheme
    return good("https, certificate trusted" if scheme == "https" else "http, within a private network")


def version(facts: Facts) -> CheckResult:
    """Is it a version of Immich that we speak with?"""
    server = facts.server
    if server.version is None:
        return skip(NOT_REACHED)
    if trouble := server.version_trouble:
        return fail(trouble.message, "update Immich", REFUSED)
    dialect = f", API dialect {server.server.dialect}" if server.server else ""
    return good(f"Immich {server.version}{dialect}")


def key(facts: Facts) -> CheckResult:
    """Is the key accepted at all? What it may do has checks of its own."""
    server = facts.server
    if server.version is None or server.version_trouble:
        return skip(NOT_REACHED)
    if server.server is None:
        message = server.key_trouble.message if server.key_trouble else "Immich does not accept the key"
        return fail(message, f"create a new key ({KEYS_PAGE} > New API Key) and put it into the key file", REFUSED)
    if "all" in server.server.permissions:
        return warn(
            "the key has every permission",
            f"create one with only these permissions: {' '.join((*NEEDED, *OPTIONAL))}",
        )
    return good("accepted")


def private_key(facts: Facts) -> CheckResult:
    """Can other users of this machine read the key?"""
    if facts.open_files:
        return warn(
            f"every user of this machine can read the key in {' and '.join(facts.open_files)}",
            f"chmod 600 {' '.join(facts.open_files)}",
        )
    return good("other users cannot read the key file")


def permission(name: str, facts: Facts) -> CheckResult:
    """One permission: the key must hold it by name, and using it must work."""
    found = facts.server
    if found.server is None:
        return skip(NO_KEY if found.version else NOT_REACHED)
    needed = name in needed_permissions(facts)
    purpose = f" ({OPTIONAL[name]})" if name in OPTIONAL else ""
    tick = f"edit the key in {KEYS_PAGE} and tick {name}"
    if not found.server.may(name) and not needed and name in SOMETIMES:
        return good(f"missing, but only {SOMETIMES[name]} needs it")
    if found.server.may(name) and not needed and name == LIBRARIES:
        return good("granted; nothing needs it")  # and only an administrator's key could use it
    if not found.server.may(name):
        return fail(f"missing{purpose}", tick, REFUSED) if needed else warn(f"missing{purpose}", tick)
    if said := found.effects.get(name):
        return warn(
            f"granted, but its use was answered with {said}", "try again; if it persists, look at Immich's log"
        )
    return good("granted, and works")


def needed_permissions(facts: Facts) -> set[str]:
    """The permissions without which a run with these settings does not start."""
    original = {"asset.download"} if facts.settings.immich.picture == "original" else set()
    moving = {UPDATE} if facts.settings.policy.rating_action else set()
    whose = {"user.read"} if facts.settings.account else set()
    selections = [facts.settings.selected_by(one.name) for one in facts.settings.account]
    selecting = set().union(*map(needed_by, selections or [facts.settings.select]))
    return {*NEEDED, *original, *moving, *whose, *selecting}


def unexpected(facts: Facts) -> CheckResult:
    """What else keeps a run from getting through, where key and permissions are in order."""
    found = facts.server
    if found.server is None:
        return skip(NO_KEY if found.version else NOT_REACHED)
    if found.key_trouble and all(map(found.server.may, NEEDED)):
        return fail(found.key_trouble.message, "look at Immich's log at this time", REFUSED)
    return (
        good("a run gets through its first calls") if not found.key_trouble else skip("see the permissions above")
    )


def tags_feature(facts: Facts) -> CheckResult:
    """Does Immich show tags to this user?"""
    found = facts.server
    if found.server is None:
        return skip(NO_KEY if found.version else NOT_REACHED)
    if found.tags_enabled is None:
        return skip(f"unknown without {PREFERENCES}; see Immich: Account Settings > Features > Tags")
    if not found.tags_enabled:
        return warn(
            "tags are switched off for this user: Immich stores tags but does not show them",
            "Immich: Account Settings > Features > Tags > Enable",
        )
    return good("switched on for this user")


def library(facts: Facts) -> CheckResult:
    """Is there anything to tag, and how much of it is marked already?"""
    found = facts.server
    if found.server is None:
        return skip(NO_KEY if found.version else NOT_REACHED)
    if found.total is None or found.marked is None:
        return skip("could not be counted")
    if found.total == 0:
        return warn(
            "there is nothing to tag",
            "check [select], and that the key belongs to the right user",
        )
    least = "at least " if found.counted_up_to is not None else ""
    return good(
        f"{least}{found.total:,} assets, {found.marked:,} of them marked {facts.settings.marker} "
        f"({found.marked / found.total:.0%})"
    )


def previews(facts: Facts) -> CheckResult:
    """Are there pictures to look at, and how large are they?"""
    sample = facts.server.sample
    if sample is None:
        return skip("no picture was downloaded")
    count = len(sample.pictures) + sample.missing
    if not count:
        return skip("there are no pictures to check")
    if sample.missing == count:
        return warn(
            f"none of {count} assets has a {facts.settings.immich.picture} yet",
            "Immich: Administration > Job Queues > Generate Thumbnails > Missing",
        )
    return _judged(sample, count, facts)


def _judged(sample: Sample, count: int, facts: Facts) -> CheckResult:
    kinds = ", ".join(kind for kind, _ in Counter(one.content_type for one in sample.pictures).most_common())
    shorts = sorted(min(one.width, one.height) for one in sample.pictures)
    size_kb = sum(one.byte_count for one in sample.pictures) / len(sample.pictures) / 1024
    found = f"{kinds}, short side {shorts[len(shorts) // 2]} px, {size_kb:.0f} KB on average, of {count} assets"
    if sample.missing:
        return warn(
            f"{found}; {sample.missing} have no picture yet",
            "Immich: Administration > Job Queues > Generate Thumbnails > Missing",
        )
    if "image/webp" in kinds and facts.settings.immich.picture == "preview":
        return warn(
            f"{found}; WebP takes two to three times as long to decode as JPEG",
            "Immich: Administration > Settings > Image > Preview > Format > JPEG",
        )
    return good(found)


def latency(facts: Facts) -> CheckResult:
    """Does a small call take long?"""
    seconds = facts.server.latency_s
    if seconds is None:
        return skip(NOT_REACHED)
    found = f"a small call took {seconds * 1000:.0f} ms"
    if seconds > SLOW_S:
        return warn(found, "run autotagger on Immich's own machine, or set pace in [immich] while Immich is busy")
    return good(found)


def clock(facts: Facts) -> CheckResult:
    """Nothing of a run depends on the two clocks agreeing; logs and the ledger's times are easier to read so."""
    skew = facts.server.skew_s
    if skew is None:
        return skip("Immich sent no time")
    if abs(skew) > MAX_SKEW_S:
        side = "ahead of" if skew > 0 else "behind"
        return warn(
            f"this machine's clock is {abs(skew):.0f} s {side} Immich's",
            "timedatectl set-ntp true, here and where Immich runs",
        )
    return good("agrees with Immich's clock")


_CHECKED = [name for name in (*NEEDED, *OPTIONAL, *SOMETIMES) if name != PREFERENCES]
CHECKS: dict[str, Callable[[Facts], CheckResult]] = {
    "server.address": address,
    "server.reach": reach,
    "server.tls": tls,
    "server.version": version,
    "key.accepted": key,
    "key.private": private_key,
    **{
        f"key.{name}": partial(permission, name)
        for name in (*NEEDED, *OPTIONAL, *SOMETIMES)
        if name != PREFERENCES
    },
    "server.first_calls": unexpected,
    "server.tags_feature": tags_feature,
    "server.latency": latency,
    "server.clock": clock,
    "library.size": library,
    "library.previews": previews,
}
