"""Checks of the machine: processor, cores, memory, disk, devices, and the packages that must be the right ones."""

import getpass

from autotagger.doctor.check_result import NO_START, CheckResult, fail, good, skip, warn
from autotagger.doctor.facts import Facts, RenderNode
from autotagger.topology import WORKER_BYTES

INTEL = "0x8086"
#: Resident memory of supervisor, fetcher and writer in a run over 324 assets: 234 MB, and 64 MB of slots.
BASE_BYTES = 300 << 20
#: Beside a download: below it, look after the disk before the ledger fills it.
MIN_DISK_BYTES = 1 << 30
#: The Pillow that closed the last holes known to us; requirements/holes.csv says which.
SOUND_PILLOW = "13.0.0"


def processor(facts: Facts) -> CheckResult:
    """Has it AVX2, without which models run slowly?"""
    machine = facts.machine
    if not machine.cpu_flags:
        return skip("the kernel does not report the processor's features")
    if "avx2" not in machine.cpu_flags:
        host = ' In a virtual machine, set its CPU type to "host"' if "hypervisor" in machine.cpu_flags else ""
        return warn(
            f"{machine.cpu} has no AVX2, so models run slowly",
            f"run autotagger on a machine with AVX2 (Intel since 2013, not all Celerons).{host}",
        )
    more = [name for name in ("avx512_vnni", "avx_vnni") if name in machine.cpu_flags]
    return good(f"{machine.cpu} with {', '.join(['avx2', *more])}")


def cores(facts: Facts) -> CheckResult:
    """Do the threads of all workers fit the cores that may be used?"""
    machine, wanted = facts.machine, facts.plan.workers * facts.plan.threads
    found = f"{machine.allowed_cores} of {machine.cores} cores may be used"
    if wanted > machine.allowed_cores:
        return warn(
            f"{found}, but {_workers(facts)} x {facts.plan.threads} threads need {wanted}",
            "set workers in [pipeline] and threads in [model] to 0, which chooses automatically",
        )
    return good(f"{found}: {_workers(facts)} x {facts.plan.threads} threads")


