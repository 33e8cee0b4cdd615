"""The tags of every label: its name in the chosen style, renamed, in its category's template, in two languages."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from autotagger.errors import BadConfig
from autotagger.policy.names import Style, check_slash, styled, tag_name, verbatim
from autotagger.policy.patterns import spoken
from autotagger.policy.thresholds import RATING
from autotagger.settings import PolicySettings

_TEMPLATES = {RATING: "rating:{name}"}


def name_labels(labels: Sequence[tuple[str, str]], settings: PolicySettings, marker: str) -> list[tuple[str, ...]]:
    """The tags of each label: one, or two where it has a second name that is added.

    Raises BadConfig for a slash or second names that cannot be used, and for a template below the marker.
    """
    try:
        check_slash(settings.slash)
    except ValueError as error:
        raise BadConfig(f"[policy] slash: {error}") from None
    templates = _TEMPLATES | settings.template
    for category, template in settings.template.items():
        if template.startswith(f"{marker}/"):
            # Immich finds an asset by the tags above its own: each would count as done.
            raise BadConfig(f"[policy.template] {category}: must not lie below the marker {marker}")
    style = Style(settings.slash, settings.spaces, settings.case)
    second = read_second_names(settings.second_names) if settings.second_names else {}
    replace = settings.second_names_mode == "replace"
    named = []
    for name, category in labels:
        own, template = spoken(name, category), templates.get(category, "{name}")
        renamed = settings.rename.get(own)
        words = styled(name, style) if renamed is None else verbatim(renamed, settings.slash)
        other = second.get(own)
        words_of = [words] if other is None else [other] if replace else [words, other]
        tags = [tag_name(each, template, styled(category, style), style) for each in words_of]
        named.append(tuple(dict.fromkeys(tags)))
    return named


def read_second_names(path: Path) -> Mapping[str, str]:
    """Names in another language by label, from a CSV file of two columns (further ones are let be).

    Raises BadConfig, naming file and line, when a line has no second column or a label comes twice with
    different names.
    """
    names: dict[str, str] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            for row in reader:
                if not row or not row[0].strip():
                    continue
                where = f"[policy] second_names: {path} line {reader.line_num}"
                if len(row) < 2 or not row[1].strip():
                    raise BadConfig(f"{where}: {row[0]} has no second name")
                label, name = row[0].strip(), row[1].strip()
                if names.setdefault(label, name) != name:
                    raise BadConfig(f"{where}: {label} has two second names, {names[label]} and {name}")
    except OSError as error:
        raise BadConfig(f"[policy] second_names: cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise BadConfig(f"[policy] second_names: {path} is not UTF-8") from None
    except csv.Error as error:
        raise BadConfig(f"[policy] second_names: {path} is not CSV: {error}") from None
    return names


def colliding(
    labels: Sequence[tuple[str, str]], named: Sequence[tuple[str, ...]], allowed: Sequence[bool]
) -> dict[str, tuple[str, ...]]:
    """Labels that become one tag, by that tag; those that are never applied do not count."""
    by_tag: dict[str, list[str]] = {}
    for (label, _), tags, applies in zip(labels, named, allowed, strict=True):
        for tag in tags if applies else ():
            by_tag.setdefault(tag, []).append(label)
    return {tag: tuple(group) for tag, group in by_tag.items() if len(group) > 1}
