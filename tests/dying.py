"""Processes that end with the one that started them, also where that one is killed with -9.

A run that a test began would else go on for ever when somebody kills the tests: nobody is left to stop it.
"""

import shutil
import subprocess
from typing import Any

#: util-linux, which every Debian has: it asks the kernel for a signal at the parent's end (prctl(2),
#: PR_SET_PDEATHSIG) and becomes the command. Without it, what a killed pytest had started goes on.
_SETPRIV = shutil.which("setpriv")


class DyingPopen(subprocess.Popen[Any]):
    """`subprocess.Popen` whose process is killed when the thread that started it ends. `args` as a list."""

    def __init__(self, args: Any, *rest: Any, **more: Any) -> None:
        if _SETPRIV and isinstance(args, (list, tuple)) and not more.get("executable") and not more.get("shell"):
            args = [_SETPRIV, "--pdeathsig", "KILL", "--", *args]
        super().__init__(args, *rest, **more)
