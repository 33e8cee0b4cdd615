"""Where settings come from: defaults < TOML file < environment < command-line flags.

Every key has an environment variable: `AUTOTAGGER_` and its path, `[immich] batch_size` being
`AUTOTAGGER_IMMICH_BATCH_SIZE`; lists are written with commas or as JSON (`["a", "b"]`), tables as JSON
(`{"1girl": "girl"}`), those by category also key by key (`AUTOTAGGER_POLICY_THRESHOLD_GENERAL`), and an empty
variable counts as not set (but empties a list). Those that Immich's tools know keep their names: `IMMICH_BASE_URL`
(or `IMMICH_INSTANCE_URL`, as Immich's own command line calls it), `IMMICH_API_KEY`, `IMMICH_API_KEY_FILE`;
`AUTOTAGGER_MODEL` is short for `[model] name`.
"""

import json
import os
import re
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import SecretStr, ValidationError

from autotagger.errors import BadConfig
from autotagger.misplaced import given_keys, refuse_misplaced, without
from autotagger.mistakes import explain, nearest, spell
from autotagger.settings import (
    DEFAULT_ACCOUNT_NAME,
    AccountSettings,
    ImmichSettings,
    Settings,
    home_folder,
    leaves,
    split_list,
    unquoted,
)

ENV_PREFIX = "AUTOTAGGER_"
CONFIG_VARIABLE = f"{ENV_PREFIX}CONFIG"
#: See the tracebacks: read by `log`, before there are settings.
DEBUG_VARIABLE = f"{ENV_PREFIX}DEBUG"
#: Kubernetes gives them to every pod beside a service that is called autotagger.
_NOT_OURS = re.compile(rf"{ENV_PREFIX}(SERVICE_HOST|SERVICE_PORT|PORT)(_|$)")
_CONTAINER_SECRETS = Path("/run/secrets")
#: Tables of [policy] whose keys are categories.
_BY_CATEGORY = ("threshold", "mcut", "top", "template")
#: Immich's own command line reads it; any other variable for the address goes before it.
_INSTANCE_URL = "IMMICH_INSTANCE_URL"
_ENV_NAMES = {
    _INSTANCE_URL: ("immich", "base_url"),
    "IMMICH_BASE_URL": ("immich", "base_url"),
    "IMMICH_API_KEY": ("immich", "api_key"),
    "IMMICH_API_KEY_FILE": ("immich", "api_key_file"),
    "AUTOTAGGER_MODEL": ("model", "name"),
}


@dataclass(frozen=True, slots=True)
class OldKey:
    """A key of an earlier version. `successor`: the path of the key that replaces it; None where nothing does, and
    `advice` says what to use instead."""

    successor: tuple[str, ...] | None
    advice: str = ""


#: Keys that are still accepted, in the file and as variables, with one warning each. Where a file, or the
#: environment, sets an old key and its successor, the successor counts.
OLD_KEYS: dict[tuple[str, ...], OldKey] = {
    ("immich", "most_queued"): OldKey(("immich", "max_queued")),
    ("immich", "types"): OldKey(("select", "types")),
    ("immich", "visibilities"): OldKey(("select", "visibilities")),
    ("immich", "rate"): OldKey(None, "use [immich] concurrency or pace instead"),
}


