"""The scripts and locks that a fresh machine begins with."""

import csv
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from autotagger.doctor.machine_checks import SOUND_PILLOW

ROOT = Path(__file__).parent.parent
SCRIPTS = [*sorted((ROOT / "scripts").iterdir()), ROOT / ".ci/run"]
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
_PINNED = re.compile(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)", re.MULTILINE)
#: Each fills the same folder as the other.
RIVALS = [{"pillow", "pillow-simd"}, {"onnxruntime", "onnxruntime-openvino", "onnxruntime-gpu"}]


def pins(lock: str) -> dict[str, str]:
    return {normal(name): version for name, version in _PINNED.findall((ROOT / "requirements" / lock).read_text())}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def required(section: list[str]) -> dict[str, str]:
    return {normal(name): version for name, version in (line.split("==") for line in section)}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_every_script_runs_and_says_what_it_is(script: Path) -> None:
    assert os.access(script, os.X_OK)
    lines = script.read_text().splitlines()
    assert lines[0] == "#!/usr/bin/env bash"
    assert lines[1].startswith("# ")
    assert "set -euo pipefail" in lines
    subprocess.run(["bash", "-n", script], check=True)


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_every_locked_package_has_hashes_and_no_address(lock: Path) -> None:
    text = lock.read_text()
    blocks = re.split(r"^(?=\S)", re.sub(r"^ *#.*\n", "", text, flags=re.MULTILINE), flags=re.MULTILINE)[1:]
    assert blocks
    for block in blocks:
        assert _PINNED.match(block), block
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", block), block
    assert not re.search(r"://|file:|--(extra-)?index-url|--find-links|(?<![\w.])/\w+/", text)


def test_the_locks_are_what_pyproject_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    run, dev = pins("run.txt"), pins("dev.txt")
    assert required(project["dependencies"]).items() <= run.items()
    assert required(project["optional-dependencies"]["dev"]).items() <= dev.items()
    assert run.items() <= dev.items()


def test_no_lock_brings_a_rival() -> None:
    for lock in ("run.txt", "dev.txt", "build.txt"):
        assert "pillow-simd" not in pins(lock)
        assert not {"onnxruntime", "onnxruntime-gpu"} & pins(lock).keys()
    assert pins("pillow.txt") == {"pillow": pins("run.txt")["pillow"]}
    assert pins("pillow-simd.txt").keys() == {"pillow-simd"}


@pytest.mark.parametrize("rivals", RIVALS, ids=lambda names: min(names))
def test_exactly_one_of_the_rivals_is_installed(rivals: set[str]) -> None:
    installed = [normal(found.metadata["Name"]) for found in importlib.metadata.distributions()]
    assert len([name for name in installed if name in rivals]) == 1


