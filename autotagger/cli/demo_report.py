"""The demo's outcome for a person: what was tagged, what was not and why, and whether it is really there."""

from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from autotagger.cli.progress import summary_table
from autotagger.lines import printable

if TYPE_CHECKING:
    from autotagger.demo.rehearsal import Outcome


def demo_report(outcome: "Outcome") -> RenderableType:
    """Tables, and whether everything is there."""
    return Group(_examples(outcome), _problems(outcome), summary_table(outcome.first), _conclusion(outcome))


def _examples(outcome: "Outcome") -> Table:
    table = Table("picture", "tags in Immich", title="examples of what you can search for now")
    for name, tags in outcome.examples:
        table.add_row(Text(printable(name)), Text(", ".join(map(printable, tags)) or "(the marker alone)"))
    return table


def _problems(outcome: "Outcome") -> Table:
    table = Table("file", "state", "reason", title="not tagged, with the reasons")
    for row in outcome.problems:
        table.add_row(Text(printable(row.file_name)), Text(str(row.state)), Text(printable(row.message or "")))
    return table


def _conclusion(outcome: "Outcome") -> Panel:
    again = outcome.again.counts
    lines = [
        f"{outcome.links_present} of {outcome.links_expected} links are in Immich, read back after it settled",
        f"a second run downloaded {again.get('preview_downloads', 0)} previews "
        f"and made {again.get('tag_calls', 0)} tag calls",
    ]
    if outcome.complete:
        return Panel("\n".join(["every good picture is tagged and marked exactly once", *lines]), style="green")
    return Panel("\n".join(["NOT COMPLETE", *lines]), style="red")
