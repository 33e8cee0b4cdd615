"""Work apart ends with the process that asked for it, however that ends: nobody would be there to end it."""

import subprocess
import sys
from pathlib import Path

import psutil

PROGRAM = """
import time
from autotagger.pipeline.child.apart import apart

def work():
    print("begun", flush=True)
    time.sleep(600)

if __name__ == "__main__":
    apart(work)
"""


def test_work_apart_ends_with_a_process_that_is_killed(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    with subprocess.Popen([sys.executable, program], stdout=subprocess.PIPE) as asking:
        assert asking.stdout is not None
        assert asking.stdout.readline() == b"begun\n"
        working = psutil.Process(asking.pid).children(recursive=True)
        assert working
        asking.kill()
        gone, left = psutil.wait_procs(working, timeout=60)
    assert not left
    assert len(gone) == len(working)
