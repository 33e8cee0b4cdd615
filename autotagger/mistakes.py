"""What is said of a wrong setting: the key, what is wrong with it, and the right key nearest to a misspelt one."""

import difflib
import re
from collections.abc import Iterable
from pathlib import Path

from pydantic import ValidationError

from autotagger.settings import AccountSettings, Settings, leaves


def explain(error: ValidationError, path: Path | None) -> str:
    """What is wrong, every mistake at once, in one line. `path`: the configuration file, where one was read."""
    lines = []
    for problem in error.errors(include_url=False):
        where = tuple(step for step in problem["loc"] if isinstance(step, str))
        if problem["type"] == "extra_forbidden":
            lines.append(f"unknown key {spell(where)}{_nearest_key(where)}")
            continue
        hint = ""
        if problem["type"] == "literal_error":
            hint = nearest(str(problem["input"]), re.findall("'([^']+)'", problem["ctx"]["expected"]))
        said = problem["msg"].removeprefix("Value error, ") + hint
        lines.append(f"{spell(where)}: {said}" if where else said)  # what two sections say is no key's
    source = f" (from {path}, the environment or the command line)" if path else ""
    return "; ".join(lines) + source


def spell(path: tuple[str, ...]) -> str:
    """A key as messages write it: `("immich", "pace")` is `[immich] pace`."""
    return f"[{'.'.join(path[:-1])}] {path[-1]}" if len(path) > 1 else path[-1]


def _nearest_key(unknown: tuple[str, ...]) -> str:
    """The right key for a misspelt or misplaced one: in its own section if there is one, else anywhere."""
    sections = [name for name in Settings.model_fields if (name,) not in set(leaves())]
    own = {path[-1]: path for path in leaves() if path[:-1] == unknown[:-1]}
    if unknown[:-1] == ("account",):
        own = {name: ("account", name) for name in AccountSettings.model_fields}
    anywhere = {path[-1]: path for path in leaves()} | {name: (name,) for name in sections}
    typed = unknown[-1].lower()
    for spelt in (own, anywhere):
        close = difflib.get_close_matches(typed, spelt, n=3, cutoff=0.6)
        # The same letters in another order are a slip of two fingers, whatever else is similar.
        for name in sorted(close, key=lambda name: sorted(name) != sorted(typed)):
            return f": did you mean {spell(spelt[name])}?"
    return ""


def nearest(name: str, candidates: Iterable[str]) -> str:
    """`: did you mean X?` where one of the candidates is close, else nothing."""
    close = difflib.get_close_matches(name, list(candidates), n=1, cutoff=0.5)
    return f": did you mean {close[0]}?" if close else ""