# What follows runs scripts/setup on a machine made of a few commands, none of which can install anything.


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A copy of what scripts/setup looks at, and `bin` with the commands of a small machine."""
    for name in ("scripts", "requirements"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "requirements/holes.csv").write_text("package,below,noted,why\n")
    commands = tmp_path / "bin"
    commands.mkdir()
    for name in (
        "bash",
        "cat",
        "cut",
        "dirname",
        "env",
        "grep",
        "id",
        "readlink",
        "rm",
        "sha256sum",
        "tail",
        "uname",
    ):
        found = shutil.which(name)
        assert found, name
        (commands / name).symlink_to(found)
    return tmp_path


def setup(machine: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [machine / "scripts/setup", *arguments],
        env={"PATH": str(machine / "bin"), "HOME": str(machine)} | environ,
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )


def script(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/usr/bin/env bash\n{text}\n")
    path.chmod(0o755)


def test_setup_refuses_what_it_does_not_know(machine: Path) -> None:
    for done in (setup(machine, "--devel"), setup(machine, PILLOW="fast")):
        assert done.returncode == 1
        assert "setup: " in done.stderr


def test_setup_with_an_old_python_says_so(machine: Path) -> None:
    script(machine / "bin/python3.9", "exit 1")
    done = setup(machine, PYTHON="python3.9")
    assert done.returncode == 1
    assert done.stderr == "setup: PYTHON=python3.9 is not a Python 3.11, 3.12 or 3.13\n"
    assert not (machine / ".venv").exists()


def test_setup_is_done_at_once_where_the_stamp_fits_and_not_where_a_lock_changed(machine: Path) -> None:
    script(
        machine / ".venv/bin/python",
        'case "$*" in *uninstall*) ;; -m*) echo "$*" >&2; exit 1 ;; *print*) echo 3.11.2 ;; esac',
    )
    stamp = machine / ".venv/autotagger-setup.stamp"
    stamp.write_text(f"{fingerprint_of(machine)} run Pillow-SIMD\n")

    again = setup(machine)
    assert again.returncode == 0
    assert again.stdout == "setup: ready (Python 3.11.2, Pillow-SIMD), nothing to do\n"

    more = setup(machine, "--dev")
    assert more.returncode != 0
    assert "requirements/build.txt" in more.stderr
    assert not stamp.exists()  # broken off half-way: the next run must not believe it

    stamp.write_text(f"{fingerprint_of(machine)} dev Pillow-SIMD\n")
    assert setup(machine).returncode == 0
    with (machine / "requirements/run.txt").open("a") as lock:
        lock.write("\n")
    assert setup(machine).returncode != 0


def fingerprint_of(machine: Path) -> str:
    """As scripts/setup counts it, on a Python 3.11.2 and without PILLOW."""
    source = (machine / "scripts/setup").read_text()
    function = next(line for line in source.splitlines() if line.startswith("fingerprint()"))
    done = subprocess.run(
        ["bash", "-c", f'root="{machine}"; PILLOW=auto; {function}; fingerprint 3.11.2'],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


# What follows has scripts/setup choose a Pillow, on a machine whose pip only writes down what it is told.


@pytest.fixture
def installing(machine: Path) -> Path:
    """`machine` with an interpreter that installs nothing and is AVX2's, and a list of holes of our own."""
    for name in ("sed", "cc", "sort"):
        script(machine / "bin" / name, "exit 0")
    (machine / "bin/uname").unlink()
    script(machine / "bin/uname", "echo x86_64")
    (machine / "bin/grep").unlink()
    script(machine / "bin/grep", "exit 0")
    told = machine / "told"
    script(
        machine / ".venv/bin/python",
        f"""case "$*" in
*holes.py*) exec {sys.executable} "$@" ;;
*"-m pip"*) echo "$*" >>{told} ;;
*importlib.metadata.version*) exit 1 ;;
*print*) echo 3.11.2 ;;
esac""",
    )
    return machine


def noted(machine: Path, *holes: str) -> None:
    (machine / "requirements/holes.csv").write_text("\n".join(["package,below,noted,why", *holes, ""]))


@pytest.mark.parametrize(
    ("below", "pillow", "taken", "says"),
    [
        ("13.0.0", "auto", "Pillow", "Pillow instead of the faster Pillow-SIMD, which lacks security fixes"),
        ("13.0.0", "plain", "Pillow", ""),
        ("13.0.0", "simd", "Pillow-SIMD", "a hostile picture can take over the process that decodes it"),
        ("12.1.1", "auto", "Pillow-SIMD", ""),  # its base has caught up
        ("12.1.1", "plain", "Pillow", ""),
    ],
)
def test_setup_takes_pillow_simd_only_where_it_has_every_fix_or_is_asked_for(
    below: str, pillow: str, taken: str, says: str, installing: Path
) -> None:
    (installing / "requirements/pillow-simd.txt").write_text("pillow-simd==12.1.1.post0\n")
    noted(installing, f"pillow-simd,{below},2026-11-30,a hole")
    done = setup(installing, PILLOW=pillow)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == f"setup: ready (Python 3.11.2, {taken})"
    assert says in done.stdout
    assert ("a hole; noted 2026-11-30" in done.stdout) is (pillow == "simd")
    assert ("pillow-simd.txt" in (installing / "told").read_text()) is (taken == "Pillow-SIMD")


