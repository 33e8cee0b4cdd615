"""The manual names every command, and what it quotes is really there."""

import re
import tomllib
from pathlib import Path

import pytest

from autotagger import __version__
from tests import manual

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SOURCES = "".join(
    # a message may go over two lines of source
    re.sub(r'"\s*\n\s*f?"', "", path.read_text(encoding="utf-8"))
    for path in (ROOT / "autotagger").rglob("*.py")
)


def test_every_command_and_option_is_documented_as_it_is() -> None:
    """Where this fails, a command has changed: `scripts/commands` writes the page anew."""
    assert (ROOT / "docs/commands.md").read_text(encoding="utf-8").rstrip() == manual.page().rstrip()


def test_the_page_of_commands_knows_every_word_of_the_help() -> None:
    words = [words for words, _ in manual.commands()]
    assert {"demo", "run", "doctor", "models pull", "policy stats"} <= set(words)
    page = manual.page()
    for name, command in manual.commands():
        section = page.split(f"\n## {name}\n")[1].split("\n## ")[0]
        for param in command.params:
            if param.param_type_name == "option" and param.name != "help":
                assert all(f"`{option}" in section for option in param.opts), (name, param.name)
                assert param.help, (name, param.name)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_link_within_the_manual_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        there = (page.parent / file) if file else page
        assert there.exists(), (page.name, target)
        if anchor:
            headings = re.findall(r"^#+ (.+)$", there.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {_anchor(heading) for heading in headings}, (page.name, target)


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_command_that_the_manual_calls_exists(page: Path) -> None:
    known = {words for words, _ in manual.commands()} | {words.split()[0] for words, _ in manual.commands()}
    text = page.read_text(encoding="utf-8")
    for called in re.findall(r"(?:`|\$ (?:[.\w/]*/)?|exec autotagger )autotagger ((?!-)[a-z]+(?: [a-z]+)?)", text):
        assert called in known or called.split()[0] in known, (page.name, called)


def test_the_messages_of_the_troubleshooting_are_those_of_the_program() -> None:
    rows = re.findall(r"^\| (`.+?) \| ", (ROOT / "docs/troubleshooting.md").read_text(), re.MULTILINE)
    quoted = [quote for row in rows for quote in re.findall(r"`([^`]+)`", row)]
    assert len(quoted) > 30
    missing = [
        quote
        for quote in quoted
        if quote not in SOURCES and quote.removeprefix("failed: ") not in SOURCES and quote != "waiting"
    ]
    assert missing == []


def test_the_image_says_the_version_that_the_package_has() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"ARG VERSION={project['version']}\n" in dockerfile
    assert project["version"] == __version__
