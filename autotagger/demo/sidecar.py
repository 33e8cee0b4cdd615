"""What a tag's name looks like after its way through the .xmp file (law 7).

Exiftool prints values that look like numbers and booleans as such, Immich makes strings of them again as
JavaScript does, and XML entities are resolved.
"""

import re
from decimal import Decimal

_NUMBER = re.compile(r"-?(\d|[1-9]\d{1,14})(\.\d{1,16})?(e[-+]?\d{1,3})?", re.IGNORECASE | re.ASCII)
"""What exiftool writes without quotes into its JSON: `1.10` and `1e5`, but neither `007` nor `2023 1`."""
_ENTITY = re.compile(r"&(amp|lt|gt|quot|apos|#\d{1,7}|#x[0-9a-f]{1,6});", re.IGNORECASE)
_NAMED = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'"}
_LAST_CODE_POINT = 0x10FFFF


def after_round_trip(value: str) -> str:
    """The name that Immich reads back from the .xmp for a tag it wrote as `value`."""
    text = _ENTITY.sub(_resolved, value)
    if text.lower() in ("true", "false"):
        return text.lower()
    if text == "null":
        return "undefined"
    return _number_text(text) if _NUMBER.fullmatch(text) else text


def _resolved(match: re.Match[str]) -> str:
    name = match[1].lower()
    if name in _NAMED:
        return _NAMED[name]
    code = int(name[2:], 16) if name.startswith("#x") else int(name[1:])
    return chr(code) if 0 < code <= _LAST_CODE_POINT else match[0]


def _number_text(text: str) -> str:
    """JavaScript's String(Number(text)): shortest digits, an exponent from 1e21 up and below 1e-6."""
    number = float(text)
    if number in (0.0, float("inf"), float("-inf")):
        return {0.0: "0", float("inf"): "Infinity", float("-inf"): "-Infinity"}[number]
    exact = Decimal(repr(number)).normalize()
    exponent = exact.adjusted()
    if -7 < exponent < 21:
        return f"{exact:f}"
    sign, digits, _ = exact.as_tuple()
    mantissa = "".join(map(str, digits))
    mantissa = mantissa[0] + ("." + mantissa[1:] if len(mantissa) > 1 else "")
    return f"{'-' if sign else ''}{mantissa}e{exponent:+d}"
