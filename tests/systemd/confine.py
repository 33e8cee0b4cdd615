"""Runs a command confined as a unit file says, as far as that goes without systemd as the first process.

Meant for root in a mount namespace of its own:

    unshare --mount --ipc python confine.py UNIT STATE_DIR COMMAND...

Done by the kernel's own means: a read-only file system but for STATE_DIR, no homes, a private /tmp, another user
without capabilities, and a seccomp filter of the unit's system calls, address families, namespaces and schedulers.
Not done: the device list, the cgroup's limits, /proc of other users' processes.
"""

import ctypes
import os
import socket
import subprocess
import sys
from pathlib import Path

#: systemd's range for dynamic users: 61184 to 65519.
USER = 61_184
_ALLOW, _EPERM, _ENOSYS = 0x7FFF0000, 0x00050000 | 1, 0x00050000 | 38
_EQUAL, _MASKED_EQUAL = 4, 7
_NAMESPACES = 0x7E020080  # every CLONE_NEW* flag of clone(2)
#: Between the unit's name and the command, once the files are confined.
_INSIDE = "--inside"
_CALM_SCHEDULERS = (0, 3, 5)  # other, batch, idle


class _Compare(ctypes.Structure):
    _fields_ = (
        ("arg", ctypes.c_uint),
        ("op", ctypes.c_int),
        ("a", ctypes.c_uint64),
        ("b", ctypes.c_uint64),
    )


def settings_of(unit: Path) -> dict[str, list[str]]:
    """Every setting of a unit file with all its values."""
    found: dict[str, list[str]] = {}
    for line in unit.read_text().splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


def system_calls(filters: list[str]) -> set[str]:
    """The names that SystemCallFilter= allows."""
    allowed: set[str] = set()
    for line in filters:
        names = {name for word in line.removeprefix("~").split() for name in _expand(word)}
        allowed = allowed - names if line.startswith("~") else allowed | names
    return allowed


def _expand(word: str) -> set[str]:
    if not word.startswith("@"):
        return {word}
    listed = subprocess.run(
        ["systemd-analyze", "--no-pager", "syscall-filter", word], capture_output=True, text=True, check=True
    )
    names = [line.strip() for line in listed.stdout.splitlines()[1:] if not line.strip().startswith("#")]
    return {name for inner in names if inner for name in _expand(inner)}


def confine_files(state_dir: Path) -> None:
    """ProtectSystem=strict, ProtectHome=yes, PrivateTmp=yes, StateDirectory= and ProtectKernelTunables=yes."""
    python = Path(sys.executable).resolve().parents[1]
    kept = Path("/mnt")
    _mount("--make-rprivate", "/")
    _mount("-t", "tmpfs", "tmpfs", kept)  # the machine's own stays as it is
    for name in ("state", "python"):
        (kept / name).mkdir()
    _mount("--bind", state_dir, kept / "state")
    _mount("--bind", python, kept / "python")
    _mount("-t", "tmpfs", "-o", "mode=1777", "tmpfs", "/tmp")
    for home in (Path("/home"), Path("/root")):
        _mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", home)
    if not python.is_dir():  # the interpreter of the tests may live in a home
        python.mkdir(parents=True)
        _mount("--bind", kept / "python", python)
    if not state_dir.is_dir():
        state_dir.mkdir(parents=True)
    _mount("--bind", kept / "state", state_dir)
    os.chown(state_dir, USER, USER)
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    writable = {str(state_dir), "/tmp"}
    for point in dict.fromkeys(points):
        hidden = not Path(point).is_mount()  # something that was mounted below what is covered now
        if point not in writable and not hidden and not point.startswith(("/dev", "/proc", "/sys")):
            _mount("-o", "remount,bind,ro", point)
    _mount("--bind", "/proc/sys", "/proc/sys")
    _mount("-o", "remount,bind,ro", "/proc/sys")


def _mount(*arguments: object) -> None:
    subprocess.run(["mount", *map(str, arguments)], check=True)


def confine_calls(settings: dict[str, list[str]]) -> None:
    """SystemCallFilter=, RestrictAddressFamilies=, RestrictNamespaces=yes and RestrictRealtime=yes."""
    seccomp = ctypes.CDLL("libseccomp.so.2")
    seccomp.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(seccomp.seccomp_init(_EPERM))

    def rule(action: int, name: str, *compares: _Compare) -> None:
        number = seccomp.seccomp_syscall_resolve_name(name.encode())
        if number >= 0:  # others are not known on this architecture
            array = (_Compare * len(compares))(*compares)
            problem = seccomp.seccomp_rule_add_array(context, action, number, len(compares), array)
            assert problem == 0, (name, problem)

    special = {"socket", "clone", "clone3", "unshare", "setns", "sched_setscheduler"}
    for name in system_calls(settings["SystemCallFilter"]) - special:
        rule(_ALLOW, name)
    for family in settings["RestrictAddressFamilies"][0].split():
        rule(_ALLOW, "socket", _Compare(0, _EQUAL, getattr(socket, family), 0))
    rule(_ALLOW, "clone", _Compare(0, _MASKED_EQUAL, _NAMESPACES, 0))
    rule(_ENOSYS, "clone3")
    for scheduler in _CALM_SCHEDULERS:
        rule(_ALLOW, "sched_setscheduler", _Compare(1, _EQUAL, scheduler, 0))
    assert seccomp.seccomp_load(context) == 0


def main() -> None:
    unit, state_dir, *command = sys.argv[1:]
    if command[0] != _INSIDE:
        confine_files(Path(state_dir))
        setpriv = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--no-new-privs"]
        setpriv += ["--bounding-set=-all", "--inh-caps=-all"]
        os.execvp("setpriv", [*setpriv, sys.executable, __file__, unit, state_dir, _INSIDE, *command])
    os.umask(0o077)
    confine_calls(settings_of(Path(unit)))
    os.execv(command[1], command[1:])


if __name__ == "__main__":
    main()
