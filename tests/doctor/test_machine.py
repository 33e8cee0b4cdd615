"""The look at the machine, on folders that play one, and the checks of it."""

from pathlib import Path
from typing import Any

import pytest

from autotagger.doctor.check_result import CheckResult, Level
from autotagger.doctor.facts import LedgerFacts, ModelFacts, RenderNode
from autotagger.doctor.machine import look_at_machine
from autotagger.doctor.machine_checks import CHECKS
from autotagger.errors import StartupFailed
from autotagger.topology import Topology
from tests.doctor.support import GB, facts_with, machine_with, settings_of

NODE = Path("/dev/dri/renderD128")
INTEL = RenderNode(NODE, group=105, usable=True, vendor="0x8086")
LOCKED = RenderNode(NODE, group=105, usable=False, vendor="0x8086")
AMD = RenderNode(NODE, group=105, usable=True, vendor="0x1002")


def judged(name: str, *, facts: dict[str, Any] | None = None, **machine: Any) -> CheckResult:
    return CHECKS[name](facts_with(machine=machine_with(**machine), **(facts or {})))


def played(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_the_look_at_this_very_machine_and_at_a_played_one(tmp_path: Path) -> None:
    root = played(
        tmp_path / "root",
        {
            "proc/cpuinfo": "model name\t: Intel(R) N100\nflags\t\t: sse4_2 avx2 avx_vnni\n",
            "proc/meminfo": "MemTotal: 9 kB\nMemAvailable:    4194304 kB\n",
            "proc/self/cgroup": "0::/\n",
            "sys/fs/cgroup/cpu.max": "max 100000\n",
            "dev/dri/renderD128": "",
            "sys/class/drm/renderD128/device/vendor": "0x8086\n",
            "etc/OpenCL/vendors/intel.icd": "",
            ".dockerenv": "",
        },
    )
    found = look_at_machine(tmp_path / "state" / "not-there-yet", root)
    assert (found.cpu, found.cpu_flags) == ("Intel(R) N100", frozenset({"sse4_2", "avx2", "avx_vnni"}))
    assert found.memory_bytes == 4 << 30
    (node,) = found.render_nodes
    assert (node.path.name, node.usable, node.vendor) == ("renderD128", True, "0x8086")
    assert found.has_opencl_driver
    assert found.in_container
    assert "CPU" in found.devices
    assert found.disk_bytes > 0
    assert found.formats_missing == ()
    assert found.runtimes == ("onnxruntime-openvino",)
    assert found.imaging.startswith("Pillow")


@pytest.mark.parametrize(
    ("name", "machine", "level", "says"),
    [
        ("machine.processor", {}, Level.PASS, ""),
        ("machine.processor", {"cpu_flags": frozenset({"sse4_2"})}, Level.WARN, "AVX2"),
        ("machine.processor", {"cpu_flags": frozenset({"sse4_2", "hypervisor"})}, Level.WARN, '"host"'),
        ("machine.processor", {"cpu_flags": frozenset()}, Level.SKIP, ""),
        ("machine.cores", {"allowed_cores": 2}, Level.WARN, "workers in [pipeline]"),
        ("machine.cores", {}, Level.PASS, ""),
        ("machine.memory", {}, Level.PASS, ""),
        ("machine.memory", {"memory_bytes": 1 * GB}, Level.WARN, "smaller model"),
        ("machine.disk", {"disk_bytes": GB // 2}, Level.WARN, "free some space"),
        ("machine.disk", {}, Level.PASS, ""),
        ("machine.gpu", {"devices": frozenset({"CPU", "GPU"})}, Level.PASS, ""),
        ("machine.gpu", {}, Level.SKIP, ""),
        ("machine.gpu", {"render_nodes": (AMD,)}, Level.SKIP, ""),
        ("machine.gpu", {"render_nodes": (LOCKED,)}, Level.WARN, "usermod -aG 105"),
        ("machine.gpu", {"render_nodes": (LOCKED,), "in_container": True}, Level.WARN, "--group-add 105"),
        ("machine.gpu", {"render_nodes": (INTEL,)}, Level.WARN, "apt-get install intel-opencl-icd"),
        ("machine.gpu", {"render_nodes": (INTEL,), "in_container": True}, Level.WARN, "INTEL_GPU=yes"),
        ("machine.gpu", {"render_nodes": (INTEL,), "has_opencl_driver": True}, Level.WARN, "newer"),
        ("machine.imaging", {}, Level.PASS, ""),
        ("machine.imaging", {"imaging": "Pillow 12.3.0"}, Level.WARN, "scripts/setup"),
        ("machine.imaging", {"imaging": "Pillow-SIMD 12.1.1.post0"}, Level.WARN, "scripts/setup"),
        ("machine.imaging", {"imaging": "Pillow-SIMD 13.1.0.post0"}, Level.PASS, ""),
        ("machine.imaging", {"formats_missing": ("WebP",)}, Level.WARN, "scripts/setup"),
        ("machine.runtime", {}, Level.PASS, ""),
        ("machine.runtime", {"runtimes": ("onnxruntime", "onnxruntime-openvino")}, Level.WARN, "scripts/setup"),
        ("model.device", {}, Level.PASS, ""),
        ("model.device", {"devices": frozenset({"CPU", "GPU"})}, Level.WARN, "--device GPU"),
    ],
)
def test_every_state_of_the_machine_has_its_fix(
    name: str, machine: dict[str, Any], level: Level, says: str
) -> None:
    result = judged(name, **machine)
    assert result.level is level
    assert says in result.fix
    assert result.exit_code == 0


def test_a_device_that_is_set_and_not_there_keeps_a_run_from_starting() -> None:
    settings = settings_of(model={"device": "GPU"})
    trouble = ModelFacts("palette", labels=28, session_trouble=StartupFailed("OpenVINO finds no GPU here"))
    result = judged("model.device", facts={"settings": settings, "model": trouble})
    assert (result.level, result.exit_code) == (Level.FAIL, 3)
    assert 'device = "auto"' in result.fix
    quick = ModelFacts("palette", labels=28)
    assert judged("model.device", facts={"settings": settings, "model": quick}).exit_code == 3
    locked = judged("model.device", facts={"settings": settings, "model": quick}, render_nodes=(LOCKED,))
    assert "usermod" in locked.fix


def test_workers_that_do_not_fit_into_memory_get_a_number_that_does() -> None:
    four = {"plan": Topology(workers=4, streams=1, threads=1, decoders=1)}
    result = judged("machine.memory", facts=four, memory_bytes=4 * GB)
    assert result.level is Level.WARN
    assert result.fix == "set workers = 2 in [pipeline]"
    at_work = {**four, "ledger": LedgerFacts(Path("l"), exists=True, writable=True, holder="7")}
    assert judged("machine.memory", facts=at_work, memory_bytes=4 * GB).level is Level.PASS
    unopened = {"model": ModelFacts("palette", labels=28)}
    assert judged("machine.memory", facts=unopened).level is Level.SKIP


def test_a_download_that_does_not_fit_keeps_a_run_from_starting() -> None:
    download = {"model": ModelFacts("wd-vit-tagger-v3", to_download=True, download_bytes=400_000_000)}
    assert judged("machine.disk", facts=download, disk_bytes=GB // 3).exit_code == 3
    assert judged("machine.disk", facts=download, disk_bytes=GB).level is Level.WARN
    assert judged("machine.disk", facts=download).level is Level.PASS
