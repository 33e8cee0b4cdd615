"""Log lines: one line an event, nothing that a terminal acts on, never the key."""

import io
import re
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loguru import logger
from pydantic import SecretStr

from autotagger import log
from autotagger.config import DEBUG_VARIABLE
from autotagger.log import forward_logs, hide_secret, printable, redact, setup_logging

KEY = "s3cret-key-of-the-tests"


@pytest.fixture(autouse=True)
def _log_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(log, "_secrets", set())
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
