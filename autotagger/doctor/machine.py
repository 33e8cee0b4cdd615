"""A look at the machine: what this process may use of it, and what is installed."""

import importlib.metadata
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from autotagger.cpu import cpu_flags, cpu_name
from autotagger.doctor.facts import MachineFacts, RenderNode
from autotagger.tagger.cores import allowed_cores, allowed_memory

#: What Pillow must have been built with to read what Immich serves and what `picture = "original"` may bring.
_FORMATS = {"jpg": "JPEG", "zlib": "PNG", "webp": "WebP", "libtiff": "TIFF"}


def look_at_machine(state_dir: Path, root: Path = Path("/")) -> MachineFacts:
    """`root` replaces `/` where files of the system are read."""
    from PIL import features

    from autotagger.tagger.engine.openvino import found_devices

    groups = root / "proc/self/cgroup", root / "sys/fs/cgroup"
    packages = {dist.metadata["Name"].lower() for dist in importlib.metadata.distributions()}
    return MachineFacts(
        cpu=cpu_name(root / "proc/cpuinfo"),
        cpu_flags=cpu_flags(root / "proc/cpuinfo"),
        cores=os.cpu_count() or 1,
        allowed_cores=allowed_cores(*groups),
        memory_bytes=allowed_memory(*groups, root / "proc/meminfo"),
        disk_bytes=free_disk(state_dir),
        render_nodes=tuple(_render_nodes(root)),
        has_opencl_driver=any((root / "etc/OpenCL/vendors").glob("*ntel*.icd")),
        in_container=any((root / name).exists() for name in (".dockerenv", "run/.containerenv")),
        devices=frozenset(found_devices()),
        imaging=_imaging(),
        formats_missing=tuple(name for feature, name in _FORMATS.items() if not features.check(feature)),
        runtimes=tuple(sorted(name for name in packages if re.fullmatch(r"onnxruntime([-_].*)?", name))),
    )


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
