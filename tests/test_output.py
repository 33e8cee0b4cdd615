"""Listings: one line a row where a program reads, whatever is in them."""

import pytest

from autotagger.cli.output import Format, Row, print_rows


def test_into_a_pipe_every_row_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    rows: list[Row] = [{"file": "a" * 90, "tags": "x " * 60}, {"file": "b\n\x1b[31m" * 9, "tags": None}]
    print_rows(["file", "tags"], rows, Format.TABLE)
    _, _, first, second = capsys.readouterr().out.splitlines()
    assert "a" * 90 in first
    assert r"b\n\x1b[31m" * 9 in second

    monkeypatch.setenv("COLUMNS", "60")
    print_rows(["file", "tags"], rows, Format.TABLE)
    assert all(len(line) <= 60 for line in capsys.readouterr().out.splitlines())
