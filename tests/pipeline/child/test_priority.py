"""Priorities, in processes of their own."""

import subprocess
import sys

SCRIPT = """
import os, psutil
from autotagger.settings import PipelineSettings
from autotagger.pipeline.child.priority import lower_priority
lower_priority(PipelineSettings(nice=19, ionice={ionice!r}))
lower_priority(PipelineSettings(nice=1))
here = psutil.Process()
print(os.getpriority(os.PRIO_PROCESS, 0), int(here.ionice().ioclass), here.ionice().value)
"""


def stepped_back(ionice: str) -> list[int]:
    script = SCRIPT.format(ionice=ionice)
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, timeout=60)
    return [int(word) for word in run.stdout.split()]


def test_a_child_steps_back_and_never_forward() -> None:
    assert stepped_back("low") == [19, 2, 7]
    assert stepped_back("idle")[:2] == [19, 3]
