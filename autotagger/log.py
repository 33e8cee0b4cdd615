"""Logging: one line an event on stderr, `time level message`; stdout belongs to results.

With `log_format = "json"` a line is an object with `time` (ISO 8601, UTC), `level`, `process` (main, or the child
that speaks), `event` and `message`. The event is `log`, `failed` for the last line of a command that failed, or
`summary` or `ended`, which have their `figures` too. Where stderr is the journal, a line begins with its priority
instead of time and level, which the journal keeps itself. A place that logs again and again is cut short:
repetition.py.

Whatever a message holds - a file name, a tag, a server's answer, an exception - it comes out as one line without
control characters (a file name can hold a terminal escape) and without the API key.
"""

import os
import re
import sys
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal, TextIO

import orjson
from loguru import logger
from pydantic import SecretStr

from autotagger.config import DEBUG_VARIABLE
from autotagger.repetition import Repetition

if TYPE_CHECKING:
    from loguru import Message, Record

#: C0, DEL and C1 controls; marks that turn the reading direction; line separators; halves of a surrogate pair
#: (undecodable bytes of a file name), which no stream can encode.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_secrets: set[str] = set()
#: Number of loguru's level DEBUG.
_DEBUG = 10
_PRIORITIES = {"CRITICAL": 2, "ERROR": 3, "WARNING": 4, "SUCCESS": 5, "INFO": 6, "DEBUG": 7, "TRACE": 7}

Form = Literal["text", "json"]
_form: Form = "text"


def hide_secret(secret: SecretStr) -> None:
    """From now on `secret` comes out as *** in every log line and error of this process."""
    if value := secret.get_secret_value():
        _secrets.add(value)


def redact(text: str) -> str:
    """`text` without the secrets told to `hide_secret`."""
    for secret in _secrets:
        text = text.replace(secret, "***")
    return text


def printable(text: str) -> str:
    """`text` on one line, with control characters as visible escapes (`\\x1b`), safe on any terminal."""
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def wants_tracebacks() -> bool:
    """Whether whoever started us asked for tracebacks (AUTOTAGGER_DEBUG=1)."""
    return os.environ.get(DEBUG_VARIABLE) == "1"


def setup_logging(level: str, form: Form = "text", *, stream: TextIO | None = None) -> None:
    """Log to `stream` (default: stderr as it is now) from `level` up, replacing every earlier set-up."""
    global _form
    _form = form
    stream = stream or sys.stderr
    line: Callable[[Record], str] = _json_line if form == "json" else _line
    if is_journal(stream):
        line = _with_priority(line if form == "json" else _bare_line)
    logger.remove()
    logger.add(
        stream,
        level=level,
        format=line,
        filter=_rarely(Repetition()),
        colorize=False,
        backtrace=False,
        diagnose=False,
    )


def last_words(message: str) -> str:
    """The line with which a command that failed ends, in the form of the log lines before it."""
    message = printable(redact(message))
    line = _document("ERROR", "main", "failed", message) if _form == "json" else f"autotagger: {message}"
    return f"<{_PRIORITIES['ERROR']}>{line}" if is_journal(sys.stderr) else line


def is_journal(stream: TextIO) -> bool:
    """Whether `stream` leads to systemd's journal, which says so in $JOURNAL_STREAM (systemd.exec(5))."""
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def forward_logs(send: Callable[[str, str], None], level: str) -> None:
    """In a child process: give every record from `level` up to `send(level, message)` instead of a stream."""

    def forward(message: "Message") -> None:
        for line in message.record["extra"]["text"].split("\n"):
            send(message.record["level"].name, line)

    logger.remove()
    # catch=False: when the parent is gone, what `send` raises ends the child instead of filling its stderr
    logger.add(
        forward,
        level=level,
        format=_line,
        filter=_rarely(Repetition()),
        backtrace=False,
        diagnose=False,
        catch=False,
    )


def log_for(process: str, level: str, text: str) -> None:
    """Log what the child `process` has forwarded. It has counted its repetitions itself."""
    logger.bind(process=process, counted=True).log(level, "{}", text)


def _rarely(repetition: Repetition) -> Callable[["Record"], bool]:
    """Loguru's filter: leaves out what repetition.py leaves out, and hands its note on in `extra`."""

    def admitted(record: "Record") -> bool:
        if record["extra"].get("counted") or record["level"].no <= _DEBUG:
            return True  # who asked for everything gets everything
        place = (record["name"], record["line"], record["level"].name)
        note = repetition.admit(place, record["elapsed"].total_seconds())
        record["extra"]["note"] = note
        return note is not None

    return admitted


def _line(record: "Record") -> str:
    """Loguru's formatter: it asks for a template, so the finished text travels in `extra`."""
    record["extra"]["text"] = _text(record)
    return "{time:YYYY-MM-DD HH:mm:ss.SSS} {level: <7} {extra[text]}\n"


def _bare_line(record: "Record") -> str:
    record["extra"]["text"] = _text(record)
    return "{extra[text]}\n"


def _json_line(record: "Record") -> str:
    extra = record["extra"]
    figures = {"figures": extra["figures"]} if "figures" in extra else {}
    process, event = extra.get("process", "main"), extra.get("event", "log")
    extra["text"] = _document(record["level"].name, process, event, _text(record), **figures)
    return "{extra[text]}\n"


def _document(level: str, process: str, event: str, message: str, **more: object) -> str:
    fields = {"level": level, "process": process, "event": event, "message": message}
    time = datetime.now(UTC).isoformat(timespec="milliseconds")
    return orjson.dumps({"time": time, **fields, **more}).decode()


def _with_priority(line: Callable[["Record"], str]) -> Callable[["Record"], str]:
    """Every line of what `line` makes begins with its syslog priority: sd-daemon(3)."""

    def prioritised(record: "Record") -> str:
        template = line(record)
        priority = f"<{_PRIORITIES.get(record['level'].name, 6)}>"
        record["extra"]["text"] = priority + record["extra"]["text"].replace("\n", f"\n{priority}")
        return template

    return prioritised


def _text(record: "Record") -> str:
    text = record["message"] + (record["extra"].get("note") or "")
    caught = record["exception"]
    if caught is None or caught.value is None:
        return printable(redact(text))
    text = printable(redact(f"{text}: {type(caught.value).__name__}: {caught.value}"))
    if wants_tracebacks():
        trace = redact("".join(traceback.format_exception(caught.value))).rstrip().splitlines()
        text = "\n".join((text, *(f"    {printable(line)}" for line in trace)))
    return text