@pytest.mark.parametrize(
    ("version", "below", "found"),
    [
        ("12.3.0", "13.0.0", True),
        ("13.0.0", "13.0.0", False),
        ("13", "13.0.0", False),
        ("13.0.0.post2", "13.0.0", False),
        ("12.1.1.post0", "12.1.2", True),
        ("9.10", "9.9", False),
    ],
)
def test_a_hole_is_one_in_every_version_before_its_fix(
    version: str, below: str, found: bool, machine: Path
) -> None:
    noted(machine, f"some-package,{below},2026-11-30,why")
    (machine / "list.txt").write_text(f"other==1\nSome_Package=={version} ; x \\\n    --hash=sha256:0\n")
    done = subprocess.run(
        [sys.executable, machine / "requirements/holes.py", machine / "list.txt"],
        capture_output=True,
        text=True,
        check=False,
    )
    line = f"some-package {version}: fixed in {below} (why; noted 2026-11-30)\n" if found else ""
    assert (done.returncode, done.stdout, done.stderr) == (int(found), line, "")


def test_the_default_installation_has_no_hole_that_we_noted() -> None:
    lists = [path for path in LOCKS if path.name != "pillow-simd.txt"]
    done = subprocess.run(
        [sys.executable, ROOT / "requirements/holes.py", *lists], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_doctor_knows_the_same_holes_of_pillow() -> None:
    with (ROOT / "requirements/holes.csv").open(newline="") as file:
        assert {row["below"] for row in csv.DictReader(file) if "pillow" in row["package"]} == {SOUND_PILLOW}


def test_an_audit_without_a_network_fails_for_a_hole_that_we_noted(machine: Path) -> None:
    noted(machine, "rich,999,2026-11-30,the next one")
    done = subprocess.run(
        [machine / "scripts/audit"],
        env={"PATH": os.environ["PATH"], "PYTHON": sys.executable, "PIP_NO_INDEX": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "audit: run.txt: rich " in done.stdout
    assert "NOT AUDITED" not in done.stdout


# What follows runs scripts/audit with a pip-audit that has a report ready, the same for every list.

VULNERABLE = {"name": "rich", "version": "1.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["1.1"]}]}
SOUND = {"name": "typer", "version": "2.0", "vulns": []}
UNKNOWN = {"name": "av", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("report", "exit_code", "says"),
    [
        ([VULNERABLE, SOUND], 1, "audit: rich 1.0: PYSEC-1, fixed in 1.1\n"),
        ([SOUND, UNKNOWN], 0, "audit: the registry says nothing about av\naudit: 1 packages looked up, 0 of them"),
        ([UNKNOWN], 2, "NOT AUDITED: the registry says nothing"),
        (None, 2, "NOT AUDITED: the registry's vulnerabilities cannot be had (no network)"),
    ],
)
def test_an_audit_tells_what_it_found_from_what_it_could_not_look_up(
    report: list[object] | None, exit_code: int, says: str, tmp_path: Path
) -> None:
    answer = "" if report is None else json.dumps({"dependencies": report})
    script(tmp_path / "pip-audit", f"printf '%s' '{answer}'; echo 'no network' >&2; exit 1")
    script(tmp_path / "its-python", f'[ "$1" = -m ] || exec {sys.executable} "$@"')
    script(
        tmp_path / "python",
        'mkdir -p "$3/bin"; cd "$(dirname "$0")"; cp pip-audit "$3/bin"; cp its-python "$3/bin/python"',
    )
    done = subprocess.run(
        [ROOT / "scripts/audit"],
        env=os.environ | {"PYTHON": str(tmp_path / "python")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (exit_code, "")
    assert says in done.stdout
