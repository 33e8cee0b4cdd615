"""What a line for people's eyes may hold, logged or not: no control characters and no secrets.

Commands that log nothing load this and not the logger.
"""

import os
import re
import sys
from datetime import UTC, datetime
from typing import Literal, TextIO

import orjson
from pydantic import SecretStr

from autotagger.config import DEBUG_VARIABLE
from autotagger.keylike import HIDDEN, without_keys

#: C0, DEL and C1 controls; marks that turn the reading direction; line separators; halves of a surrogate pair
#: (undecodable bytes of a file name), which no stream can encode.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_secrets: set[str] = set()
#: What the journal calls loguru's levels: sd-daemon(3).
PRIORITIES = {"CRITICAL": 2, "ERROR": 3, "WARNING": 4, "SUCCESS": 5, "INFO": 6, "DEBUG": 7, "TRACE": 7}

Form = Literal["text", "json"]
_form: Form = "text"


def hide_secret(secret: SecretStr) -> None:
    """From now on `secret` comes out as *** in every log line and error of this process."""
    if value := secret.get_secret_value():
        _secrets.add(value)


def redact(text: str) -> str:
    """`text` without the secrets told to `hide_secret`, and without what looks like a key in a wrong place."""
    for secret in _secrets:
        text = text.replace(secret, HIDDEN)
    return without_keys(text)


def printable(text: str) -> str:
    """`text` on one line, with control characters as visible escapes (`\\x1b`), safe on any terminal."""
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def wants_tracebacks() -> bool:
    """Whether whoever started us asked for tracebacks (AUTOTAGGER_DEBUG=1)."""
    return os.environ.get(DEBUG_VARIABLE) == "1"


def is_journal(stream: TextIO) -> bool:
    """Whether `stream` leads to systemd's journal, which says so in $JOURNAL_STREAM (systemd.exec(5))."""
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def set_form(form: Form) -> None:
    """From now on the last line of a failure has this form."""
    global _form
    _form = form


def last_words(message: str) -> str:
    """The line with which a command that failed ends, in the form of the log lines before it."""
    message = printable(redact(message))
    line = document("ERROR", "main", "failed", message) if _form == "json" else f"autotagger: {message}"
    return f"<{PRIORITIES['ERROR']}>{line}" if is_journal(sys.stderr) else line


def document(level: str, process: str, event: str, message: str, **more: object) -> str:
    """A line of the form `json`."""
    fields = {"level": level, "process": process, "event": event, "message": message}
    time = datetime.now(UTC).isoformat(timespec="milliseconds")
    return orjson.dumps({"time": time, **fields, **more}).decode()
