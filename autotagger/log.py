"""Logging: one line an event on stderr, `time level message`; stdout belongs to results.

With `log_format = "json"` a line is an object with `time` (ISO 8601, UTC), `level`, `process` (main, or the child
that speaks), `event` and `message`. The event is `log`, `failed` for the last line of a command that failed, or
`summary` or `ended`, which have their `figures` too. Where stderr is the journal, a line begins with its priority
instead of time and level, which the journal keeps itself. A place that logs again and again is cut short:
repetition.py.

Whatever a message holds - a file name, a tag, a server's answer, an exception - it comes out as one line without
control characters (a file name can hold a terminal escape) and without the API key.
"""

import sys
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

from loguru import logger

from autotagger.lines import PRIORITIES, Form, document, is_journal, printable, redact, set_form, wants_tracebacks
from autotagger.repetition import Repetition

if TYPE_CHECKING:
    from loguru import Message, Record

#: Number of loguru's level DEBUG.
_DEBUG = 10


def setup_logging(level: str, form: Form = "text", *, stream: TextIO | None = None) -> None:
    """Log to `stream` (default: stderr as it is now) from `level` up, replacing every earlier set-up."""
    set_form(form)
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
    stats = {"figures": extra["figures"]} if "figures" in extra else {}
    process, event = extra.get("process", "main"), extra.get("event", "log")
    extra["text"] = document(record["level"].name, process, event, _text(record), **stats)
    return "{extra[text]}\n"


def _with_priority(line: Callable[["Record"], str]) -> Callable[["Record"], str]:
    """Every line of what `line` makes begins with its syslog priority: sd-daemon(3)."""

    def prioritised(record: "Record") -> str:
        template = line(record)
        priority = f"<{PRIORITIES.get(record['level'].name, 6)}>"
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
