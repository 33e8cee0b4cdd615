"""Changing single keys of a person's config.toml, comments and everything else left as they stand."""

import json
import re
from pathlib import Path

from autotagger.errors import BadConfig


def set_key(config: Path, section: str, key: str, value: int | str) -> None:
    """Set `[section] key`; the file is made where there is none. Raises BadConfig."""
    try:
        text = config.read_text(encoding="utf-8-sig") if config.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise BadConfig(f"cannot read the configuration {config}: {error}") from None
    try:
        config.parent.mkdir(parents=True, exist_ok=True)
        config.write_text(
            _with(text, section, f"{key} = ", json.dumps(value, ensure_ascii=False)), encoding="utf-8"
        )
    except OSError as error:
        raise BadConfig(f"cannot write the configuration {config}: {error.strerror}") from None


def _with(text: str, section: str, begin: str, value: str) -> str:
    """In the key's own line if there is one, else below the section's head, else at the end."""
    line = f"{begin}{value}\n"
    head = re.search(rf"^\[{section}\][^\n]*(\n|\Z)", text, re.MULTILINE)
    if head is None:
        gap = "" if not text or text.endswith("\n\n") else "\n" if text.endswith("\n") else "\n\n"
        return f"{text}{gap}[{section}]\n{line}"
    following = re.search(r"^\[", text[head.end() :], re.MULTILINE)
    end = head.end() + following.start() if following else len(text)
    own = re.compile(rf"^{begin.split()[0]}[ \t]*=[^\n]*(\n|\Z)", re.MULTILINE)
    body, count = own.subn(lambda _: line, text[head.end() : end], count=1)
    start = text[: head.end()] if head[0].endswith("\n") else f"{text[: head.end()]}\n"
    return start + (body if count else line + body) + text[end:]
