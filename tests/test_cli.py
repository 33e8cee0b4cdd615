"""The command line, as a user meets it: real processes, a real socket, a real terminal."""

import asyncio
import csv
import io
import json
import os
import pty
import re
import select
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import typer
import typer.main
from aiohttp import web
from aiohttp.test_utils import TestServer
from PIL import Image
from pydantic import SecretStr

from autotagger import __version__, cli, lines
from autotagger.cli.commands import MODULES
from autotagger.config import api_key, load_settings
from autotagger.errors import AssetFailed, BadConfig, ServerRefused, StartupFailed, Unreachable
from autotagger.ledger.writer import LedgerWriter
from tests.forked import Outcome, command

KEY = "s3cret-key-of-the-tests"
LEAST = ["asset.read", "asset.view", "tag.read", "tag.create", "tag.asset"]


def environment(home: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Nothing of the caller's settings: only what Python needs, and `extra`."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AUTOTAGGER_", "IMMICH_", "XDG_"))
    }
    return kept | {"HOME": str(home), "COLUMNS": "200", "NO_COLOR": "1"} | dict(extra or {})


Run = Callable[..., Outcome]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def run(*arguments: str | Path, **extra: str) -> Outcome:
        return command(*arguments, environ=environment(tmp_path, extra), cwd=tmp_path)

    return run


@pytest.fixture
def start(tmp_path: Path) -> Run:
    """`run` from the very start, by the interpreter."""

    def start(*arguments: str | Path, **extra: str) -> Outcome:
        done = subprocess.run(
            [sys.executable, "-m", "autotagger", *map(str, arguments)],
            env=environment(tmp_path, extra),
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
            check=False,
        )
        return Outcome(done.returncode, done.stdout.decode(), done.stderr.decode())

    return start


# --- the frame ---


def test_every_command_is_in_the_help_and_has_its_own(run: Run) -> None:
    commands = typer.main.get_group(cli.app).commands
    listed = re.findall(r"^  (\w+)  ", run("--help").out.split("Commands:")[1], re.MULTILINE)
    assert listed == list(commands)
    for name in commands:
        own = run(name, "--help")
        assert (own.code, own.err) == (0, ""), name
        assert f"autotagger {name} " in own.out
        assert "--help" in own.out


