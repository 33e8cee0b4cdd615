"""Results on stdout: tables for people, JSON and CSV for programs."""

import csv
import io
import os
import sys
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any

import orjson
import typer

from autotagger.lines import printable

Row = Mapping[str, object]


class Format(StrEnum):
    """How a listing is printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


#: Columns that no table of ours needs.
UNWRAPPED = 100_000

FormatOption = Annotated[Format, typer.Option("--format", help="Output format.")]


def encodable(text: str | os.PathLike[str]) -> str:
    """A file name as text that every encoding of stdout takes: bytes that are no UTF-8 become `\\xff`."""
    return os.fsencode(text).decode("utf-8", "backslashreplace")


def print_json(value: Any) -> None:
    """Print one JSON document, UTF-8, indented."""
    sys.stdout.buffer.write(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    sys.stdout.buffer.flush()


def print_rows(columns: Sequence[str], rows: Sequence[Row], form: Format) -> None:
    """Print `rows` as a listing: the JSON list of them, CSV with a header line, or a table."""
    if form is Format.JSON:
        print_json([{column: row[column] for column in columns} for row in rows])
    elif form is Format.CSV:
        _print_csv(columns, rows)
    else:
        _print_table(columns, rows)


def _print_csv(columns: Sequence[str], rows: Sequence[Row]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    sys.stdout.buffer.write(text.getvalue().encode("utf-8", "backslashreplace"))
    sys.stdout.buffer.flush()


def _print_table(columns: Sequence[str], rows: Sequence[Row]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(row[column])) for column in columns))
    # Into a pipe or a file every row is one line, for grep; a terminal wraps at its width.
    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else UNWRAPPED
    Console(markup=False, highlight=False, width=width).print(table)


def _cell(value: object) -> str:
    return "" if value is None else printable(str(value))
