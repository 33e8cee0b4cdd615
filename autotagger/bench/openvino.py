"""OpenVINO's own measurement of a model, where its `benchmark_app` is installed (it comes with `openvino`)."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

from loguru import logger


def find_benchmark_app() -> str | None:
    """Beside our interpreter, or on the PATH."""
    beside = Path(sys.executable).with_name("benchmark_app")
    return str(beside) if beside.is_file() else shutil.which("benchmark_app")


def benchmark_app_ips(
    app: str, model: Path, shape: tuple[int, ...], *, streams: int, threads: int, seconds: float
) -> float | None:
    """Pictures a second by `app` on the CPU, in 32-bit floats and batches of one; None when it does not say."""
    command = [app, "-m", str(model), "-d", "CPU", "-hint", "none", "-t", str(max(1, round(seconds)))]
    command += ["-nstreams", str(streams), "-nireq", str(streams), "-nthreads", str(threads)]
    command += ["-infer_precision", "f32", "-shape", f"[1,{','.join(map(str, shape))}]"]
    try:
        output = subprocess.run(command, capture_output=True, text=True, timeout=seconds * 10 + 300, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        logger.warning("benchmark_app did not run: {}", error)
        return None
    found = re.search(r"Throughput:\s*([\d.]+)\s*FPS", output.stdout)
    if not found:
        logger.warning("benchmark_app says nothing of throughput: {}", (output.stdout + output.stderr)[-300:])
    return float(found[1]) if found else None
