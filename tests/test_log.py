"""Log lines: one line an event, nothing that a terminal acts on, never the key."""

import io
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loguru import logger
from pydantic import SecretStr

from autotagger import lines
from autotagger.config import DEBUG_VARIABLE
from autotagger.lines import hide_secret, is_journal, last_words, printable, redact
from autotagger.log import forward_logs, log_for, setup_logging
from autotagger.repetition import MOST, WINDOW_S, Repetition

KEY = "s3cret-key-of-the-tests"


@pytest.fixture(autouse=True)
def _log_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(lines, "_secrets", set())
    monkeypatch.setattr(lines, "_form", "text")
    monkeypatch.delenv(DEBUG_VARIABLE, raising=False)
    yield
    logger.remove()


def test_a_line_has_time_level_and_message() -> None:
    stream = io.StringIO()
    setup_logging("INFO", stream=stream)
    logger.debug("too quiet")
    logger.info("tagged {} of {}", 3, "{4}")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} INFO    tagged 3 of \{4\}\n", stream.getvalue())


def test_set_up_twice_logs_once() -> None:
    stream = io.StringIO()
    setup_logging("INFO", stream=stream)
    setup_logging("INFO", stream=stream)
    logger.info("once")
    assert stream.getvalue().count("once") == 1


def test_an_exception_is_one_line_without_the_key() -> None:
    stream = io.StringIO()
    setup_logging("INFO", stream=stream)
    hide_secret(SecretStr(KEY))
    try:
        raise ValueError(f"header x-api-key: {KEY}\nrefused")
    except ValueError:
        logger.exception("call with {}", KEY)
    (line,) = stream.getvalue().splitlines()
    assert line.endswith(r"call with ***: ValueError: header x-api-key: ***\nrefused")


def test_a_traceback_only_where_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DEBUG_VARIABLE, "1")
    stream = io.StringIO()
    setup_logging("INFO", stream=stream)
    hide_secret(SecretStr(KEY))
    try:
        raise ValueError(f"wrong {KEY}")
    except ValueError:
        logger.exception("failed")
    assert "Traceback" in stream.getvalue()
    assert KEY not in stream.getvalue()


def test_forwarded_records_carry_level_and_clean_text() -> None:
    sent: list[tuple[str, str]] = []
    forward_logs(lambda level, text: sent.append((level, text)), "INFO")
    hide_secret(SecretStr(KEY))
    logger.debug("too quiet")
    logger.warning("key {} of \x1b[31m{}", KEY, "{x}")
    assert sent == [("WARNING", r"key *** of \x1b[31m{x}")]


def test_what_the_sink_raises_reaches_the_caller() -> None:
    def gone(level: str, text: str) -> None:
        raise ConnectionResetError

    forward_logs(gone, "INFO")
    with pytest.raises(ConnectionResetError):
        logger.info("to nobody")


def test_an_empty_secret_hides_nothing() -> None:
    hide_secret(SecretStr(""))
    assert redact("as it is") == "as it is"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("two\r\nlines", r"two\r\nlines"),
        ("\x9b31m", r"\x9b31m"),
        ("gpj.\u202eexe", r"gpj.\u202eexe"),
        ("\udcff.png", r"\udcff.png"),
        ("初音ミク ^_^ 😀 é", "初音ミク ^_^ 😀 é"),
    ],
)
def test_control_characters_become_visible(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text())
def test_every_text_fits_on_one_line_of_any_utf8_stream(text: str) -> None:
    shown = printable(text)
    assert len(shown.splitlines()) <= 1
    shown.encode("utf-8")


