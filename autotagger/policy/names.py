"""From a label's name to a tag's: as danbooru users read it, and so that Immich keeps it as it is.

Immich turns a slash into a hierarchy, and writes tags to an .xmp and reads them back, on which way some names
change (docs/immich.md, laws 6 and 7). A changed name is a second tag, and the asset loses the first.
"""

import html
import math
import re
from dataclasses import dataclass
from typing import Literal

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
_WORD_START = re.compile(r"(?:^|(?<=[\s_(\[{:]))\w")
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?", re.ASCII)
_LITERALS = frozenset({"true", "false", "null", "undefined"})


@dataclass(frozen=True, slots=True)
class Style:
    """How labels are written. `slash`: what stands for `/`; `spaces`: for underscores; `case`: of the letters."""

    slash: str
    spaces: bool = True
    case: Literal["keep", "lower", "upper", "title"] = "keep"


def tag_name(words: str, template: str, category: str, style: Style) -> str:
    """`template` filled in with `words` (a name already in its style) and the category.

    Only a slash that the template itself holds is one in the tag: every part between slashes is a safe name.
    """
    fill = {"{name}": words, "{category}": category}
    parts = [re.sub(r"\{(?:name|category)\}", lambda hole: fill[hole[0]], part) for part in template.split("/")]
    # A part that is not alone cannot be taken for a number, but may become the leaf that Immich shows.
    names = [verbatim(part, style.slash, limit=MAX_LENGTH // len(parts)) for part in parts]
    return "/".join(names)


def styled(label: str, style: Style) -> str:
    """A label in the letters and blanks of `style`; kaomoji as they are."""
    name = _settled(label, style.slash, MAX_LENGTH)
    if name in KAOMOJI:
        return name
    name = name.replace("_", " ") if style.spaces else name.replace(" ", "_")
    match style.case:
        case "lower":
            return name.lower()
        case "upper":
            return name.upper()
        case "title":
            return _WORD_START.sub(lambda letter: letter[0].upper(), name)
    return name


def safe_name(name: str, slash: str) -> str:
    """The tag name for the label `name`; `slash` stands for `/`. Safe names come out as they went in.

    Never empty, never longer than `MAX_LENGTH`, without blanks at its ends. A name that Immich would read as a
    number or a literal and write differently (`1.0`, `True`) is put in typographic quotes; HTML entities
    become the characters that Immich makes of them. Raises ValueError for a `slash` that is not safe itself.
    """
    check_slash(slash)
    return verbatim(styled(name, Style(slash)), slash)


def verbatim(name: str, slash: str, *, limit: int = MAX_LENGTH) -> str:
    """`name` as a person typed it, underscores and all, made as safe as `safe_name` makes it."""
    name = _settled(name, slash, limit)
    if _changes_in_xmp(name):
        name = f"“{name[: limit - 2]}”"
    return name or UNNAMED


def check_slash(slash: str) -> None:
    """Raises ValueError when `slash` would not stay what it is inside a tag name."""
    if not slash or "/" in slash or "&" in slash or _UNSAFE.search(slash):
        raise ValueError("what stands for / must not be empty nor hold /, & or control characters")


def _settled(name: str, slash: str, limit: int) -> str:
    previous = None
    while name != previous:  # taking something out may join what is left to something new
        previous = name
        name = _ENTITY.sub(lambda entity: html.unescape(entity[0]), name)
        name = _UNSAFE.sub("", _BLANK.sub(" ", name))
        name = name.replace("/", slash).strip()[:limit].strip()
    return name


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
