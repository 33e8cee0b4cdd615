"""A look at the machine: what this process may use of it, and what is installed."""

import importlib.metadata
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from autotagger.cpu import cpu_flags, cpu_name
from autotagger.doctor.facts import MachineFacts, RenderNode
from autotagger.tagger.cores import allowed_cores

#: What Pillow must have been built with to read what Immich serves and what `picture = "original"` may bring.
_FORMATS = {"jpg": "JPEG", "zlib": "PNG", "webp": "WebP", "libtiff": "TIFF"}
#: A cgroup without a limit says `max`, or on v1 a number that no machine has.
_NO_LIMIT = 1 << 60


def look_at_machine(state_dir: Path, root: Path = Path("/")) -> MachineFacts:
    """`root` replaces `/` where files of the system are read."""
    from PIL import features

    from autotagger.tagger.session import found_devices

    packages = {dist.metadata["Name"].lower() for dist in importlib.metadata.distributions()}
    return MachineFacts(
        cpu=cpu_name(root / "proc/cpuinfo"),
        cpu_flags=cpu_flags(root / "proc/cpuinfo"),
        cores=os.cpu_count() or 1,
        allowed_cores=allowed_cores(root / "proc/self/cgroup", root / "sys/fs/cgroup"),
        memory_bytes=free_memory(root),
        disk_bytes=free_disk(state_dir),
        render_nodes=tuple(_render_nodes(root)),
        has_opencl_driver=any((root / "etc/OpenCL/vendors").glob("*ntel*.icd")),
        in_container=any((root / name).exists() for name in (".dockerenv", "run/.containerenv")),
        devices=frozenset(found_devices()),
        imaging=_imaging(),
        formats_missing=tuple(name for feature, name in _FORMATS.items() if not features.check(feature)),
        runtimes=tuple(sorted(name for name in packages if re.fullmatch(r"onnxruntime([-_].*)?", name))),
    )


def free_memory(root: Path = Path("/")) -> int:
    """Bytes that may still be taken: what the kernel thinks is available, less where a cgroup allows less."""
    found = re.search(r"^MemAvailable:\s+(\d+) kB", _read(root / "proc/meminfo"), re.MULTILINE)
    available = [int(found[1]) << 10] if found else []
    return min([*available, *_cgroup_rooms(root)], default=0)


def _cgroup_rooms(root: Path) -> Iterator[int]:
    """What the memory limits of our cgroups (v1 or v2) leave. In a container the mount's root is our own group."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        if controllers and "memory" not in controllers.split(","):
            continue
        mount = root / "sys/fs/cgroup" / controllers
        group = mount / path.lstrip("/")
        for folder in (mount, *(one for one in (group, *group.parents) if mount in one.parents)):
            limit = _number(folder / "memory.max", folder / "memory.limit_in_bytes")
            used = _number(folder / "memory.current", folder / "memory.usage_in_bytes")
            if limit is not None and limit < _NO_LIMIT:
                yield max(0, limit - (used or 0))


def _number(*files: Path) -> int | None:
    return next((int(text) for file in files if (text := _read(file).strip()).isdecimal()), None)


def free_disk(folder: Path) -> int:
    """Bytes free where `folder` is, or will be."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(there).free


def _render_nodes(root: Path) -> Iterator[RenderNode]:
    for path in sorted((root / "dev/dri").glob("renderD*")):
        vendor = _read(root / "sys/class/drm" / path.name / "device/vendor").strip()
        yield RenderNode(path, path.stat().st_gid, os.access(path, os.R_OK | os.W_OK), vendor)


def _imaging() -> str:
    """`Pillow-SIMD 12.1.1.post0`: both call themselves Pillow, only the one has post releases."""
    import PIL

    return f"{'Pillow-SIMD' if 'post' in PIL.__version__ else 'Pillow'} {PIL.__version__}"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
