"""The unit files: held against systemd's own tools, and the service run confined as they say."""

import asyncio
import os
import re
import shutil
import subprocess
import sys
from ipaddress import ip_network
from pathlib import Path

import pytest

from autotagger.demo import StandIn, tiny_library
from tests.pipeline.support import held_links, ledger_links, settings_for
from tests.systemd.confine import settings_of, system_calls

ROOT = Path(__file__).parents[2]
UNITS = ROOT / "systemd"
SERVICES = ["autotagger.service", "autotagger-once.service"]
CONFINE = Path(__file__).with_name("confine.py")
#: `systemd-analyze security` counts exposure from 0 to 10; shown with one decimal.
MAX_EXPOSED = 2.0

needs_systemd = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="Debian: apt-get install systemd")


def can_confine() -> bool:
    """Root may; in many containers a mount namespace is forbidden nevertheless."""
    if os.geteuid() or not (shutil.which("systemd-analyze") and shutil.which("setpriv")):
        return False
    tried = subprocess.run(
        ["unshare", "--mount", "--ipc", "mount", "--make-rprivate", "/"], capture_output=True, check=False
    )
    return tried.returncode == 0


def install(root: Path, script: str = "install-systemd") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ROOT / "scripts" / script, "--root", root], capture_output=True, text=True, check=True, cwd="/"
    )


def files(root: Path) -> dict[str, str]:
    return {str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()}


def test_installing_twice_changes_nothing_and_uninstalling_leaves_what_is_not_ours(tmp_path: Path) -> None:
    install(tmp_path)
    units = tmp_path / "etc/systemd/system"
    once = files(tmp_path)
    assert {path.name for path in UNITS.iterdir() if path.is_file()} <= {Path(name).name for name in once}
    assert f"ExecStart={ROOT}/.venv/bin/autotagger " in (units / SERVICES[0]).read_text()
    assert not any("/opt/autotagger" in text for text in once.values()) or Path("/opt/autotagger") == ROOT
    install(tmp_path)
    assert files(tmp_path) == once
    own = units / "autotagger.service.d/override.conf"
    own.parent.mkdir(exist_ok=True)
    own.write_text("[Service]\nNice=0\n")
    install(tmp_path, "uninstall-systemd")
    install(tmp_path, "uninstall-systemd")
    assert files(tmp_path) == {str(own.relative_to(tmp_path)): own.read_text()}


def test_a_group_that_the_machine_lacks_does_not_keep_the_service_from_starting(tmp_path: Path) -> None:
    commands = tmp_path / "bin"
    commands.mkdir()
    (commands / "getent").write_text('#!/bin/sh\n[ "$2" = video ]\n')
    (commands / "getent").chmod(0o755)
    environ = {**os.environ, "PATH": f"{commands}:{os.environ['PATH']}"}
    (tmp_path / "root").mkdir()
    subprocess.run([ROOT / "scripts/install-systemd", "--root", tmp_path / "root"], env=environ, check=True)
    drop_in = tmp_path / "root/etc/systemd/system/autotagger.service.d/groups.conf"
    assert drop_in.read_text().splitlines()[-2:] == ["SupplementaryGroups=", "SupplementaryGroups=video"]


def test_both_services_are_confined_alike() -> None:
    differ = {"Description", "Type", "NotifyAccess", "TimeoutStartSec", "WatchdogSec", "ExecStart", "WantedBy"}
    differ |= {"Restart", "RestartSec", "RestartPreventExitStatus", "SuccessExitStatus", "StartLimitIntervalSec"}
    differ |= {"StartLimitBurst"}
    stays, once = (settings_of(UNITS / name) for name in SERVICES)
    assert stays.keys() ^ once.keys() <= differ
    assert {name: stays[name] for name in stays.keys() - differ} == {
        name: once[name] for name in once.keys() - differ
    }


@pytest.mark.parametrize("service", SERVICES)
def test_the_service_has_limits(service: str) -> None:
    limits = settings_of(UNITS / service)
    assert {"MemoryMax", "MemorySwapMax", "TasksMax"} <= limits.keys()
    assert limits["IPAddressDeny"] == ["any"]
    words = " ".join(limits["IPAddressAllow"]).split()
    networks = [ip_network(word) for word in words if "/" in word]
    assert networks
    assert not any(network.is_global for network in networks)
    assert set(words) - set(map(str, networks)) == {"localhost", "link-local"}


