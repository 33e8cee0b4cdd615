"""From a label's name to a tag's: as danbooru users read it, and so that Immich keeps it as it is.

Immich turns a slash into a hierarchy, and writes tags to an .xmp and reads them back, on which way some names
change (immich.md, laws 6 and 7). A changed name is a second tag, and the asset loses the first.
"""

import html
import math
import re

#: Names in which underscores draw a face: kept verbatim (the list of WD's authors).
KAOMOJI = frozenset(
    "0_0 (o)_(o) +_+ +_- ._. <o>_<o> <|>_<|> =_= >_< 3_3 6_9 >_o @_@ ^_^ o_o u_u x_x |_| ||_||".split()  # noqa: SIM905
)

#: Longer names were never seen to survive the round trip; 300 characters were.
MAX_LENGTH = 300

#: What a name becomes of which nothing is left.
UNNAMED = "unnamed"

_ENTITY = re.compile(r"&(?:#\d+|#[xX][0-9a-fA-F]+|[A-Za-z][A-Za-z0-9]*);")
_BLANK = re.compile(r"[\t-\r\x1c-\x1f\x85\u2028\u2029]")
# Control characters; direction marks, which make a name look like another; half characters and non-characters.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff\ufffe\uffff\ud800-\udfff]"
)
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?", re.ASCII)
_LITERALS = frozenset({"true", "false", "null", "undefined"})


def safe_name(name: str, slash: str) -> str:
    """The tag name for the label `name`; `slash` stands for `/`. Safe names come out as they went in.

    Never empty, never longer than `MAX_LENGTH`, without blanks at its ends. A name that Immich would read as a
    number or a literal and write differently (`1.0`, `True`) is put in typographic quotes; HTML entities
    become the characters that Immich makes of them. Raises ValueError for a `slash` that is not safe itself.
    """
    check_slash(slash)
    previous = None
    while name != previous:  # taking something out may join what is left to something new
        previous, name = name, _clean(name, slash)
    if _changes_in_xmp(name):
        name = f"“{name[: MAX_LENGTH - 2]}”"
    return name or UNNAMED


def check_slash(slash: str) -> None:
    """Raises ValueError when `slash` would not stay what it is inside a tag name."""
    if not slash or "/" in slash or "&" in slash or _UNSAFE.search(slash):
        raise ValueError("what stands for / must not be empty nor hold /, & or control characters")


def _clean(name: str, slash: str) -> str:
    name = _ENTITY.sub(lambda entity: html.unescape(entity[0]), name)
    name = _UNSAFE.sub("", _BLANK.sub(" ", name))
    name = name.replace("/", slash).strip()[:MAX_LENGTH].strip()
    return name if name in KAOMOJI else name.replace("_", " ").strip()


def _changes_in_xmp(name: str) -> bool:
    """Whether Immich reads `name` as a number or literal that it then writes in another way.

    `2023`, `007` and `00` stay: a number as JavaScript prints it, or none by JSON's grammar. With an exponent
    a number always counts as changing: which ones stay is not worth telling apart.
    """
    if name.lower() in _LITERALS:
        return True
    if not _NUMBER.fullmatch(name):
        return False
    value = float(name)
    if not math.isfinite(value) or "e" in name.lower():
        return True
    return name != (str(int(value)) if value == int(value) else repr(value))
