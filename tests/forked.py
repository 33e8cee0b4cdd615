"""Processes that are forked from one that has imported everything already.

Importing is most of what a short process costs, and the tests start hundreds.
"""

import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

from autotagger.__main__ import main
from autotagger.cli import commands
from autotagger.pipeline import inferencer
from autotagger.pipeline.child.base import die_with_the_parent
from autotagger.pipeline.fetcher import fetcher
from autotagger.pipeline.supervisor import supervisor
from autotagger.pipeline.writer import writer
from autotagger.tagger import video
from autotagger.tagger.engine import openvino

COMMANDS = [import_module(f"autotagger.cli.{name}") for name in sorted(set(commands.MODULES.values()))]

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(
    [module.__name__ for module in (fetcher, inferencer, supervisor, writer, video, openvino, *COMMANDS)]
)


class Forked:
    """What the pipeline asks of multiprocessing's contexts. They end with the process that started the first."""

    def Process(self, *, target: Callable[..., None], args: tuple[Any, ...] = (), name: str = "") -> Any:  # noqa: N802
        return _SERVER.Process(target=_dying, args=(target, *args), name=name or None)


FORKED = Forked()
#: A command that has not ended by then never would.
LONG_S = 60


@dataclass(frozen=True)
class Outcome:
    """How a command ended, and what it wrote."""

    code: int
    out: str
    err: str


def command(*arguments: str | Path, environ: Mapping[str, str], cwd: Path | None = None) -> Outcome:
    """`autotagger` with these arguments: a process of its own, with this environment, without a terminal."""
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder) / "out", Path(folder) / "err"
        told = ([*map(str, arguments)], dict(environ), cwd or Path.cwd(), out, err)
        process = FORKED.Process(target=_command, args=told)
        process.start()
        process.join(LONG_S)
        if process.exitcode is None:
            process.kill()
            process.join()
        code = process.exitcode
        process.close()
        assert code is not None
        return Outcome(code, out.read_bytes().decode(), err.read_bytes().decode())


def _dying(target: Callable[..., None], *arguments: Any) -> None:
    """Run `target` and end with the server, which ends when nobody holds the other end of its pipe: those that it
    forks are given that end, too."""
    server: Any = forkserver
    os.close(server._forkserver._forkserver_alive_fd)
    die_with_the_parent()
    target(*arguments)


def wait_for_ever() -> None:
    """Say that it has started, and end when it is killed."""
    print("started", flush=True)
    signal.pause()


def _command(arguments: list[str], environ: dict[str, str], cwd: Path, out: Path, err: Path) -> None:
    for path, stream in ((out, 1), (err, 2)):
        with path.open("wb") as file:
            os.dup2(file.fileno(), stream)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environ)
    sys.argv = ["autotagger", *arguments]
    main()