def test_json_lines_have_the_same_fields_whatever_they_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DEBUG_VARIABLE, "1")
    stream = io.StringIO()
    setup_logging("INFO", "json", stream=stream)
    hide_secret(SecretStr(KEY))
    logger.info("{} of {{x}}", f"key {KEY} \x1b[31m")
    log_for("writer", "WARNING", "from {a} child")
    logger.bind(event="summary", figures={"tagged": 3}).info("summed up")
    try:
        raise ValueError(KEY)
    except ValueError:
        logger.exception("failed")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(line["level"], line["process"], line["event"]) for line in lines] == [
        ("INFO", "main", "log"),
        ("WARNING", "writer", "log"),
        ("INFO", "main", "summary"),
        ("ERROR", "main", "log"),
    ]
    assert lines[0]["message"] == r"key *** \x1b[31m of {x}"
    assert lines[1]["message"] == "from {a} child"
    assert lines[2]["figures"] == {"tagged": 3}
    assert "Traceback" in lines[3]["message"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", lines[0]["time"])
    assert KEY not in stream.getvalue()


@pytest.mark.parametrize("form", ["text", "json"])
def test_the_journal_gets_priorities(form: lines.Form, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DEBUG_VARIABLE, "1")
    with (tmp_path / "journal").open("w+") as journal:
        found = os.fstat(journal.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
        setup_logging("DEBUG", form, stream=journal)
        for level in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"):
            logger.log(level, "{}", level)
        try:
            raise ValueError("wrong")
        except ValueError:
            logger.exception("failed")
        logger.remove()
        journal.seek(0)
        lines = journal.read().splitlines()
    assert [line[:3] for line in lines[:5]] == ["<7>", "<6>", "<4>", "<3>", "<2>"]
    assert {line[:3] for line in lines[5:]} == {"<3>"}  # every line of the traceback too
    if form == "text":
        assert lines[1] == "<6>INFO"
    else:
        assert json.loads(lines[1][3:])["message"] == "INFO"


def test_only_the_journal_itself_counts_as_the_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "8:1")  # inherited, but stderr was sent elsewhere
    with (tmp_path / "file").open("w") as file:
        assert not is_journal(file)
    assert not is_journal(io.StringIO())


def test_a_place_that_repeats_itself_is_cut_short_and_says_so() -> None:
    stream = io.StringIO()
    setup_logging("DEBUG", stream=stream)
    for number in range(3 * MOST):
        logger.warning("picture {}: broken", number)
        logger.debug("all of it: {}", number)
    logger.warning("another place")
    lines = stream.getvalue().splitlines()
    broken = [line for line in lines if "broken" in line]
    assert len(broken) == MOST
    assert re.search(r"picture 19: broken \(more lines like it are only counted for the next \d+ s\)$", broken[-1])
    assert "another place" in lines[-1]
    assert sum("all of it" in line for line in lines) == 3 * MOST


def test_children_count_their_repetitions_and_the_supervisor_adds_none() -> None:
    sent: list[tuple[str, str]] = []
    forward_logs(lambda level, text: sent.append((level, text)), "INFO")
    for number in range(2 * MOST):
        logger.warning("picture {}", number)
    assert len(sent) == MOST
    stream = io.StringIO()
    setup_logging("INFO", stream=stream)
    for level, text in sent * 2:
        log_for("fetcher", level, text)
    assert len(stream.getvalue().splitlines()) == 2 * MOST


def test_what_was_left_out_is_told_by_the_next_line_and_a_clock_set_back_starts_afresh() -> None:
    repetition = Repetition()
    place = ("module", 1, "INFO")
    assert [repetition.admit(place, 0.0) for _ in range(MOST - 1)] == [""] * (MOST - 1)
    assert repetition.admit(place, 20.0) == " (more lines like it are only counted for the next 40 s)"
    assert repetition.admit(place, 30.0) is None
    assert repetition.admit(place, WINDOW_S - 0.1) is None
    assert repetition.admit(("module", 2, "INFO"), 30.0) == ""
    assert repetition.admit(place, WINDOW_S) == " (and 2 more lines like it before)"
    assert repetition.admit(place, WINDOW_S + 1.0) == ""
    assert repetition.admit(place, 0.0) == ""


def test_the_last_line_of_a_failure_has_the_form_of_the_others() -> None:
    hide_secret(SecretStr(KEY))
    assert last_words(f"no {KEY}\n") == r"autotagger: no ***\n"
    setup_logging("INFO", "json", stream=io.StringIO())
    told = json.loads(last_words(f"no {KEY}"))
    assert (told["level"], told["process"], told["event"], told["message"]) == (
        "ERROR",
        "main",
        "failed",
        "no ***",
    )
