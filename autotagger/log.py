"""Logging: one line an event on stderr, `time level message`; stdout belongs to results.

Whatever a message holds - a file name, a tag, a server's answer, an exception - it comes out as one line without
control characters (a file name can hold a terminal escape) and without the API key.
"""

import os
import re
import sys
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

from loguru import logger
from pydantic import SecretStr

from autotagger.config import DEBUG_VARIABLE

if TYPE_CHECKING:
    from loguru import Message, Record

#: C0, DEL and C1 controls; marks that turn the reading direction; line separators; halves of a surrogate pair
#: (undecodable bytes of a file name), which no stream can encode.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_secrets: set[str] = set()


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


def setup_logging(level: str, *, stream: TextIO | None = None) -> None:
    """Log to `stream` (default: stderr as it is now) from `level` up, replacing every earlier set-up."""
    logger.remove()
    logger.add(stream or sys.stderr, level=level, format=_line, colorize=False, backtrace=False, diagnose=False)


def forward_logs(send: Callable[[str, str], None], level: str) -> None:
    """In a child process: give every record from `level` up to `send(level, message)` instead of a stream."""

    def forward(message: "Message") -> None:
        for line in message.record["extra"]["text"].split("\n"):
            send(message.record["level"].name, line)

    logger.remove()
    # catch=False: when the parent is gone, what `send` raises ends the child instead of filling its stderr
    logger.add(forward, level=level, format=_line, backtrace=False, diagnose=False, catch=False)


def _line(record: "Record") -> str:
    """Loguru's formatter: it asks for a template, so the finished text travels in `extra`."""
    record["extra"]["text"] = _text(record)
    return "{time:YYYY-MM-DD HH:mm:ss.SSS} {level: <7} {extra[text]}\n"


def _text(record: "Record") -> str:
    text = record["message"]
    caught = record["exception"]
    if caught is None or caught.value is None:
        return printable(redact(text))
    text = printable(redact(f"{text}: {type(caught.value).__name__}: {caught.value}"))
    if wants_tracebacks():
        trace = redact("".join(traceback.format_exception(caught.value))).rstrip().splitlines()
        text = "\n".join((text, *(f"    {printable(line)}" for line in trace)))
    return text
