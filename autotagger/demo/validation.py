"""How Immich refuses a malformed request: class-validator's sentences on 2.7, zod's objects on 3.x.

The same malformed field is described twice because clients meet both, and because 2.7 converts `"2"` to a number
where 3.x refuses it.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from autotagger.demo.wire import ApiError, Dialect

UUID_PATTERN = "/^([0-9a-fA-F]{8}-[0-9a-fA-F]{4}-4[0-9a-fA-F]{3}-[89abAB][0-9a-fA-F]{3}-[0-9a-fA-F]{12})$/"
_UUID4 = re.compile(UUID_PATTERN.strip("/"))
_DATE_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)")
Path = list[str | int]


class Checker:
    """Collects what is wrong with one request; `finish` raises it all at once, as Immich does."""

    def __init__(self, dialect: Dialect) -> None:
        self._old = dialect is Dialect.V2_7
        self._problems: list[Any] = []

    @property
    def refuses_empty(self) -> bool:
        """2.7 refuses an empty tag name; 3.x skips it."""
        return self._old

    def finish(self) -> None:
        """Raises ApiError (400) when anything was wrong."""
        if self._problems:
            raise ApiError(400, "Validation failed", problems=self._problems)

    def complain(self, old_text: str, new: Mapping[str, Any]) -> None:
        """Note a problem in the form of the dialect."""
        self._problems.append(old_text if self._old else dict(new))

    def integer(self, value: Any, path: Path, least: int, most: int | None = None) -> int | None:
        """A whole number in a range; None when it is not one."""
        name = path[-1]
        number = self._converted(value) if self._old else value
        if not _is_number(number):
            self.complain(f"{name} must be an integer number", _wrong_type("number", value, path))
        elif number != int(number):
            self.complain(f"{name} must be an integer number", _wrong_type("int", value, path, format="safeint"))
        elif number < least:
            new = {"origin": "number", "code": "too_small", "minimum": least, "inclusive": True, "path": path}
            self.complain(
                f"{name} must not be less than {least}",
                new | {"message": f"Too small: expected number to be >={least}"},
            )
        elif most is not None and number > most:
            new = {"origin": "number", "code": "too_big", "maximum": most, "inclusive": True, "path": path}
            self.complain(
                f"{name} must not be greater than {most}",
                new | {"message": f"Too big: expected number to be <={most}"},
            )
        else:
            return int(number)
        return None

    def boolean(self, value: Any, path: Path) -> bool | None:
        """True or False, on 2.7 also as text; None when it is neither."""
        if self._old and value in ("true", "false"):
            return bool(value == "true")
        if not isinstance(value, bool):
            self.complain(f"{path[-1]} must be a boolean value", _wrong_type("boolean", value, path))
            return None
        return value

    def text(self, value: Any, path: Path) -> str | None:
        if not isinstance(value, str):
            self.complain(f"{path[-1]} must be a string", _wrong_type("string", value, path))
            return None
        return value

    def choice(self, value: Any, path: Path, options: Iterable[str]) -> str | None:
        """One of `options`; None when it is none of them."""
        options = list(options)
        if value in options:
            return str(value)
        new = {
            "code": "invalid_value",
            "values": options,
            "path": path,
            "message": "Invalid option: expected one of " + "|".join(f'"{option}"' for option in options),
        }
        self.complain(f"{path[-1]} must be one of the following values: {', '.join(options)}", new)
        return None

    def uuid(self, value: Any, path: Path, old_text: str | None = None) -> str | None:
        """A UUID of version 4, in lower case."""
        if isinstance(value, str) and _UUID4.fullmatch(value):
            return value.lower()
        new: dict[str, Any] = {
            "origin": "string",
            "code": "invalid_format",
            "format": "uuid",
            "pattern": UUID_PATTERN,
            "path": path,
            "message": "Invalid UUID",
        }
        if not isinstance(value, str):
            new = _wrong_type("string", value, path)
        self.complain(old_text or f"{path[-1]} must be a UUID", new)
        return None

    def uuids(self, value: Any, path: Path) -> list[str]:
        return self.each(
            value, path, lambda item, at: self.uuid(item, at, f"each value in {path[-1]} must be a UUID")
        )

    def each(self, value: Any, path: Path, check: Callable[[Any, Path], str | None]) -> list[str]:
        """A list whose items pass `check`. 2.7 has one sentence for all its items."""
        if not isinstance(value, list):
            self.complain(f"{path[-1]} must be an array", _wrong_type("array", value, path))
            return []
        before = len(self._problems)
        checked = [check(item, [*path, index]) for index, item in enumerate(value)]
        if self._old:
            self._problems[before:] = dict.fromkeys(self._problems[before:])
        return [item for item in checked if item is not None]

    def time_ms(self, value: Any, path: Path) -> int | None:
        """A point in time, in epoch milliseconds."""
        if isinstance(value, str) and _DATE_TIME.fullmatch(value):
            try:
                return math.floor(datetime.fromisoformat(value).timestamp() * 1000)
            except ValueError:
                pass
        elif self._old and isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\d", value):
            return int(datetime.fromisoformat(value).replace(tzinfo=UTC).timestamp() * 1000)
        new: dict[str, Any] = {
            "origin": "string",
            "code": "invalid_format",
            "format": "datetime",
            "path": path,
            "message": "Invalid ISO datetime",
        }
        if not isinstance(value, str):
            new = _wrong_type("string", value, path)
        self.complain(f"{path[-1]} must be a Date instance", new)
        return None

    def object(self, value: Any, path: Path, known: Iterable[str]) -> dict[str, Any]:
        """A strict object: keys beyond `known` are refused."""
        if not isinstance(value, dict):
            self.complain(f"{path[-1]} must be an object", _wrong_type("object", value, path))
            return {}
        unknown = [key for key in value if key not in set(known)]
        if unknown:
            keys = ", ".join(f'"{key}"' for key in unknown)
            text = f"Unrecognized key{'s' if len(unknown) > 1 else ''}: {keys}"
            self.complain(text, {"code": "unrecognized_keys", "keys": unknown, "path": path, "message": text})
        return value

    def custom(self, message: str, path: Path) -> None:
        self.complain(message, {"code": "custom", "path": path, "message": message})

    @staticmethod
    def _converted(value: Any) -> Any:
        """2.7's implicit conversion of query-like strings."""
        if isinstance(value, str):
            try:
                return float(value)
            except ValueError:
                return value
        return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _wrong_type(expected: str, value: Any, path: Path, **more: str) -> dict[str, Any]:
    message = f"Invalid input: expected {expected}, received {_type_name(value)}"
    return {"expected": expected, **more, "code": "invalid_type", "path": path, "message": message}


MISSING = object()
"""Stands for a field that is not there, which JavaScript calls undefined."""


def _type_name(value: Any) -> str:
    if value is MISSING:
        return "undefined"
    if value is None:
        return "null"
    names: dict[type, str] = {bool: "boolean", str: "string", int: "number", float: "number", list: "array"}
    return names.get(type(value), "object")
