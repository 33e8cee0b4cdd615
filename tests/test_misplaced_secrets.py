"""A key or a password in any setting: it is refused by name and comes out nowhere."""

import asyncio
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web

from autotagger.config import OLD_KEYS, _variable, load_settings
from autotagger.demo import StandIn, tiny_library
from autotagger.demo.faults import Call
from autotagger.errors import BadConfig
from autotagger.keylike import holds_key, without_keys
from autotagger.settings import leaves
from tests.forked import Outcome, command

#: As Immich makes them; and one that only its place gives away.
KEY = "Zk3fQvT9xLmW2bHs8RyPq4NdGcJ7aUe5VtXo1iKE"
PLAIN = "a-key-that-nobody-may-ever-see"
PLACES = [path for path in leaves() if path != ("immich", "api_key")] + [
    old for old in OLD_KEYS if OLD_KEYS[old].successor
]
IDS = [".".join(path) for path in PLACES]


def run(
    folder: Path, *words: str, toml: str = "", environ: Mapping[str, str] | None = None
) -> tuple[Outcome, bytes]:
    """A command, and everything that it has written below `folder`, the configuration left out."""
    config = folder / "config.toml"
    config.write_text(toml)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AUTOTAGGER_", "IMMICH_"))}
    mine = {"HOME": str(folder / "home"), "XDG_STATE_HOME": str(folder / "home")}
    done = command("--config", config, *words, environ={**kept, **mine, **(environ or {})}, cwd=folder)
    written = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file() and path != config)
    return done, written


def table(path: tuple[str, ...], value: Any) -> str:
    return (f"[{'.'.join(path[:-1])}]\n" if len(path) > 1 else "") + f"{path[-1]} = {value}\n"


@pytest.mark.parametrize("key", [KEY, PLAIN], ids=["looks-like-one", "is-the-one"])
@pytest.mark.parametrize("path", PLACES, ids=IDS)
def test_a_key_in_any_wrong_setting_is_refused(path: tuple[str, ...], key: str, tmp_path: Path) -> None:
    """As text, in a list, as name and as value of a table, by file and by variable."""
    if path == ("immich", "api_key_file"):  # where the key is given too, it counts and this is dropped
        key, given = KEY, {}
    else:
        given = {"IMMICH_API_KEY": key}
    forms = [json.dumps(form) for form in (key, f"x {key}", [key])]
    forms += [f'{{"{key}" = "x"}}', f'{{general = "{key}"}}', f'{{general = ["{key}"]}}']
    for form in forms:
        (tmp_path / "config.toml").write_text(table(path, form))
        with pytest.raises(BadConfig) as caught:
            load_settings(tmp_path / "config.toml", environ=given)
        assert key not in caught.value.message, form
    for value in (key, json.dumps({key: "x"}), json.dumps({"general": key})):
        environ = {"AUTOTAGGER_CONFIG": os.devnull, _variable(path): value, **given}
        with pytest.raises(BadConfig) as caught:
            load_settings(environ=environ)
        assert key not in caught.value.message, value


@pytest.mark.parametrize(
    "words",
    [("config", "--json"), ("status",), ("doctor", "--json", "--quick"), ("run", "--once"), ("ledger", "export")],
)
@pytest.mark.parametrize(
    ("toml", "named"),
    [
        (f'[immich]\napi_key_file = "{KEY}"', "api_key_file"),
        (f'[immich]\nbase_url = "http://{KEY}:2283"', "base_url"),
        (f'[immich]\nbase_url = "http://photos/?apiKey={KEY}"', "base_url"),
        ('[immich]\nbase_url = "http://me:pass%2Fword@photos:2283"', "base_url"),
        ('[immich]\nbase_url = "me:pass/word@photos"', "base_url"),
        (f'marker = "{KEY}"', "marker"),
        (f'[model]\nname = "{KEY}"', "name"),
        (f'[policy.rename]\n"1girl" = "{KEY}"', "rename"),
        (f'[immich]\n{KEY} = 1', "unknown key"),
        (f'[[account]]\nname = "{KEY}"\napi_key = "{KEY}"', "name"),
    ],
)  # fmt: skip
def test_no_command_repeats_it(words: tuple[str, ...], toml: str, named: str, tmp_path: Path) -> None:
    done, written = run(tmp_path, *words, toml=toml, environ={"AUTOTAGGER_DEBUG": "1"})
    assert done.code == 2, done.err
    assert named in done.err.splitlines()[-1]
    everything = done.out + done.err + written.decode(errors="replace")
    assert KEY not in everything
    assert "pass" not in done.err.splitlines()[-1].replace("password", "")
    assert "word@" not in everything


