"""What each process loads: a library that a role has no use for costs memory and time in every run."""

import pickle
import subprocess
import sys
from collections.abc import Set
from pathlib import Path

import pytest
from pydantic import SecretStr

from autotagger.immich.types import Dialect, Server, ServerVersion
from autotagger.pipeline.child.spec import Account, ChildSpec
from autotagger.settings import ImmichSettings, Settings
from autotagger.tagger.catalog import find_model

KEY = "a-key-that-strangers-want"
COMMAND_LINE = {"autotagger.cli", "typer", "click", "rich"}
HTTP, DATABASE, ARRAYS, PICTURES = {"aiohttp", "tenacity"}, {"peewee", "sqlite3"}, {"numpy"}, {"PIL"}
RUNTIME, VIDEOS = {"onnxruntime"}, {"av"}

#: By role: the module that entry_points.py imports, the libraries that it needs, and those that it must not load.
ROLES = {
    "writer": (
        "autotagger.pipeline.writer.writer",
        HTTP | DATABASE | ARRAYS,
        COMMAND_LINE | PICTURES | RUNTIME | VIDEOS,
    ),
    "fetcher": (
        "autotagger.pipeline.fetcher.fetcher",
        HTTP,
        COMMAND_LINE | DATABASE | ARRAYS | PICTURES | RUNTIME | VIDEOS,
    ),
    "inferencer": (
        "autotagger.pipeline.inferencer, autotagger.tagger.engine.openvino",
        ARRAYS | PICTURES | RUNTIME,
        COMMAND_LINE | HTTP | DATABASE | VIDEOS | {"uvloop"},
    ),
    "supervisor": (
        "autotagger.service.run",
        HTTP | DATABASE,
        COMMAND_LINE | ARRAYS | PICTURES | RUNTIME | VIDEOS | {"uvloop"},
    ),
}


def spec(state_dir: Path) -> ChildSpec:
    server = Server(ServerVersion(3, 0, 0), Dialect.V3_0, frozenset(), None)
    settings = Settings(state_dir=state_dir, immich=ImmichSettings(api_key=SecretStr(KEY)))
    model = find_model("palette", state_dir, download=False)
    return ChildSpec(settings, (Account("alice", SecretStr(KEY), server),), model)


def loaded(modules: str, told: bytes) -> Set[str]:
    """What a fresh process has loaded that imports what multiprocessing makes a child import, and `modules`."""
    script = (
        "import pickle, sys, autotagger.__main__, autotagger.pipeline.supervisor.entry_points\n"
        f"pickle.load(sys.stdin.buffer)\nimport {modules}\nprint(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], input=told, capture_output=True, check=True)
    return frozenset(done.stdout.decode().split())


@pytest.mark.parametrize("role", ROLES)
def test_a_role_loads_what_it_needs_and_no_more(role: str, tmp_path: Path) -> None:
    modules, needed, useless = ROLES[role]
    told = {"fetcher": spec(tmp_path).of_fetcher(), "inferencer": spec(tmp_path).of_inferencer()}
    found = loaded(modules, pickle.dumps(told.get(role, spec(tmp_path))))
    assert needed <= found
    assert not useless & found


def test_inferencers_are_told_no_key(tmp_path: Path) -> None:
    assert KEY.encode() in pickle.dumps(spec(tmp_path).of_fetcher())
    assert KEY.encode() not in pickle.dumps(spec(tmp_path).of_inferencer())
