"""The manual names every command, and what it quotes is really there."""

import ast
import re
import tomllib
from pathlib import Path

import pytest
import yaml

from autotagger import __version__
from autotagger.config import variables
from autotagger.immich.dialect import NEEDED, OPTIONAL, SOMETIMES
from tests import forked, manual

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
OPTION = re.compile(r"`(-[-\w]+)")
SOURCES = "".join(
    # a message may go over two lines of source
    re.sub(r'"\s*\n\s*f?"', "", path.read_text(encoding="utf-8"))
    for path in (ROOT / "autotagger").rglob("*.py")
)


def sections() -> list[tuple[str, str]]:
    """Every command of docs/commands.md, by its words, and what is said of it."""
    page = (ROOT / "docs/commands.md").read_text(encoding="utf-8")
    return [(words, body) for words, _, body in (one.partition("\n") for one in page.split("\n## ")[1:])]


def test_every_command_and_every_option_is_documented() -> None:
    """Where this fails, a command is new or has changed: `scripts/commands` writes their page anew."""
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    known = list(manual.commands())
    assert {"demo", "run", "doctor", "models pull", "policy stats"} <= {words for words, _ in known}
    for words, command in known:
        assert f"autotagger {words}" in text, words
        assert command.help, words
        for option in manual.options(command):
            assert re.search(rf"(?<![\w-]){option}(?![\w-])", text), (words, option)


def test_the_page_of_commands_lists_none_that_is_gone() -> None:
    """As above."""
    page = (ROOT / "docs/commands.md").read_text(encoding="utf-8")
    known = dict(manual.commands())
    for section in page.split("\n## ")[1:]:
        words = section.partition("\n")[0]
        assert words in known
        listed = {
            option for row in re.findall(r"^\| (.+?) \| ", section, re.MULTILINE) for option in OPTION.findall(row)
        }
        assert listed <= set(manual.options(known[words])), words


def test_the_page_of_commands_has_a_row_for_every_option() -> None:
    for words, command in manual.commands():
        section = manual.page().split(f"\n## {words}\n")[1].split("\n## ")[0]
        assert set(manual.options(command)) <= set(OPTION.findall(section)), words


def test_the_page_of_commands_is_what_the_commands_say() -> None:
    """As above."""
    assert (ROOT / "docs/commands.md").read_text(encoding="utf-8") == manual.page()


@pytest.mark.parametrize(("words", "section"), sections(), ids=lambda value: value if len(value) < 30 else "")
def test_the_help_that_is_printed_says_what_the_page_of_commands_says(
    words: str, section: str, tmp_path: Path
) -> None:
    """Every sentence, every option and its meaning, with all that is in brackets."""
    printed = forked.command(*words.split(), "--help", environ={"HOME": str(tmp_path), "COLUMNS": "80"})
    assert (printed.code, printed.err) == (0, "")
    text, _, table = section.partition("| option | meaning |")
    rows = re.findall(r"^\| (`.+`) \| (.+) \|$", table, re.MULTILINE)
    assert len(rows) == table.count("\n| `")
    expected = [*text.split("\n\n")[1:]]
    for names, meaning in rows:
        expected += OPTION.findall(names)
        expected.append(re.sub(r" Default: `.*`\.$", "", meaning).replace("\\|", "|"))
    assert len(expected) > len(rows)
    assert [one for one in expected if _squeezed(one) not in _squeezed(printed.out)] == []


def test_the_help_of_all_commands_says_the_exit_codes(tmp_path: Path) -> None:
    printed = forked.command("--help", environ={"HOME": str(tmp_path), "COLUMNS": "80"})
    assert "70internalerror" in _squeezed(printed.out)


def _squeezed(text: str) -> str:
    """Without white space: the help breaks lines wherever its width ends, also behind a hyphen."""
    return re.sub(r"\s", "", text)


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