def test_what_fails_at_every_start_is_started_again_slowly_and_not_for_ever() -> None:
    text = (UNITS / "autotagger.service").read_text()
    assert "StartLimitIntervalSec=2d\nStartLimitBurst=400\n" in text
    assert "RestartSec=5min\n" in text
    assert 400 * 5 < 2 * 24 * 60, "else the limit would never be reached"


@needs_systemd
def test_systemd_finds_nothing_wrong(tmp_path: Path) -> None:
    install(tmp_path)
    units = sorted(map(str, (tmp_path / "etc/systemd/system").glob("*.*er*")))
    units = [unit for unit in units if not unit.endswith(".d")]
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True, check=False
    )
    ours = [line for line in done.stderr.splitlines() if "autotagger" in line]
    assert (done.returncode, ours) == (0, [])


@needs_systemd
@pytest.mark.parametrize("service", SERVICES)
def test_the_service_is_little_exposed(service: str) -> None:
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", UNITS / service],
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(r"Overall exposure level for \S+: (\d+\.\d+)", done.stdout)
    assert found, done.stderr
    assert float(found[1]) <= MAX_EXPOSED


@needs_systemd
def test_the_filter_knows_its_calls() -> None:
    allowed = system_calls(settings_of(UNITS / SERVICES[0])["SystemCallFilter"])
    assert {"memfd_create", "sched_setaffinity", "mprotect", "socketpair"} <= allowed
    assert not {"mount", "ptrace", "bpf", "init_module", "chroot", "setuid"} & allowed


#: What PrivateTmp and ProtectHome leave a service nothing of.
HIDDEN = ("/tmp", "/var/tmp", "/home", "/root")

_PROBE = """
import ctypes, os, socket, sys
from pathlib import Path

def may(what):
    try:
        what()
    except OSError:
        return False
    return True

state, unshared = sys.argv[1], ctypes.CDLL(None).unshare(0x10000000)
print(
    may(lambda: Path(state, "x").touch()),
    may(lambda: Path("/etc/autotagger-test").touch()),
    may(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).close()),
    may(lambda: os.setuid(0)),
    may(lambda: Path("/proc/cpuinfo").read_text()),
    unshared == 0,
)
"""


async def confined(state_dir: Path, *command: str, **environ: str) -> str:
    """What `command` prints on stdout, run as autotagger.service would run it."""
    place = ["unshare", "--mount", "--ipc", sys.executable, str(CONFINE), str(UNITS / SERVICES[0]), str(state_dir)]
    process = await asyncio.create_subprocess_exec(
        *place, *command, env={**os.environ, **environ}, stdout=asyncio.subprocess.PIPE, cwd=ROOT
    )
    out, _ = await process.communicate()
    assert process.returncode == 0, out
    return out.decode()


@pytest.mark.skipif(not can_confine(), reason="needs root, mount namespaces and systemd-analyze")
@pytest.mark.skipif(
    any(ROOT.is_relative_to(hidden) for hidden in HIDDEN), reason="the unit itself hides a checkout in this place"
)
async def test_the_service_works_under_its_confinement(tmp_path: Path) -> None:
    state_dir = tmp_path / "state"
    state_dir.mkdir()
    # That it is one: state, /etc, netlink, root, /proc/cpuinfo, user namespace
    told = await confined(state_dir, sys.executable, "-c", _PROBE, str(state_dir))
    assert told.split() == ["True", "False", "False", "False", "True", "False"]
    async with StandIn(tiny_library(8)) as server:
        environ = {
            "AUTOTAGGER_CONFIG": "/dev/null",
            "AUTOTAGGER_STATE_DIR": str(state_dir),
            "AUTOTAGGER_MODEL": "palette",
            "IMMICH_BASE_URL": server.url,
            "IMMICH_API_KEY": server.api_key,
        }
        await confined(state_dir, sys.executable, "-m", "autotagger", "run", "--once", "--json", **environ)
        await server.settle()
        links = held_links(server)
        assert len(links) == 8
        assert links == ledger_links(settings_for(server, state_dir))