def load_settings(
    config: Path | None = None,
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """Read the settings for a command.

    `config`: the TOML file; where None, `AUTOTAGGER_CONFIG`, `$XDG_CONFIG_HOME/autotagger/config.toml` and
    `/etc/autotagger/config.toml` are tried in this order. `flags`: nested like the TOML; None values are
    not given. Raises BadConfig, naming the key, what is wrong with it, and the nearest right key for a typo.
    """
    environ = os.environ if environ is None else environ
    path = config or find_config(environ)
    merged: dict[str, Any] = {}
    for layer in (*given(config, environ), _without_none(flags or {})):
        merged = _merge(_without_other_key(merged, layer), layer)
    try:
        settings = Settings.model_validate(merged)
    except ValidationError as error:
        raise BadConfig(without(given_keys(merged), explain(error, path))) from None
    refuse_misplaced(settings)
    return settings


def api_keys(settings: Settings) -> dict[str, SecretStr]:
    """The API key of every account by its name: of the [[account]] sections, or else the one of [immich].

    Raises BadConfig when one has none, or two have the same.
    """
    if not settings.account:
        return {DEFAULT_ACCOUNT_NAME: api_key(settings.immich)}
    keys: dict[str, SecretStr] = {}
    for account in settings.account:
        if not account.api_key and not account.api_key_file:
            raise BadConfig(f"account {account.name} has no API key: set its api_key_file")
        keys[account.name] = key = api_key(account)
        if same := next((name for name in keys if name != account.name and keys[name] == key), None):
            raise BadConfig(f"accounts {same} and {account.name} have the same API key")
    return keys


def of_account(settings: Settings, name: str) -> Settings:
    """The settings for one [[account]] alone. Raises BadConfig where there is none of this name."""
    chosen = tuple(account for account in settings.account if account.name == name)
    if not chosen:
        names = ", ".join(account.name for account in settings.account)
        raise BadConfig(
            f"no [[account]] has the name {name}: choose {names}" if names else "there are no [[account]] sections"
        )
    return settings.model_copy(update={"account": chosen})


def given(config: Path | None, environ: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What file and environment set, nested like the TOML, old keys replaced; found as in load_settings."""
    path = config or find_config(environ)
    return (_renewed(_read_toml(path)) if path else {}, _renewed(_from_environment(environ)))


def variables(environ: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """The variables of the environment that set something, and the path of the key that each sets."""
    known = _variables()
    paths = {name: known.get(name) or _table_entry(name) for name, value in environ.items() if value}
    if ("immich", "base_url") in (path for name, path in paths.items() if name != _INSTANCE_URL):
        paths[_INSTANCE_URL] = None
    for name, path in list(paths.items()):
        if path in OLD_KEYS:
            successor = OLD_KEYS[path].successor
            paths[name] = None if successor in paths.values() else successor
    return {name: path for name, path in sorted(paths.items()) if path}


def _variables() -> dict[str, tuple[str, ...]]:
    return {_variable(path): path for path in (*leaves(), *OLD_KEYS)} | _ENV_NAMES


def _variable(path: tuple[str, ...]) -> str:
    return ENV_PREFIX + "_".join(path).upper()


def _renewed(tree: dict[str, Any]) -> dict[str, Any]:
    """`tree` (changed in place), each old key replaced by its successor."""
    for path, old in OLD_KEYS.items():
        section = tree.get(path[0])
        if not isinstance(section, dict) or path[-1] not in section:
            continue
        value = section.pop(path[-1])
        if old.successor and not _sets(tree, old.successor):
            _put(tree, old.successor, value)
    return tree


def _sets(tree: Mapping[str, Any], path: tuple[str, ...]) -> bool:
    section = tree.get(path[0])
    return isinstance(section, Mapping) and path[-1] in section


def api_key(settings: ImmichSettings | AccountSettings) -> SecretStr:
    """The API key: from the settings, else from its file, else systemd's credential `api-key`.

    Raises BadConfig when there is none.
    """
    if settings.api_key and settings.api_key.get_secret_value():
        return settings.api_key
    key_file = settings.api_key_file or _credential()
    if key_file is None:
        raise BadConfig(
            "no API key: set IMMICH_API_KEY, or api_key_file in [immich] "
            "(Immich: Account Settings > API Keys > New API Key)"
        )
    try:
        key = unquoted(key_file.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise BadConfig(f"cannot read the API key file {key_file}: {_reason(error)}") from None
    if not key or len(key.split()) != 1:
        raise BadConfig(f"the API key file {key_file} must contain only the key")
    return SecretStr(key)


def _credential() -> Path | None:
    """The file that systemd makes of `LoadCredential=api-key:...` for a service (systemd.exec(5))."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    path = Path(folder) / "api-key" if folder else None
    return path if path and path.is_file() else None


def cautions(
    settings: Settings, config: Path | None = None, environ: Mapping[str, str] | None = None
) -> list[str]:
    """Warnings, a line each: files that show the API key to every user of the machine, and keys of an earlier
    version. `config` as in load_settings."""
    environ = os.environ if environ is None else environ
    return [
        f"{holder} contains the API key and every user of this machine can read it: chmod 600 {holder}"
        for holder in files_open_to_all(settings, config, environ)
    ] + old_keys_in_use(config, environ)


def old_keys_in_use(config: Path | None, environ: Mapping[str, str]) -> list[str]:
    """A line for each key of an earlier version that is set, with where it is set and what to use instead."""
    path = config or find_config(environ)
    tree = _read_toml(path) if path else {}
    lines = []
    for key, old in OLD_KEYS.items():
        where = [f"{spell(key)} in {path}"] if _sets(tree, key) else []
        where += [_variable(key)] if environ.get(_variable(key)) else []
        if not where:
            continue
        if old.successor:
            new = f"{spell(old.successor)} ({_variable(old.successor)})"
            lines.append(f"{' and '.join(where)}: this key is now called {new}; the old name will stop working")
        else:
            lines.append(f"{' and '.join(where)}: this key no longer does anything; {old.advice}")
    return lines


def files_open_to_all(
    settings: Settings, config: Path | None = None, environ: Mapping[str, str] | None = None
) -> list[Path]:
    """The files that show the API key to every user of the machine; `config` as in load_settings."""
    path = config or find_config(os.environ if environ is None else environ)
    sections: list[ImmichSettings | AccountSettings] = [settings.immich, *settings.account]
    holders = [section.api_key_file for section in sections if section.api_key_file and not section.api_key]
    if path:
        tree = _read_toml(path)
        if any("api_key" in section for section in (tree.get("immich", {}), *tree.get("account", ()))):
            holders.append(path)
    return [holder for holder in holders if _is_open(holder)]


def _is_open(path: Path) -> bool:
    """Whether others may read a file. A container's secrets are always open, to nobody but the container."""
    try:
        return bool(path.stat().st_mode & stat.S_IROTH) and _CONTAINER_SECRETS not in path.parents
    except OSError:
        return False


def default_config_path(environ: Mapping[str, str]) -> Path:
    """The user's own configuration file, whether it is there or not."""
    return Path(environ.get("XDG_CONFIG_HOME") or home_folder() / ".config") / "autotagger" / "config.toml"


def config_to_write(config: Path | None, environ: Mapping[str, str]) -> Path:
    """Where a command sets keys: `config` where given, else the file that is read, else the user's own."""
    return config or find_config(environ) or default_config_path(environ)


def find_config(environ: Mapping[str, str]) -> Path | None:
    """The configuration file that a command without --config reads; None where there is none."""
    if named := environ.get(CONFIG_VARIABLE):
        return Path(named)
    candidates = (default_config_path(environ), Path("/etc/autotagger/config.toml"))
    return next((path for path in candidates if path.is_file()), None)


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8-sig"))  # some editors begin a file with a mark
    except (OSError, ValueError, RecursionError) as error:  # no TOML, a number of 5,000 digits, endless brackets
        raise BadConfig(f"cannot read the configuration {path}: {_reason(error)}") from None
    return _with_paths_from(path.parent, tree)


def _with_paths_from(folder: Path, tree: dict[str, Any]) -> dict[str, Any]:
    """A relative path in a file is meant from the file's folder, wherever the command is started."""
    for leaf in leaves():
        if not _holds(leaf, "Path"):
            continue
        section = tree if len(leaf) == 1 else tree.get(leaf[0])
        named = section.get(leaf[-1]) if isinstance(section, dict) else None
        if isinstance(section, dict) and isinstance(named, str):
            section[leaf[-1]] = _path_from(folder, named, leaf)
        elif isinstance(named, dict):
            named |= {key: _path_from(folder, one, leaf) for key, one in named.items() if isinstance(one, str)}
    accounts = tree.get("account")
    for account in accounts if isinstance(accounts, list) else ():
        if isinstance(account, dict) and isinstance(named := account.get("api_key_file"), str):
            account["api_key_file"] = _path_from(folder, named, ("account", "api_key_file"))
    return tree


def _path_from(folder: Path, named: str, key: tuple[str, ...]) -> str:
    try:
        return str(folder / Path(named).expanduser())
    except RuntimeError:
        raise BadConfig(f"{spell(key)}: {named} names a user that does not exist") from None


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    names = _variables()
    found: dict[str, Any] = {}
    for name, value in sorted(environ.items(), key=lambda item: (item[0] != _INSTANCE_URL, item[0])):
        if name in (CONFIG_VARIABLE, DEBUG_VARIABLE) or _NOT_OURS.match(name):
            continue
        if path := names.get(name):
            if value or _holds(path, "tuple"):
                _put(found, path, _parsed(name, value, path))
        elif path := _table_entry(name):
            if value:
                _put(found, path, value)
        elif name.startswith(ENV_PREFIX):
            current = [known for known, path in names.items() if path not in OLD_KEYS]
            raise BadConfig(f"unknown environment variable {name}{nearest(name, current)}")
    return found


def _parsed(name: str, value: str, path: tuple[str, ...]) -> Any:
    if _holds(path, "tuple"):
        if not value.lstrip().startswith("["):
            return split_list(value)
        return _json(name, value, list, 'a list, in JSON (["a", "b"]) or with commas (a, b)')
    if _holds(path, "dict"):
        return _json(name, value, dict, 'a table in JSON: {"key": value}')
    return value


def _json(name: str, value: str, kind: type, what: str) -> Any:
    try:
        found = json.loads(value)
    except (ValueError, RecursionError) as error:
        raise BadConfig(f"{name} must be {what}: {error}") from None
    if not isinstance(found, kind):
        raise BadConfig(f"{name} must be {what}")
    return found


def _table_entry(name: str) -> tuple[str, ...] | None:
    """The path that a variable for one category means: AUTOTAGGER_POLICY_THRESHOLD_GENERAL."""
    for table in _BY_CATEGORY:
        prefix = f"{ENV_PREFIX}POLICY_{table.upper()}_"
        if name.startswith(prefix):
            return ("policy", table, name.removeprefix(prefix).lower())
    return None


def _holds(path: tuple[str, ...], kind: str) -> bool:
    """Whether the values of the key at `path` are of the type named `kind`; of an old key: of its successor."""
    path = (OLD_KEYS[path].successor or path) if path in OLD_KEYS else path
    section: Any = Settings
    for step in path[:-1]:
        section = section.model_fields[step].annotation
    field = section.model_fields.get(path[-1])  # none of an old key: its value is checked under its new name
    annotation = str(field.annotation) if field else ""
    return kind in annotation and (kind in ("dict", "Path") or not annotation.startswith("dict"))


def _put(tree: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for step in path[:-1]:
        tree = tree.setdefault(step, {})
    tree[path[-1]] = value


def _merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        merged[key] = _merge(under, value) if isinstance(under, dict) and isinstance(value, Mapping) else value
    return merged


def _without_other_key(below: dict[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`below` without the API key that `above` gives in the other way (key or key file)."""
    given = above.get("immich")
    under = below.get("immich")
    if not isinstance(given, Mapping) or not isinstance(under, Mapping):
        return below
    others = {"api_key": "api_key_file", "api_key_file": "api_key"}
    dropped = {others[name] for name in given if name in others}
    return below | {"immich": {name: value for name, value in under.items() if name not in dropped}}


def _without_none(tree: Mapping[str, Any]) -> dict[str, Any]:
    pruned = {
        key: _without_none(value) if isinstance(value, Mapping) else value
        for key, value in tree.items()
        if value is not None
    }
    return {key: value for key, value in pruned.items() if value != {}}


def _reason(error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return re.sub(r"\s+", " ", text)
