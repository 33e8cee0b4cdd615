"""What tests start does not outlive them."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests import dying

#: Ways to start a process that says so on the pipe that we read, and would keep it open for ever.
WAYS = {
    "a command": """
import signal, sys
from tests.dying import DyingPopen
DyingPopen([sys.executable, "-c", "import signal; print('started', flush=True); signal.pause()"])
signal.pause()
""",
    "a forked process": """
import signal
from tests import forked
if __name__ == "__main__":
    forked.FORKED.Process(target=forked.wait_for_ever).start()
    signal.pause()
""",
}


@pytest.mark.skipif(not dying._SETPRIV, reason="setpriv is not there")
@pytest.mark.parametrize("way", WAYS)
def test_what_a_killed_process_started_ends_with_it(way: str, tmp_path: Path) -> None:
    script = tmp_path / "starting.py"
    script.write_text(WAYS[way])
    root = Path(dying.__file__).parent.parent
    environ = {"PYTHONPATH": str(root), "PATH": "/usr/bin:/bin"}
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, env=environ) as parent:
        assert parent.stdout
        assert parent.stdout.readline() == b"started\n"
        parent.kill()
        assert parent.stdout.read() == b"", "the end of the pipe: nobody holds it any more"