@pytest.mark.parametrize("words", [("run", "--once", "--model", KEY), ("run", "--once", "--base-url", f"http://{KEY}"),
                                   ("models", "pull", KEY), ("undo", "--all", "--account", KEY),
                                   ("ledger", "show", KEY), ("policy", "test", KEY)])  # fmt: skip
def test_a_key_on_the_command_line_is_not_repeated(words: tuple[str, ...], tmp_path: Path) -> None:
    done, written = run(
        tmp_path, *words, environ={"IMMICH_API_KEY": PLAIN, "IMMICH_BASE_URL": "http://127.0.0.1:9"}
    )
    assert done.code != 0
    everything = (done.out + done.err).encode() + written
    assert KEY.lower().encode() not in everything.lower()


@pytest.mark.parametrize(
    "innocent",
    [
        "0123456789abcdef0123456789abcdef01234567",  # a commit, or SHA-1
        "d41d8cd98f00b204e9800998ecf8427e",
        "/nix/store/3yqv2v8sjp4a9ya4glnnprfvcsbg0d1h-immich",
        "025b413f-8a6b-4c1d-9d3e-0123456789ab",
        "thequickbrownfoxjumpsoverthelazydogandmore",
        "E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855",
    ],
)
def test_what_is_no_key_is_left(innocent: str) -> None:
    assert not holds_key(innocent)
    assert without_keys(f"x {innocent} y") == f"x {innocent} y"
    assert without_keys(f"/a/{KEY}/b") == "/a/***/b"


async def test_a_key_that_the_server_echoes_is_in_no_output_log_ledger_or_export(
    tmp_path: Path,
) -> None:
    """In file names, tags, errors, and headers of a real run, whose picture is broken for good measure."""
    async with StandIn(tiny_library(8)) as server:
        key = server.api_key

        async def echo(call: Call) -> web.StreamResponse | None:
            if call.name == "preview" and call.number == 3:
                return web.Response(body=key.encode() * 9, content_type="image/jpeg")
            if call.name == "preview" and call.number == 4:
                body = orjson.dumps({"message": f"no {key} for you", "error": key})
                return web.Response(body=body, status=400, headers={"X-Key": key}, content_type="application/json")
            return None

        server.faults = echo
        for row in server.store.rows.values():
            object.__setattr__(row.spec, "file_name", f"{key}.jpg")
        server.store.upsert([f"a {key}"])
        settings = f'state_dir = "{tmp_path / "state"}"\nlog_level = "DEBUG"\n[model]\nname = "palette"\n'
        environ = {"IMMICH_BASE_URL": server.url, "IMMICH_API_KEY": key, "AUTOTAGGER_DEBUG": "1"}
        for words in (
            ("run", "--once", "--json"),
            ("ledger", "export"),
            ("ledger", "list"),
            ("status", "--problems"),
            ("plan", "--format", "json"),
            ("verify", "--format", "csv"),
            ("config", "--json"),
            ("doctor", "--quick"),
            ("ledger", "backup", str(tmp_path / "copy")),
        ):
            done, written = await asyncio.to_thread(run, tmp_path, *words, toml=settings, environ=environ)
            assert key.encode() not in (done.out + done.err).encode() + written, words
            assert done.code in (0, 1), (words, done.err)
        assert b"[API key].jpg" in written, "it was echoed"