@pytest.mark.parametrize("with_gpu", [False, True])
def test_the_compose_file_asks_for_no_more_than_it_needs(with_gpu: bool) -> None:
    text = (ROOT / "compose.yaml").read_text(encoding="utf-8")
    if with_gpu:  # as a person makes it: the marks before these lines away
        text = re.sub(
            r"^( *)# ((?:args|INTEL_GPU|devices|group_add|  INTEL|  - ).*)$", r"\1\2", text, flags=re.MULTILINE
        )
    service = yaml.safe_load(text)["services"]["autotagger"]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"] == service["memswap_limit"] == "4g"
    assert service["pids_limit"] <= 512
    assert service["depends_on"] == ["immich-server"]
    assert set(variables(service["environment"])) == set(service["environment"])
    assert ("devices" in service, "group_add" in service) == (with_gpu, with_gpu)
    if with_gpu:
        assert service["build"]["args"] == {"INTEL_GPU": "yes"}
        assert service["devices"] == ["/dev/dri:/dev/dri"]


def test_the_image_says_the_version_that_the_package_has() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"ARG VERSION={project['version']}\n" in dockerfile
    assert project["version"] == __version__


def test_every_test_in_the_table_of_faults_is_there_and_no_test_of_faults_is_left_out() -> None:
    rows = re.findall(r"^\| .+ \| ([^|]+) \|$", (ROOT / "docs/faults.md").read_text(), re.MULTILINE)[1:]
    assert len(rows) > 40
    named: set[str] = set()
    for row in rows:
        folder = ""
        for name in re.findall(r"`([\w/]+\.py)`", row):
            if "/" in name:  # what follows without a folder is beside it
                folder = name.rpartition("/")[0] + "/"
            named.add(name if "/" in name or (ROOT / "tests" / name).exists() else folder + name)
        assert "`" in row or "seeds" in row, row
    assert [name for name in sorted(named) if not (ROOT / "tests" / name).exists()] == []
    harness = {f"faults/{path.name}" for path in (ROOT / "tests/faults").glob("test_*.py")}
    assert harness - named == {"faults/test_seeds.py"}, "the seeds are named without their file"


def test_the_readme_names_the_permissions_that_the_program_asks_for() -> None:
    table = (ROOT / "README.md").read_text(encoding="utf-8").split("| permission | for |")[1].split("\n\n")[0]
    cells = [row.split("|")[1] for row in table.splitlines() if "`" in row]
    named = {name for cell in cells for name in re.findall(r"`([a-zA-Z]+\.[a-z]+)`", cell)}
    assert named == {*NEEDED, *OPTIONAL, *SOMETIMES}


def test_every_law_that_the_code_cites_is_published() -> None:
    """And the code names only pages that ship."""
    page = (ROOT / "docs/immich.md").read_text(encoding="utf-8")
    laws = [int(number) for number in re.findall(r"^(\d+)\. \*\*", page, re.MULTILINE)]
    assert laws == list(range(1, len(laws) + 1))
    cited = set()
    for path in [*(ROOT / "autotagger").rglob("*.py"), *(ROOT / "tests").rglob("*.py")]:
        text = path.read_text(encoding="utf-8")
        cited |= {
            int(number)
            for group in re.findall(r"\blaws? ([\d, and]*\d)", text)
            for number in re.findall(r"\d+", group)
        }
        for name in re.findall(r"[\w/]*\b[a-z]+\.md\b", text if path.is_relative_to(ROOT / "autotagger") else ""):
            assert (ROOT / name).exists(), (path, name)
    assert {1, 2, 7, 11} <= cited <= set(laws)


@pytest.mark.parametrize(
    "package", sorted(path.parent for path in (ROOT / "autotagger").rglob("__init__.py")), ids=str
)
def test_every_package_begins_with_the_order_to_read_it_in(package: Path) -> None:
    if package.name in ("ledger", "models", "palette"):
        return
    text = ast.get_docstring(ast.parse((package / "__init__.py").read_text(encoding="utf-8"))) or ""
    _, read, order = text.partition("Read in this order:")
    assert read, package
    named = [name for name in re.findall(r"`([a-z_]+)`", order) if name not in ("run", "init")]
    modules = {path.stem for path in package.glob("*.py")} | {path.name for path in package.iterdir()}
    assert len(named) >= 2
    assert [name for name in named if name not in modules] == []
