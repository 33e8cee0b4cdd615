"""`doctor` passes exactly what `run` starts with: broken configurations, and the exit codes of both."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from autotagger.demo import StandIn, tiny_library
from tests.forked import command

POLICY = "AUTOTAGGER_POLICY_"
ENOUGH = ("asset.read", "asset.view", "tag.read", "tag.create", "tag.asset")


def a_folder(name: str) -> Callable[[Path], object]:
    return lambda state: (state / name).mkdir(parents=True)


def a_file(name: str, body: bytes) -> Callable[[Path], object]:
    def write(state: Path) -> None:
        (state / name).parent.mkdir(parents=True, exist_ok=True)
        (state / name).write_bytes(body)

    return write


@dataclass(frozen=True)
class Broken:
    """`says`: what both name; `first`: what is done with the state folder before. In the environment, STATE is
    that folder's path, PORT one that somebody listens on, KEY one with the permissions of ENOUGH."""

    code: int
    says: str
    environ: dict[str, str] = field(default_factory=dict)
    first: Callable[[Path], object] = lambda _: None


TABLE = {
    "nothing is wrong": Broken(0, ""),
    "an empty ledger": Broken(0, "", first=a_file("ledger.sqlite3", b"")),
    "a threshold for no category": Broken(2, "nosuch", {f"{POLICY}THRESHOLD_NOSUCH": "0.5"}),
    "a gap for ratings": Broken(2, "policy.mcut", {f"{POLICY}MCUT_RATING": "0.2"}),
    "no second names": Broken(2, "second_names", {f"{POLICY}SECOND_NAMES": "/nowhere.csv"}),
    "half a second name": Broken(
        2, "has no second name", {f"{POLICY}SECOND_NAMES": "STATE/n.csv"}, a_file("n.csv", b"sky\n")
    ),
    "second names in Latin 1": Broken(
        2, "is not UTF-8", {f"{POLICY}SECOND_NAMES": "STATE/n.csv"}, a_file("n.csv", b"sky,\xe9\n")
    ),
    "tags below the marker": Broken(2, "below the marker", {f"{POLICY}TEMPLATE_GENERAL": "auto:processed/{name}"}),
    "a slash that does not last": Broken(2, "[policy] slash", {f"{POLICY}SLASH": "&"}),
    "an action for no rating": Broken(
        2, "rating_action] nosuch", {f"{POLICY}RATING_ACTION": '{"nosuch": "archive"}'}
    ),
    "an action that the key may not do": Broken(
        4, "asset.update", {f"{POLICY}RATING_ACTION": '{"explicit": "archive"}', "IMMICH_API_KEY": "KEY"}
    ),
    "originals that the key may not have": Broken(
        4, "asset.download", {"AUTOTAGGER_IMMICH_PICTURE": "original", "IMMICH_API_KEY": "KEY"}
    ),
    "a lock that is a folder": Broken(3, "ledger.lock", first=a_folder("ledger.lock")),
    "a ledger that is a folder": Broken(3, "ledger.sqlite3", first=a_folder("ledger.sqlite3")),
    "a journal that is a folder": Broken(3, "ledger.sqlite3", first=a_folder("ledger.sqlite3-wal")),
    "a damaged ledger": Broken(3, "damaged", first=a_file("ledger.sqlite3", bytes(range(256)) * 32)),
    "a file where large pictures go": Broken(3, "spill", first=a_file("spill", b"x")),
    "a state folder that is a file": Broken(3, "", {"AUTOTAGGER_STATE_DIR": "STATE/x"}, a_file("x", b"")),
    "a state folder that cannot be made": Broken(3, "/proc/nowhere", {"AUTOTAGGER_STATE_DIR": "/proc/nowhere"}),
    "a device that is not here": Broken(3, "GPU", {"AUTOTAGGER_MODEL_DEVICE": "GPU"}),
    "no such model": Broken(2, "palete", {"AUTOTAGGER_MODEL": "palete"}),
    "a folder without a model": Broken(3, "manifest", {"AUTOTAGGER_MODEL": "STATE"}, a_file("x", b"")),
    "no certificate": Broken(2, "ca_file", {"AUTOTAGGER_IMMICH_CA_FILE": "/nowhere"}),
    "no client certificate": Broken(2, "client_cert_file", {"AUTOTAGGER_IMMICH_CLIENT_CERT_FILE": "/nowhere"}),
    "another protocol": Broken(2, "base_url", {"IMMICH_BASE_URL": "ftp://photos"}),
    "no key": Broken(2, "no API key", {"IMMICH_API_KEY": ""}),
    "no key file": Broken(2, "API key file", {"IMMICH_API_KEY": "", "IMMICH_API_KEY_FILE": "/nowhere"}),
    "another key": Broken(4, "API key", {"IMMICH_API_KEY": "wrong"}),
    "a port that is taken": Broken(3, "listen_port", {"AUTOTAGGER_SERVICE_LISTEN_PORT": "PORT"}),
    "a host that is not here": Broken(
        3,
        "nowhere.invalid",
        {"AUTOTAGGER_SERVICE_LISTEN_PORT": "9", "AUTOTAGGER_SERVICE_LISTEN_HOST": "nowhere.invalid"},
    ),
    "a setting that is none": Broken(2, "unknown environment variable", {"AUTOTAGGER_IMMICH_BATCHSIZE": "3"}),
}


@pytest.fixture
def taken() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield str(server.getsockname()[1])


@pytest.fixture
async def server() -> AsyncIterator[StandIn]:
    async with StandIn(tiny_library(3)) as server:
        yield server


@pytest.mark.parametrize("name", TABLE)
async def test_doctor_and_run_say_the_same(name: str, server: StandIn, taken: str, tmp_path: Path) -> None:
    broken = TABLE[name]
    key = server.add_key(set(ENOUGH))
    settings = {
        "AUTOTAGGER_CONFIG": "/dev/null",
        "AUTOTAGGER_MODEL": "palette",
        "AUTOTAGGER_LOG_LEVEL": "ERROR",
        "AUTOTAGGER_SERVICE_LISTEN_ONCE": "yes",
        "AUTOTAGGER_SERVICE_LISTEN_PORT": "0",
        "IMMICH_BASE_URL": server.url,
        "IMMICH_API_KEY": server.api_key,
    } | broken.environ
    outcomes = []
    for words in (("doctor",), ("run", "--once")):
        state = tmp_path / words[0] / "state"
        broken.first(state)
        meant = {"STATE": str(state), "PORT": taken, "KEY": key}
        environ = {"AUTOTAGGER_STATE_DIR": str(state)}
        for variable, value in settings.items():
            for word, meaning in meant.items():
                value = value.replace(word, meaning)
            environ[variable] = value
        outcomes.append(
            await asyncio.to_thread(command, *words, environ={**os.environ, **environ, "COLUMNS": "500"})
        )
    doctor, run = outcomes
    assert (doctor.code, run.code) == (broken.code, broken.code), (doctor, run)
    assert broken.says in doctor.out + doctor.err
    assert broken.says in run.err
    assert ("Everything is ready." in doctor.out) == (broken.code == 0)
