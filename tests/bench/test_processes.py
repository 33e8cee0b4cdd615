"""What is read from /proc: of our own child, which says what it is called and burns time."""

import os
import subprocess
import sys

from autotagger.bench.processes import usages

BURN = """
import sys, threading, time
from autotagger.pipeline.child.base import name_thread
name_thread("autotag-test")
held = bytearray(50_000_000)
def burn():
    name_thread("burn")
    while time.thread_time() < 0.2: pass
    print("burnt", flush=True)
    sys.stdin.read()
threading.Thread(target=burn).start()
"""


def test_a_child_is_known_by_its_name_and_its_threads_by_theirs() -> None:
    with subprocess.Popen([sys.executable, "-c", BURN], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"burnt\n"
        found = {usage.pid: usage for usage in usages(os.getpid())}
        assert os.getpid() in found
        usage = found[child.pid]
        child.communicate()
    assert usage.role == "autotag-test"
    assert 0.15 < usage.cpu_s["burn"] < 2.0
    assert "main" in usage.cpu_s
    assert 50 < usage.held_mb < usage.peak_mb
    assert child.pid not in {usage.pid for usage in usages(os.getpid())}
