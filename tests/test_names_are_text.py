"""Names from outside - of accounts, tags and files - are printed as text, whatever they look like to a markup."""

import asyncio
import io
import json
import os
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from rich.console import Console

from autotagger.cli.demo_report import demo_report
from autotagger.cli.progress import counted, shown_progress, summary_table
from autotagger.demo import Library, StandIn, tiny_library
from autotagger.demo.library import PARTNER
from autotagger.demo.rehearsal import Outcome
from autotagger.demo.world import ALL
from autotagger.ledger.rows import Problem
from autotagger.ledger.states import State
from autotagger.pipeline.supervisor.summary import Summary
from tests import forked

#: An end of nothing (a MarkupError of Rich's), a style that vanishes, a bracket that is left open, a highlight.
NAMES = ("[/b]", "[red]x", "[", "[link=http://x]y")
CLOSING, STYLE = NAMES[:2]
FILES = tuple(f"{name}.png".replace("/", "∕") for name in NAMES)  # noqa: RUF001
EACH = 4


def library() -> Library:
    """Two users' pictures, with these names."""
    drawn = tiny_library(2 * EACH).assets
    named = [replace(spec, file_name=NAMES[number % EACH] + ".jpg") for number, spec in enumerate(drawn)]
    return Library((*named[:EACH], *(replace(spec, owner_id=PARTNER) for spec in named[EACH:])), 1)


def write_config(path: Path, server: StandIn, other_key: str, template: str) -> None:
    categories = ("general", "rating", "character")
    path.write_text(
        "\n".join(
            [
                f"state_dir = {json.dumps(str(path.parent / 'state'))}",
                f"[immich]\nbase_url = {json.dumps(server.url)}",
                "[model]\nname = 'palette'\ndevice = 'CPU'",
                "[policy.template]",
                *(f"{category} = {json.dumps(template)}" for category in categories),
                f"[[account]]\nname = {json.dumps(CLOSING)}\napi_key = {json.dumps(server.api_key)}",
                f"[[account]]\nname = {json.dumps(STYLE)}\napi_key = {json.dumps(other_key)}",
            ]
        )
    )
    path.chmod(0o600)


async def test_every_command_prints_names_as_they_are(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    (tmp_path / "pictures").mkdir()
    for file in FILES:
        Image.new("RGB", (64, 64), "blue").save(tmp_path / "pictures" / file)
    async with StandIn(library()) as server:
        other_key = server.add_key([ALL], PARTNER)

        async def printed(*words: str | Path, code: int = 0) -> str:
            environ = {"HOME": str(tmp_path), "COLUMNS": "2000"}
            done = await asyncio.to_thread(forked.command, "--config", config, *words, environ=environ)
            assert done.code == code, (words, done.out, done.err)
            return done.out

        write_config(config, server, other_key, "[/b]{name}")
        assert f"{CLOSING}: {State.VERIFIED}" in (out := await printed("run", "--once"))
        assert f"{STYLE}: {State.VERIFIED}" in out
        await server.settle()

        assert f"{CLOSING}: {State.VERIFIED}" in await printed("status")
        await printed("status", "--problems")
        listing = await printed("ledger", "list")
        assert all(f"{name}.jpg" in listing for name in NAMES)
        assert f"{STYLE}.jpg" in await printed("ledger", "list", "--account", CLOSING)
        asset = server.library.assets[0].id
        shown = await printed("ledger", "show", asset)
        assert f"{CLOSING}.jpg" in shown
        assert re.search(r"^ *\[/b\]\w", shown, re.MULTILINE)
        assert CLOSING in await printed("ledger", "export")
        assert "tags: [/b]" in await printed("policy", "test", asset)
        assert "[/b]" in await printed("policy", "stats")
        assert f"accepted: {CLOSING}, {STYLE}" in await printed("doctor", "--quick")
        await printed("verify", "--account", STYLE)

        write_config(config, server, other_key, "[red]{name}")
        planned = await printed("plan")
        assert "[red]" in planned
        assert "[/b]" in planned
        assert f"{STYLE}: {State.VERIFIED}" in await printed("retag")
        await printed("retry", code=1)  # nothing has failed
        assert "[red]" in await printed("tag", tmp_path / "pictures" / FILES[2])
        everything = await printed("tag", tmp_path / "pictures")
        assert all(file in everything for file in FILES)
        assert "[red]" in await printed("policy", "test", tmp_path / "pictures" / FILES[0])
        asking = await printed("undo", "--tag", "[/b]", "--account", CLOSING, "--yes")
        assert "the ledger" in asking
        assert f"{CLOSING}: " in await printed("undo", "--all", "--yes")

        server.revoke_key(other_key)
        assert f"{STYLE}: key refused" in await printed("run", "--once", code=4)
        assert f"the last run skipped account {STYLE}: " in await printed("status")
    with_strange_names = {**os.environ, "HOME": str(tmp_path)}
    missing = await asyncio.to_thread(
        forked.command, "--config", config, "plan", "--account", "[/b", environ=with_strange_names
    )
    assert (missing.code, missing.err) == (
        2,
        f"autotagger: no [[account]] has the name [/b: choose {CLOSING}, {STYLE}\n",
    )


def summary(**more: Any) -> Summary:
    states = dict.fromkeys(State, 1)
    counts: dict[str, Any] = {"states": states, "counts": {}, "failures": dict.fromkeys(NAMES, 1)}
    return Summary(**counts, seconds=1.0, device="CPU", unsettled=0, **more)


def rendered(what: Any) -> str:
    console = Console(file=io.StringIO(), width=300)
    console.print(what)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


def test_the_end_of_a_run_shows_accounts_as_they_are_called() -> None:
    accounts = {name: {State.VERIFIED: 3} for name in (*NAMES, "\x1b[31mred")}
    text = rendered(summary_table(summary(accounts=accounts, refused=dict.fromkeys(NAMES, "no"))))
    for name in NAMES:
        assert f"{name}: verified" in text
        assert f"{name}: key refused" in text
    assert r"\x1b[31mred: verified" in text


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_bar_shows_what_it_is_told_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setenv("TERM", "xterm")
    with shown_progress("ERROR") as report:
        report(summary())
    assert all(f"1 {name}" in terminal.getvalue() for name in NAMES)
    assert list(counted([1, 2], "[/b]", "ERROR")) == [1, 2]


def test_the_demo_shows_names_as_they_are() -> None:
    problems = [Problem("id", name, State.FAILED, "kind", name, 1, None) for name in NAMES]
    first = summary()
    text = rendered(
        demo_report(Outcome(first, first, 1, 0, problems, [(name, list(NAMES)) for name in NAMES], 1.0))
    )
    for name in NAMES:
        assert re.search(rf"{re.escape(name)} +│ +{re.escape(', '.join(NAMES))}", text)
        assert re.search(rf"{re.escape(name)} +│ failed +│ {re.escape(name)}", text)
