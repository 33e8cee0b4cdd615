"""The processor, before anything that is built for a better one gets loaded.

Pillow-SIMD is built for AVX2 (scripts/setup). On a processor without it, which may be another one than at the time
of the build (a container, a virtual machine that moved), it would end the process by SIGILL: here a person gets
plain Pillow, where the installation has brought one along, or else one clear line.
"""

import importlib.util
import os
import re
import sys
from pathlib import Path

from autotagger.errors import StartupFailed

CPUINFO = Path("/proc/cpuinfo")
#: Plain Pillow beside Pillow-SIMD: the container image has it.
SPARE = Path(sys.prefix) / "pillow-plain"


def cpu_flags(cpuinfo: Path = CPUINFO) -> frozenset[str]:
    """Features of the processor as Linux names them: `avx2`, `avx512_vnni`, `hypervisor`. Empty when unknown."""
    return frozenset(_entry(cpuinfo, "flags").split())


def cpu_name(cpuinfo: Path = CPUINFO) -> str:
    """What the processor calls itself."""
    return " ".join(_entry(cpuinfo, "model name").split()) or "unknown processor"


def suit_imaging(cpuinfo: Path = CPUINFO, spare: Path = SPARE) -> None:
    """See to it that `import PIL` finds a build for this processor, here and in child processes.

    Raises StartupFailed where there is none. Nothing is done where the processor's features are not known.
    """
    flags = cpu_flags(cpuinfo)
    if not flags or "avx2" in flags or not _is_simd():
        return
    if not (spare / "PIL").is_dir():
        raise StartupFailed(
            f"this processor ({cpu_name(cpuinfo)}) has no AVX2, for which Pillow-SIMD was built here: "
            'PILLOW=plain ./scripts/setup installs plain Pillow; in a virtual machine, set its CPU type to "host"',
            kind="no-avx2",
        )
    sys.path.insert(0, str(spare))
    importlib.invalidate_caches()
    known = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = f"{spare}{os.pathsep}{known}" if known else str(spare)


def _is_simd() -> bool:
    """Whether `import PIL` would load Pillow-SIMD; only that one has post releases. PIL is not loaded for it."""
    spec = importlib.util.find_spec("PIL")
    if spec is None or spec.origin is None:
        return False
    version = Path(spec.origin).with_name("_version.py")
    return version.is_file() and ".post" in version.read_text(encoding="utf-8")


def _entry(cpuinfo: Path, name: str) -> str:
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    found = re.search(rf"^{name}[ \t]*:[ \t]*(.*)$", text, re.MULTILINE)
    return found[1] if found else ""
