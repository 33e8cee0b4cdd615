"""API keys and passwords in settings where they do not belong: refused before anything of theirs is shown."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from autotagger.errors import BadConfig
from autotagger.keylike import HIDDEN, holds_key, without_keys
from autotagger.mistakes import spell
from autotagger.settings import AccountSettings, ImmichSettings, Settings, leaves

#: What is shorter is no key, and may be part of any word.
_SHORTEST_KEY = 8


def refuse_misplaced(settings: Settings) -> None:
    """Raise BadConfig for a password or an API key where it would come to light: in messages, in the ledger, as a
    tag in Immich. What is wrong is named and not repeated."""
    if "@" in settings.immich.base_url:
        raise BadConfig("base_url must hold no user and password; Immich takes the API key only")
    tree = settings.model_dump(mode="json")
    sections: list[ImmichSettings | AccountSettings] = [settings.immich, *settings.account]
    keys = [section.api_key for section in sections if section.api_key]
    secrets = [key.get_secret_value() for key in keys]
    places = [(spell(path), _at(tree, path)) for path in leaves() if path != ("immich", "api_key")]
    for account in tree["account"]:
        places += [(f"[[account]] {name}", account[name]) for name in ("name", "api_key_file")]
    for place, value in places:
        if any(holds_key(text) or _holds_any(secrets, text) for text in _texts(value)):
            raise BadConfig(
                f"{place} holds an API key, or what looks like one: that belongs into a file of its own "
                "(api_key_file in [immich]) or into IMMICH_API_KEY"
            )


def given_keys(merged: Mapping[str, Any]) -> list[str]:
    """The API keys in settings that are not checked yet."""
    accounts = merged.get("account")
    sections = [merged.get("immich"), *(accounts if isinstance(accounts, list) else ())]
    keys = [section.get("api_key") for section in sections if isinstance(section, Mapping)]
    return [key for key in keys if isinstance(key, str) and len(key) >= _SHORTEST_KEY]


def without(secrets: Iterable[str], text: str) -> str:
    """`text` without these secrets, and without what looks like a key."""
    for secret in secrets:
        text = text.replace(secret, HIDDEN)
    return without_keys(text)


def _holds_any(secrets: Iterable[str], text: str) -> bool:
    return any(len(secret) >= _SHORTEST_KEY and secret in text for secret in secrets)


def _at(tree: Any, path: tuple[str, ...]) -> Any:
    for step in path:
        tree = tree[step]
    return tree


def _texts(value: Any) -> Iterator[str]:
    """Every text in a setting's value: names of a table, too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield name
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)