def memory(facts: Facts) -> CheckResult:
    """Is there enough for the workers and the model? Not known unless the model was opened."""
    room, each = facts.machine.memory_bytes, facts.model.memory_bytes
    if each is None:
        return skip(f"{_gb(room)} free; the need of a worker is unknown because the model was not loaded")
    each += WORKER_BYTES
    needed = facts.plan.workers * each + BASE_BYTES
    found = f"{_gb(room)} free, {_gb(needed)} needed by {_workers(facts)} with {facts.model.name}"
    if facts.ledger.holder is not None:
        return good(f"{found} (a run is active and already uses its share)")
    if needed > room:
        fewer = max(1, (room - BASE_BYTES) // each)
        return warn(
            found,
            f"set workers = {fewer} in [pipeline]"
            if fewer < facts.plan.workers
            else "give it more memory, or choose a smaller model (autotagger models list)",
        )
    return good(found)


def disk(facts: Facts) -> CheckResult:
    """Is there room for the model to be downloaded, and for the ledger to grow?"""
    free, download = facts.machine.disk_bytes, facts.model.download_bytes or 0
    found = f"{_gb(free)} free in {facts.settings.state_dir}"
    if free < download:
        return fail(
            f"{found}, the model needs {_gb(download)}",
            "free some space, or set state_dir to another disk",
            NO_START,
        )
    if free < download + MIN_DISK_BYTES:
        return warn(found, "free some space: the ledger grows, and a full disk ends the run")
    return good(found)


def device(facts: Facts) -> CheckResult:
    """Where inference runs, and if it could run elsewhere."""
    wanted, model, machine = facts.settings.model.device, facts.model, facts.machine
    if model.session_trouble:
        return fail(model.session_trouble.message, _device_fix(facts), model.session_trouble.exit_code)
    found = ", ".join(sorted(machine.devices))
    if wanted not in ("auto", *machine.devices):
        return fail(f"OpenVINO finds {found}, but the settings ask for {wanted}", _device_fix(facts), NO_START)
    if model.device is None:
        return good(f"OpenVINO finds {found}")
    if wanted == "auto" and model.device == "CPU" and "GPU" in machine.devices:
        return warn(
            "there is a GPU, but the model does not run on it, so auto uses the CPU",
            f'autotagger models check {model.name} --device GPU says why; or set device = "CPU" in [model]',
        )
    return good(f"the whole model runs on {model.device} (OpenVINO finds {found})")


def gpu(facts: Facts) -> CheckResult:
    """Is an Intel GPU there that is not used only for want of a group or a driver?"""
    machine = facts.machine
    if "GPU" in machine.devices:
        return good("OpenVINO finds it")
    intel = [node for node in machine.render_nodes if node.vendor == INTEL]
    if not intel:
        passed = "; in a container, pass it through: --device /dev/dri" if machine.in_container else ""
        return skip(f"no Intel GPU in /dev/dri{passed}")
    if not any(node.usable for node in intel):
        return warn(f"{intel[0].path} exists, but this user may not use it", _group_fix(intel[0], facts))
    return warn(f"{intel[0].path} can be used, but OpenVINO finds no GPU", _driver_fix(facts))


def _device_fix(facts: Facts) -> str:
    if facts.settings.model.device == "GPU":
        intel = [node for node in facts.machine.render_nodes if node.vendor == INTEL]
        if not intel:
            return 'pass /dev/dri through, or set device = "auto" in [model]'
        return _driver_fix(facts) if any(node.usable for node in intel) else _group_fix(intel[0], facts)
    return f'autotagger models check {facts.model.name} shows details; or set device = "auto" in [model]'


def _group_fix(node: RenderNode, facts: Facts) -> str:
    if facts.machine.in_container:
        return f"add the group of the device to the container: --group-add {node.group} (compose: group_add)"
    return f"sudo usermod -aG {node.group} {_user()}, then log in again; systemd: SupplementaryGroups=render"


def _driver_fix(facts: Facts) -> str:
    if facts.machine.in_container:
        return "build the image with --build-arg INTEL_GPU=yes"
    if not facts.machine.has_opencl_driver:
        return "sudo apt-get install intel-opencl-icd"
    return "the installed intel-opencl-icd may be older than the GPU: install a newer one from Intel"


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's made-up user has no name
        return "USER"


def lacks_fixes(imaging: str) -> bool:
    """Whether this Pillow (`Pillow-SIMD 12.1.1.post0`) is older than the last release that closed holes."""
    release = [int(number) for number in imaging.split()[-1].split(".")[:3] if number.isdecimal()]
    return release < [int(number) for number in SOUND_PILLOW.split(".")]


def imaging(facts: Facts) -> CheckResult:
    """Does Pillow read every format, and without the holes that are known of older ones?"""
    machine = facts.machine
    again = "run ./scripts/setup with gcc and the headers that it names"
    if machine.formats_missing:
        return warn(f"{machine.imaging} cannot read {', '.join(machine.formats_missing)}", again)
    if lacks_fixes(machine.imaging):
        return warn(f"{machine.imaging} lacks security fixes of Pillow {SOUND_PILLOW}", "./scripts/setup")
    return good(machine.imaging)


def runtime(facts: Facts) -> CheckResult:
    """onnxruntime and onnxruntime-openvino fill the same folder: of two, either may be the one that is there."""
    found = facts.machine.runtimes
    if found == ("onnxruntime-openvino",):
        return good("onnxruntime-openvino alone")
    return warn(
        f"installed: {', '.join(found) or 'none'}; only onnxruntime-openvino should be",
        "rm -r .venv && ./scripts/setup",
    )


def _workers(facts: Facts) -> str:
    return f"{facts.plan.workers} worker{'s' if facts.plan.workers > 1 else ''}"


def _gb(count: int) -> str:
    return f"{count / 1e9:.1f} GB"


CHECKS = {
    "machine.processor": processor,
    "machine.cores": cores,
    "machine.memory": memory,
    "machine.disk": disk,
    "machine.gpu": gpu,
    "machine.imaging": imaging,
    "machine.runtime": runtime,
    "model.device": device,
}