def test_the_help_loads_no_machinery() -> None:
    heavy = ["numpy", "onnxruntime", "PIL", "aiohttp", "peewee", "huggingface_hub", "rich.console"]
    code = (
        "import sys, typer.main; from autotagger.cli import app\n"
        "print(len(dict(typer.main.get_group(app).commands)), "
        f"[name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(len(MODULES)), "[]"]


def test_a_command_loads_no_other() -> None:
    code = (
        "import sys; from autotagger.cli import app\n"
        "app(['pause', '--help'], standalone_mode=False); print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    commands = {f"autotagger.cli.{module}" for module in MODULES.values()}
    assert commands & set(done.stderr.split()) == {"autotagger.cli.pause"}


def test_a_look_at_the_ledger_loads_the_ledger_and_none_of_the_machinery(tmp_path: Path, start: Run) -> None:
    LedgerWriter(tmp_path / "ledger.sqlite3").close()
    for words in (("status",), ("ledger", "list")):
        looked = start(*words, AUTOTAGGER_STATE_DIR=str(tmp_path), PYTHONPROFILEIMPORTTIME="1")
        loaded = {line.rpartition("|")[2].strip() for line in looked.err.splitlines()}
        assert looked.code == 0, looked.err
        assert "peewee" in loaded
        assert not loaded & {"numpy", "onnxruntime", "PIL", "aiohttp", "tenacity", "huggingface_hub", "av"}
        assert not loaded & {"loguru", "asyncio"}


def test_what_immich_said_of_a_key_obeys_nobody_s_terminal(tmp_path: Path, run: Run) -> None:
    with LedgerWriter(tmp_path / "ledger.sqlite3") as ledger:
        number = ledger.start_run(__version__, 0)
        ledger.end_run(number, {"refused": {"anna": "no \x1b[31mkey"}}, 1)
    looked = run("status", AUTOTAGGER_STATE_DIR=str(tmp_path))
    assert looked.code == 0, looked.err
    assert looked.out.splitlines()[1] == r"the last run skipped account anna: no \x1b[31mkey"


def test_version(start: Run) -> None:
    assert start("--version").out == f"autotagger {__version__}\n"


@pytest.mark.parametrize("arguments", [["nonsense"], ["--nonsense"], ["tag"], ["tag", "--format", "xml", "x.png"]])
def test_wrong_usage_is_exit_code_2(arguments: list[str], run: Run) -> None:
    outcome = run(*arguments)
    assert outcome.code == 2
    assert outcome.out == ""
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize("words", [("config",), ("models", "list"), ("status",)], ids=" ".join)
def test_the_configuration_file_may_be_named_after_the_command(words: tuple[str, ...], run: Run) -> None:
    after = run(*words, "--config", "nowhere.toml")
    assert (after.code, after.err) == (2, run("--config", "nowhere.toml", *words).err)
    assert "cannot read the configuration nowhere.toml" in after.err


def test_a_wrong_configuration_is_one_line_and_exit_code_2(tmp_path: Path, run: Run) -> None:
    (tmp_path / "my.toml").write_text("[immich]\nbatchsize = 3")
    outcome = run("--config", "my.toml", "tag", "x.png")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err == (
        "autotagger: unknown key [immich] batchsize: did you mean [immich] batch_size? "
        "(from my.toml, the environment or the command line)\n"
    )


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (BadConfig("m"), 2),
        (StartupFailed("m"), 3),
        (ServerRefused("m"), 4),
        (Unreachable("m"), 4),
        (AssetFailed("m"), 1),
        (RuntimeError("m"), 70),
        (KeyboardInterrupt(), 130),
    ],
)
def test_every_error_ends_in_one_line_and_its_code(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(cli, "app", fail)
    monkeypatch.delenv("AUTOTAGGER_DEBUG", raising=False)
    with pytest.raises(SystemExit) as left:
        cli.main()
    shown = capsys.readouterr()
    assert left.value.code == code
    assert shown.out == ""
    assert shown.err.startswith("autotagger: ")
    assert shown.err.count("\n") == 1


def test_an_error_shows_neither_the_key_nor_control_characters(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise RuntimeError(f"{KEY} \x1b[2J\n")

    monkeypatch.setattr(lines, "_secrets", set())
    lines.hide_secret(SecretStr(KEY))
    monkeypatch.setattr(cli, "app", fail)
    for debug in ("0", "1"):
        monkeypatch.setenv("AUTOTAGGER_DEBUG", debug)
        with pytest.raises(SystemExit):
            cli.main()
        shown = capsys.readouterr().err
        assert KEY not in shown
        assert r"*** \x1b[2J\n" in shown
        assert ("Traceback" in shown) == (debug == "1")


# --- tag ---


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """A white and a black picture, and a file that is none between them."""
    Image.new("RGB", (60, 40), "white").save(tmp_path / "white.png")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG no picture")
    Image.new("RGB", (40, 60), "black").save(tmp_path / "black.png")
    return [tmp_path / name for name in ("white.png", "broken.png", "black.png")]


def test_tag_json_has_tags_and_scores_and_names_the_broken_file(pictures: list[Path], run: Run) -> None:
    outcome = run("tag", *pictures, "--model", "palette", "--format", "json")
    assert outcome.code == 1
    assert "broken.png" in outcome.err
    white, black = json.loads(outcome.out)
    assert (white["file"], black["file"]) == (str(pictures[0]), str(pictures[2]))
    assert "white background" in white["tags"]
    assert "white background" not in black["tags"]
    assert white["scores"]["white_background"] > 0.5
    for picture in (white, black):
        scores = list(picture["scores"].values())
        assert scores == sorted(scores, reverse=True)
        assert all(0.05 <= score <= 1.0 for score in scores)
        assert sum(tag.startswith("rating:") for tag in picture["tags"]) == 1


def test_tag_uses_the_policy_of_the_settings(tmp_path: Path, pictures: list[Path], run: Run) -> None:
    (tmp_path / "my.toml").write_text(
        '[model]\nname = "palette"\n[policy]\nblacklist = ["*_background"]\nrating = false'
    )
    outcome = run("--config", "my.toml", "tag", pictures[0], "--format", "json")
    assert outcome.code == 0
    (white,) = json.loads(outcome.out)
    assert not [tag for tag in white["tags"] if "background" in tag or tag.startswith("rating:")]
    assert "white_background" in white["scores"]


def test_tag_csv_has_a_line_per_label(pictures: list[Path], run: Run) -> None:
    rows = list(csv.DictReader(io.StringIO(run("tag", pictures[0], "--model", "palette", "--format", "csv").out)))
    assert {row["file"] for row in rows} == {str(pictures[0])}
    assert float(next(row["score"] for row in rows if row["label"] == "white_background")) > 0.5


def test_tag_prints_a_table_that_no_file_name_can_disturb(tmp_path: Path, pictures: list[Path], run: Run) -> None:
    pictures[0].rename(tmp_path / "[red]\x1b[2J.png")
    outcome = run("tag", "[red]\x1b[2J.png", "--model", "palette")
    assert outcome.code == 0
    assert r"[red]\x1b[2J.png" in outcome.out
    assert "white background" in outcome.out
    assert "\x1b" not in outcome.out


def test_tag_of_a_name_that_is_no_utf8(tmp_path: Path, pictures: list[Path], run: Run, start: Run) -> None:
    name = os.fsdecode(b"\xff.png")
    pictures[0].rename(tmp_path / name)
    for begin, form in ((start, "json"), (run, "csv"), (run, "table")):
        outcome = begin("tag", name, "--model", "palette", "--format", form)
        assert outcome.code == 0
        assert r"\xff.png" in outcome.out.replace("\\\\", "\\")


def test_tag_of_what_is_no_file(run: Run) -> None:
    outcome = run("tag", "missing.png", "--model", "palette", "--format", "json")
    assert (outcome.code, json.loads(outcome.out)) == (1, [])
    assert "missing.png: cannot be read: " in outcome.err


def test_tag_with_a_model_that_is_not_known(run: Run) -> None:
    outcome = run("tag", "x.png", "--model", "pallete")
    assert outcome.code == 2
    assert outcome.err == "autotagger: no model pallete: did you mean palette?\n"


# --- init ---


@dataclass
class Immich:
    """As much of Immich as the checks before a run ask for."""

    url: str = ""
    permissions: list[str] = field(default_factory=lambda: [*LEAST])

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/api/server/version", self._version)
        app.router.add_get("/api/api-keys/me", self._key)
        return app

    async def _version(self, request: web.Request) -> web.Response:
        return web.json_response({"major": 3, "minor": 0, "patch": 3})

    async def _key(self, request: web.Request) -> web.Response:
        if request.headers.get("x-api-key") != KEY:
            return web.json_response({"message": "Invalid API key", "statusCode": 401}, status=401)
        return web.json_response({"id": "0", "name": "autotagger", "permissions": self.permissions})


@pytest.fixture
async def immich() -> AsyncIterator[Immich]:
    server = Immich()
    async with TestServer(server.app()) as listening:
        server.url = f"127.0.0.1:{listening.port}"
        yield server


async def test_init_from_the_environment(immich: Immich, run: Run, tmp_path: Path) -> None:
    outcome = await asyncio.to_thread(run, "init", IMMICH_BASE_URL=immich.url, IMMICH_API_KEY=KEY)
    assert (outcome.code, outcome.err) == (0, "")
    assert all(name in outcome.out for name in LEAST)
    assert "Immich 3.0.3" in outcome.out
    assert KEY not in outcome.out

    folder = tmp_path / ".config/autotagger"
    assert sorted(path.name for path in folder.iterdir()) == ["api-key", "config.toml"]
    assert stat.S_IMODE((folder / "api-key").stat().st_mode) == 0o600
    assert KEY not in (folder / "config.toml").read_text()
    assert stat.S_IMODE((folder / "config.toml").stat().st_mode) == 0o600
    settings = load_settings(folder / "config.toml", environ={})
    assert settings.immich.base_url == immich.url
    assert api_key(settings.immich).get_secret_value() == KEY
    assert "Proposed: model wd-vit-tagger-v3, " in outcome.out
    assert settings.pipeline.workers >= 1


async def test_init_from_lines_that_are_piped_in(immich: Immich, tmp_path: Path) -> None:
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "autotagger", "init"],
        env=environment(tmp_path),
        cwd=tmp_path,
        input=f"{immich.url}\n{KEY}\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert KEY not in done.stdout
    settings = load_settings(tmp_path / ".config/autotagger/config.toml", environ={})
    assert settings.immich.base_url == immich.url
    assert api_key(settings.immich).get_secret_value() == KEY


async def test_init_overwrites_only_when_told_to(immich: Immich, run: Run, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("marker = 'mine'")
    environ = {"IMMICH_BASE_URL": immich.url, "IMMICH_API_KEY": KEY}
    refused = await asyncio.to_thread(run, "init", "--config", path, **environ)
    assert refused.code == 2
    assert refused.err == f"autotagger: {path} already exists; --force overwrites\n"
    assert path.read_text() == "marker = 'mine'"
    forced = await asyncio.to_thread(run, "--config", path, "init", "--force", **environ)
    assert forced.code == 0
    assert load_settings(path, environ={}).immich.base_url == immich.url


async def test_init_keeps_the_key_where_it_is(immich: Immich, run: Run, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY)
    outcome = await asyncio.to_thread(
        run, "init", "--config", "new/config.toml", IMMICH_BASE_URL=immich.url, IMMICH_API_KEY_FILE="key"
    )
    assert outcome.code == 0
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["config.toml"]
    settings = load_settings(tmp_path / "new/config.toml", environ={})
    assert settings.immich.api_key_file == tmp_path / "key"


@pytest.mark.parametrize(
    ("permissions", "key", "code", "says"),
    [
        (LEAST, "wrong", 4, "key"),
        (LEAST[:-1], KEY, 4, "tag.asset"),
        (LEAST, "", 2, "IMMICH_API_KEY"),
    ],
)
async def test_init_writes_nothing_that_would_not_work(
    permissions: list[str], key: str, code: int, says: str, immich: Immich, run: Run, tmp_path: Path
) -> None:
    immich.permissions = permissions
    outcome = await asyncio.to_thread(run, "init", IMMICH_BASE_URL=immich.url, IMMICH_API_KEY=key)
    assert outcome.code == code
    assert outcome.err.count("\n") == 1
    assert says in outcome.err
    assert not (tmp_path / ".config").exists()


def test_init_without_an_address_says_what_to_set(run: Run) -> None:
    outcome = run("init")
    assert outcome.code == 2
    assert "IMMICH_BASE_URL" in outcome.err


async def test_init_asks_at_a_terminal_and_hides_the_key(immich: Immich, tmp_path: Path) -> None:
    shown, code = await asyncio.to_thread(
        answer,
        tmp_path,
        [("Address of Immich: ", f"{immich.url}\n"), ("API key: ", f"{KEY}\n")],
        "--config",
        "c.toml",
    )
    assert code == 0
    assert KEY not in shown
    settings = load_settings(tmp_path / "c.toml", environ={})
    assert settings.immich.base_url == immich.url
    assert api_key(settings.immich).get_secret_value() == KEY


async def test_init_interrupted_at_a_question(tmp_path: Path) -> None:
    # a ctrl-C in the instant before Python waits for the line is acted on when that line ends
    shown, code = await asyncio.to_thread(answer, tmp_path, [("Address of Immich: ", "\x03\n")])
    assert code == 130
    assert "Traceback" not in shown


def answer(home: Path, answers: list[tuple[str, str]], *arguments: str) -> tuple[str, int]:
    """Run `autotagger init` on a terminal of its own and type each answer after its question."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", TAKE_TERMINAL, sys.executable, "-m", "autotagger", "init", *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment(home),
        cwd=home,
        start_new_session=True,
    )
    os.close(theirs)
    shown = ""
    try:
        for question, text in answers:
            while question not in shown:
                shown += (more := read_terminal(ours))
                assert more, f"ended without asking {question!r}: {shown}"
            os.write(ours, text.encode())
        while more := read_terminal(ours, again=answers[-1][1] if answers[-1][1].startswith("\x03") else ""):
            shown += more
        return shown, process.wait(timeout=30)
    finally:
        process.kill()
        process.wait()
        os.close(ours)


#: Makes stdin the controlling terminal, without which ctrl-C is only a character.
TAKE_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)


def read_terminal(terminal: int, *, again: str = "") -> str:
    """What the process has written; empty when it has closed its side. `again`: typed once more where it stays
    silent, as a person does whose ctrl-C came before anybody heeded it."""
    for _ in range(6):
        if select.select([terminal], [], [], 10)[0]:
            break
        os.write(terminal, again.encode())
    else:
        raise AssertionError("the process has gone silent")
    try:
        return os.read(terminal, 4096).decode(errors="replace")
    except OSError:  # how Linux says that the other side is closed
        return ""


# --- changing what is tagged ---


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["undo"], "choose what to undo"),
        (["undo", "--all", "--tag", "sky"], "choose what to undo"),
        (["undo", "--tag", "auto:processed"], "only removed together with the other tags"),
        (["undo", "--asset", "picture.png"], "is not an asset id"),
        (["undo", "--all", "--account", "ben"], "there are no [[account]] sections"),
        (["verify", "--sample", "2"], "--sample"),
    ],
)
def test_a_command_that_could_mean_the_wrong_thing_does_nothing(arguments: list[str], said: str, run: Run) -> None:
    outcome = run(*arguments)
    assert outcome.code == 2
    assert said in outcome.err
    assert outcome.out == ""


def test_undo_asks_first(run: Run) -> None:
    outcome = run("undo", "--all")
    assert outcome.code == 1
    assert "Aborted" in outcome.err


def test_there_is_nothing_to_change_without_a_ledger(run: Run) -> None:
    outcome = run("undo", "--all", "--yes")
    assert outcome.code == 3
    assert "there is no ledger" in outcome.err


def test_pause_and_resume_say_what_they_did(run: Run, tmp_path: Path) -> None:
    state = {"AUTOTAGGER_STATE_DIR": str(tmp_path / "state")}
    assert "not paused" in run("resume", **state).out
    assert "resume" in run("pause", **state).out
    assert (tmp_path / "state/paused").exists()
    assert "already paused" in run("pause", **state).out
    assert "resumed" in run("resume", **state).out
    assert not (tmp_path / "state/paused").exists()
