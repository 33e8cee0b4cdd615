"""Processes that are forked from one that has imported everything already.

Importing is most of what a short process costs, and the tests start hundreds.
"""

import multiprocessing
import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from autotagger.__main__ import main
from autotagger.cli import commands
from autotagger.pipeline import inferencer
from autotagger.pipeline.fetcher import fetcher
from autotagger.pipeline.supervisor import supervisor
from autotagger.pipeline.writer import writer
from autotagger.tagger import video
from autotagger.tagger.engine import openvino

COMMANDS = [import_module(f"autotagger.cli.{name}") for name in sorted(set(commands.MODULES.values()))]

FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload(
    [module.__name__ for module in (fetcher, inferencer, supervisor, writer, video, openvino, *COMMANDS)]
)
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


def _command(arguments: list[str], environ: dict[str, str], cwd: Path, out: Path, err: Path) -> None:
    for path, stream in ((out, 1), (err, 2)):
        with path.open("wb") as file:
            os.dup2(file.fileno(), stream)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environ)
    sys.argv = ["autotagger", *arguments]
    main()
