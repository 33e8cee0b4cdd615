"""Settings: defaults < TOML file < environment < command-line flags. Frozen once read; secrets never shown.

Every key has an environment variable: `AUTOTAGGER_` and its path, `[immich] batch_size` being
`AUTOTAGGER_IMMICH_BATCH_SIZE`; lists are written with commas, tables as JSON (`{"1girl": "girl"}`), those by
category also key by key (`AUTOTAGGER_POLICY_THRESHOLD_GENERAL`), and an empty variable counts as not set (but
empties a list). The three that every Immich tool knows keep their names: `IMMICH_BASE_URL`, `IMMICH_API_KEY`,
`IMMICH_API_KEY_FILE`; `AUTOTAGGER_MODEL` is short for `[model] name`.
"""

import difflib
import json
import os
import re
import stat
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator

from autotagger.errors import BadConfig
from autotagger.hours import Hours

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(ge=0)]
#: What begins a pattern that is a regular expression; `re:` alone begins names of danbooru (`re:zero...`).
REGEX = "regex:"
ENV_PREFIX = "AUTOTAGGER_"
CONFIG_VARIABLE = f"{ENV_PREFIX}CONFIG"
#: See the tracebacks: read by `log`, before there are settings.
DEBUG_VARIABLE = f"{ENV_PREFIX}DEBUG"
#: Kubernetes gives them to every pod beside a service that is called autotagger.
_NOT_OURS = re.compile(rf"{ENV_PREFIX}(SERVICE_HOST|SERVICE_PORT|PORT)(_|$)")
_CONTAINER_SECRETS = Path("/run/secrets")
#: Tables of [policy] whose keys are categories.
_BY_CATEGORY = ("threshold", "mcut", "top", "template")
_ENV_NAMES = {
    "IMMICH_BASE_URL": ("immich", "base_url"),
    "IMMICH_API_KEY": ("immich", "api_key"),
    "IMMICH_API_KEY_FILE": ("immich", "api_key_file"),
    "AUTOTAGGER_MODEL": ("model", "name"),
}


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    @field_validator("*")
    @classmethod
    def _path_can_be_one(cls, value: object) -> object:
        if isinstance(value, Path) and "\0" in str(value):
            raise ValueError("no path holds a zero byte")
        return value


class ImmichSettings(Section):
    """The server, the key, and how gently to treat them."""

    base_url: str = Field("", description="Address of Immich, with or without /api")
    api_key: SecretStr | None = Field(None, description="API key; better kept in a file: api_key_file")
    api_key_file: Path | None = Field(None, description="File that holds the API key and nothing else")
    ca_file: Path | None = Field(None, description="Certificate authority that signed Immich's certificate")
    picture: Literal["preview", "thumbnail", "original"] = Field("preview", description="What to download")
    types: tuple[Literal["image", "video"], ...] = Field(("image", "video"), description="What to tag")
    visibilities: tuple[Literal["timeline", "archive", "hidden"], ...] = Field(
        ("timeline", "archive"), description="Where to look; hidden holds the video halves of motion photos"
    )
    batch_size: int = Field(
        25, ge=1, le=500, description="Assets whose tag calls, read-back and ledger commit belong together"
    )
    concurrency: int = Field(8, ge=1, le=64, description="Most requests under way at once, per process")
    rate: float = Field(0.0, ge=0.0, description="Most requests a second, per process; 0 is no limit")
    pace: float = Field(
        0.0,
        ge=0.0,
        description="Most assets tagged a second (each costs Immich background work); 0 is no limit",
    )
    retry_budget_s: float = Field(
        300.0, ge=0.0, description="Seconds a call is tried again before Immich counts as unreachable"
    )
    connect_timeout_s: float = Field(10.0, gt=0.0, description="Seconds to connect")
    read_timeout_s: float = Field(60.0, gt=0.0, description="Seconds without a byte before a call is given up")
    max_picture_bytes: int = Field(64 << 20, ge=1 << 16, description="Larger pictures are not downloaded")


class ModelSettings(Section):
    """The tag model and the device that runs it."""

    name: str = Field("wd-vit-tagger-v3", description="A catalogue name, or a folder with model.onnx and labels")
    device: Literal["auto", "CPU", "GPU", "NPU"] = Field("auto", description="Where inference runs")
    streams: int = Field(0, ge=0, le=256, description="Pictures inferred at once by a worker; 0 chooses")
    threads: int = Field(0, ge=0, le=256, description="Cores of a worker's streams together; 0 chooses")
    decoding: Literal["exact", "fast"] = Field(
        "exact", description="Pictures decoded whole, or large JPEGs at a half, a quarter or an eighth"
    )


class PolicySettings(Section):
    """How scores become tags. What a key names is a label as the model's label file writes it (`long_hair`).

    A pattern is a label or tag name in which `*` and `?` are wildcards, or `regex:` and a regular expression.
    """

    blacklist: tuple[str, ...] = Field(
        (),
        description="Tags never applied; * and ? are wildcards, regex: begins a regular expression",
        examples=[["*_background", "regex:.*_(sword|gun)"]],
    )
    whitelist: tuple[str, ...] = Field(
        (), description="Where not empty, nothing but these and ratings is applied", examples=[["*_hair", "1girl"]]
    )
    threshold: dict[str, Share] = Field(
        default_factory=dict,
        description="Lowest score per category; the model's own where not given",
        examples=[{"general": 0.35, "character": 0.85}],
    )
    tag_threshold: dict[str, Share] = Field(
        default_factory=dict,
        description="Lowest score of single tags; the last pattern that fits counts",
        examples=[{"*_background": 0.6, "white_background": 0.5}],
    )
    mcut: dict[str, Share] = Field(
        default_factory=dict,
        description="Categories whose threshold is the largest gap in a picture's scores, and never below this",
        examples=[{"character": 0.15}],
    )
    top: dict[str, Count] = Field(
        default_factory=dict, description="Most tags by score per category", examples=[{"general": 30}]
    )
    min_tags: int = Field(
        0,
        ge=0,
        description="Where fewer pass, those nearest to their threshold are taken too; ratings not counted",
    )
    max_tags: int = Field(0, ge=0, description="Most tags of an asset, ratings not counted; 0 is no limit")
    rating: bool = Field(True, description="Apply ratings as rating:<name>")
    rating_by: Literal["likeliest", "threshold"] = Field(
        "likeliest", description="The likeliest rating alone, or every one at or above threshold.rating"
    )
    rating_action: dict[str, Literal["archive", "locked"]] = Field(
        default_factory=dict,
        description="Ratings whose pictures leave Immich's timeline, once tagged and proven; needs asset.update",
        examples=[{"explicit": "archive"}],
    )
    implies: dict[str, tuple[str, ...]] = Field(
        default_factory=dict,
        description="Tags that come with a tag, whatever their own score",
        examples=[{"cat_ears": ["animal_ears"]}],
    )
    hides: dict[str, tuple[str, ...]] = Field(
        default_factory=dict,
        description="Tags that are left out beside a tag",
        examples=[{"very_long_hair": ["long_hair"]}],
    )
    drop_overlapping: bool = Field(
        False, description="Leave out a tag whose words end a longer one's (hair beside long_hair)"
    )
    series: bool = Field(
        False, description="Apply a character's series too: from name_(series), or the model's own map"
    )
    rename: dict[str, str] = Field(
        default_factory=dict,
        description="Other names for labels",
        examples=[{"1girl": "girl"}],
    )
    second_names: Path | None = Field(
        None, description="CSV file of two columns: label, its name in another language"
    )
    second_names_mode: Literal["add", "replace"] = Field(
        "add", description="Whether the second name is a tag beside the first or instead of it"
    )
    template: dict[str, str] = Field(
        default_factory=dict,
        description="What tags look like per category: {name}, {category}; a / makes a hierarchy in Immich",
        examples=[{"character": "character:{name}", "copyright": "anime/{category}/{name}"}],
    )
    case: Literal["keep", "lower", "upper", "title"] = Field("keep", description="Letters of a tag")
    spaces: bool = Field(True, description="Spaces instead of underscores; faces like ^_^ stay")
    slash: str = Field("∕", min_length=1, description="Stands for / in a tag (a slash makes a hierarchy)")  # noqa: RUF001
    vocabulary: int = Field(
        1500, ge=0, description="Most different tags in Immich, ratings not counted; 0 is no limit"
    )

    @field_validator("slash")
    @classmethod
    def _not_a_slash(cls, value: str) -> str:
        if "/" in value:
            raise ValueError("must not hold a slash itself")
        return value

    @field_validator("blacklist", "whitelist", "tag_threshold")
    @classmethod
    def _patterns_compile(cls, value: Iterable[str]) -> Iterable[str]:
        for pattern in value:
            if pattern.startswith(REGEX):
                try:
                    re.compile(pattern.removeprefix(REGEX))
                except (re.error, RecursionError, OverflowError) as error:
                    raise ValueError(f"{pattern} is no regular expression: {error}") from None
        return value

    @field_validator("template")
    @classmethod
    def _templates_hold_a_name(cls, value: dict[str, str]) -> dict[str, str]:
        for category, template in value.items():
            if problem := _template_problem(template):
                raise ValueError(f"{template!r} for {category} {problem}")
        return value

    @model_validator(mode="after")
    def _ratings_have_a_threshold(self) -> Self:
        if self.rating and self.rating_by == "threshold" and "rating" not in self.threshold:
            raise ValueError('rating_by = "threshold" needs [policy.threshold] rating')
        return self


def _template_problem(template: str) -> str | None:
    if "{name}" not in template:
        return "must hold {name}, else all tags of the category become one"
    if re.search(r"[{}]", re.sub(r"\{(name|category)\}", "", template)):
        return "may hold {name} and {category}, and no other braces"
    if any(not part.strip() for part in template.split("/")):
        return "must not begin or end with a slash nor hold two in a row"
    if "&" in template or not template.isprintable():
        return "must not hold & or control characters"
    return None


def _mean_ratings() -> dict[str, Literal["max", "mean"]]:
    return {"rating": "mean"}


class VideoSettings(Section):
    """How videos and animations are looked at."""

    frames: int = Field(
        8, ge=1, le=64, description="Frames judged of a video or animation; 1 takes Immich's still frame"
    )
    max_bytes: int = Field(
        64 << 20, ge=1 << 20, description="Most bytes downloaded of one; of a larger video, key frames only"
    )
    timeout_s: float = Field(60.0, gt=0.0, description="Seconds to download one, and again to decode it")
    combine: dict[str, Literal["max", "mean"]] = Field(
        default_factory=_mean_ratings,
        description="How the frames' scores become one, per category; max where not given",
        examples=[{"rating": "mean"}],
    )


class PipelineSettings(Section):
    """Processes and memory."""

    workers: int = Field(0, ge=0, le=64, description="Inference processes; 0 chooses")
    decoders: int = Field(0, ge=0, le=64, description="Threads of a worker that decode; 0 chooses")
    slots: int = Field(32, ge=2, le=256, description="Pictures held in shared memory")
    slot_bytes: int = Field(2 << 20, ge=1 << 16, description="Bytes of a slot; larger pictures go through a file")
    nice: int = Field(0, ge=0, le=19, description="How far all processes but the first step back for others")
    ionice: Literal["normal", "low", "idle"] = Field("normal", description="The same for the disk")
    drain_timeout_s: float = Field(60.0, ge=0.0, description="Seconds to finish work under way after SIGTERM")
    hang_timeout_s: float = Field(300.0, gt=0.0, description="Seconds without life before a process is replaced")
    sweep_interval_s: float = Field(3600.0, gt=0.0, description="Seconds between full listings of the library")
    max_attempts: int = Field(5, ge=1, description="Tries of one asset before it is set aside as failed")


class WatchSettings(Section):
    """When `run` looks for new pictures, and when it works."""

    poll_interval_s: float = Field(30.0, gt=0.0, description="Seconds between looks at what is new")
    hours: tuple[str, ...] = Field(
        (),
        description="When pictures are scored and tagged, local time; empty is always",
        examples=[["22:00-07:00", "12:30-13:30"]],
    )

    @field_validator("hours", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return _split(value) if isinstance(value, str) else value

    @field_validator("hours")
    @classmethod
    def _are_hours(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        Hours.read(value)
        return value


class VerifySettings(Section):
    """Proof that what was applied is really there."""

    sample: Share = Field(0.02, description="Share of assets read back tag by tag")
    settle_timeout_s: float = Field(
        600.0, ge=0.0, description="Seconds run --once waits at the end for Immich's own jobs to settle"
    )
    interval_s: float = Field(30.0, gt=0.0, description="Seconds between looks at what has settled")


class ServiceSettings(Section):
    """How a run shows itself: health and metrics."""

    listen_host: str = Field("127.0.0.1", description="Address of /health, /metrics and /status")
    listen_port: int = Field(8788, ge=0, le=65535, description="Port of the same; 0 is none")
    listen_once: bool = Field(False, description="Also in run --once")
    summary_interval_s: float = Field(
        300.0, gt=0.0, description="Seconds between the log lines that sum the run up"
    )


class Settings(Section):
    """Everything that can be set."""

    state_dir: Path = Field(default_factory=lambda: _default_state_dir(), description="Ledger, lock, models")
    marker: str = Field("auto:processed", description="Tag that says: autotagger was here")
    immich: ImmichSettings = ImmichSettings()
    model: ModelSettings = ModelSettings()
    policy: PolicySettings = PolicySettings()
    video: VideoSettings = VideoSettings()
    pipeline: PipelineSettings = PipelineSettings()
    watch: WatchSettings = WatchSettings()
    verify: VerifySettings = VerifySettings()
    service: ServiceSettings = ServiceSettings()
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="Least level logged")
    log_format: Literal["text", "json"] = Field("text", description="One line of text or one JSON object an event")

    @field_validator("marker")
    @classmethod
    def _plain_marker(cls, value: str) -> str:
        if not value.strip() or "/" in value:
            raise ValueError("must be a plain tag name without a slash")
        return value

    @property
    def ledger_path(self) -> Path:
        return self.state_dir / "ledger.sqlite3"

    @property
    def models_dir(self) -> Path:
        return self.state_dir / "models"


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
        return Settings.model_validate(merged)
    except ValidationError as error:
        raise BadConfig(_explain(error, path)) from None


def given(config: Path | None, environ: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What file and environment set, as they are written, nested like the TOML; found as in load_settings."""
    path = config or find_config(environ)
    return (_read_toml(path) if path else {}, _from_environment(environ))


def variables(environ: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """The variables of the environment that set something, and the path of the key that each sets."""
    known = _variables()
    paths = {name: known.get(name) or _table_entry(name) for name, value in environ.items() if value}
    return {name: path for name, path in sorted(paths.items()) if path}


def _variables() -> dict[str, tuple[str, ...]]:
    return {ENV_PREFIX + "_".join(path).upper(): path for path in leaves()} | _ENV_NAMES


def api_key(settings: ImmichSettings) -> SecretStr:
    """The API key: from the settings, else from its file, else systemd's credential `api-key`.

    Raises BadConfig when there is none.
    """
    if settings.api_key and settings.api_key.get_secret_value().strip():
        return SecretStr(settings.api_key.get_secret_value().strip())
    key_file = settings.api_key_file or _credential()
    if key_file is None:
        raise BadConfig(
            "no API key: set IMMICH_API_KEY, or api_key_file in [immich] "
            "(Immich: Account Settings > API Keys > New API Key)"
        )
    try:
        key = key_file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadConfig(f"cannot read the API key file {key_file}: {_reason(error)}") from None
    if not key or len(key.split()) != 1:
        raise BadConfig(f"the API key file {key_file} must hold the key and nothing else")
    return SecretStr(key)


def _credential() -> Path | None:
    """The file that systemd makes of `LoadCredential=api-key:...` for a service (systemd.exec(5))."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    path = Path(folder) / "api-key" if folder else None
    return path if path and path.is_file() else None


def cautions(
    settings: Settings, config: Path | None = None, environ: Mapping[str, str] | None = None
) -> list[str]:
    """One line for each file that shows the API key to every user of the machine; `config` as in load_settings."""
    return [
        f"{holder} holds the API key and every user of this machine can read it: chmod 600 {holder}"
        for holder in files_open_to_all(settings, config, environ)
    ]


def files_open_to_all(
    settings: Settings, config: Path | None = None, environ: Mapping[str, str] | None = None
) -> list[Path]:
    """The files that show the API key to every user of the machine; `config` as in load_settings."""
    path = config or find_config(os.environ if environ is None else environ)
    holders = (
        [settings.immich.api_key_file] if settings.immich.api_key_file and not settings.immich.api_key else []
    )
    if path and "api_key" in _read_toml(path).get("immich", {}):
        holders.append(path)
    return [holder for holder in holders if _is_open(holder)]


def _is_open(path: Path) -> bool:
    """Whether others may read a file. A container's secrets are always open, to nobody but the container."""
    try:
        return bool(path.stat().st_mode & stat.S_IROTH) and _CONTAINER_SECRETS not in path.parents
    except OSError:
        return False


def leaves(model: type[BaseModel] = Settings, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The path of every key: `("immich", "batch_size")`."""
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from leaves(kind, (*path, name))
        else:
            yield (*path, name)


def _default_state_dir() -> Path:
    return Path(os.environ.get("XDG_STATE_HOME") or _home() / ".local/state") / "autotagger"


def default_config_path(environ: Mapping[str, str]) -> Path:
    """The user's own configuration file, whether it is there or not."""
    return Path(environ.get("XDG_CONFIG_HOME") or _home() / ".config") / "autotagger" / "config.toml"


def config_to_write(config: Path | None, environ: Mapping[str, str]) -> Path:
    """Where a command sets keys: `config` where given, else the file that is read, else the user's own."""
    return config or find_config(environ) or default_config_path(environ)


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError:  # a container's made-up user has none
        return Path("/")


def find_config(environ: Mapping[str, str]) -> Path | None:
    """The configuration file that a command without --config reads; None where there is none."""
    if named := environ.get(CONFIG_VARIABLE):
        return Path(named)
    candidates = (default_config_path(environ), Path("/etc/autotagger/config.toml"))
    return next((path for path in candidates if path.is_file()), None)


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            tree = tomllib.load(file)
    except (OSError, ValueError, RecursionError) as error:  # no TOML, a number of 5,000 digits, endless brackets
        raise BadConfig(f"cannot read the configuration {path}: {_reason(error)}") from None
    return _with_paths_from(path.parent, tree)


def _with_paths_from(folder: Path, tree: dict[str, Any]) -> dict[str, Any]:
    """A relative path in a file is meant from the file's folder, wherever the command is started."""
    for leaf in leaves():
        if not _holds(leaf, "Path"):
            continue
        section = tree if len(leaf) == 1 else tree.get(leaf[0])
        if isinstance(section, dict) and isinstance(named := section.get(leaf[-1]), str):
            try:
                section[leaf[-1]] = str(folder / Path(named).expanduser())
            except RuntimeError:
                raise BadConfig(f"{_spell(leaf)}: {named} names a user that is not there") from None
    return tree


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    names = _variables()
    found: dict[str, Any] = {}
    for name, value in sorted(environ.items()):
        if name in (CONFIG_VARIABLE, DEBUG_VARIABLE) or _NOT_OURS.match(name):
            continue
        if path := names.get(name):
            if value or _holds(path, "tuple"):
                _put(found, path, _parsed(name, value, path))
        elif path := _table_entry(name):
            if value:
                _put(found, path, value)
        elif name.startswith(ENV_PREFIX):
            raise BadConfig(f"unknown environment variable {name}{_nearest(name, names)}")
    return found


def _parsed(name: str, value: str, path: tuple[str, ...]) -> Any:
    if _holds(path, "tuple"):
        return _split(value)
    if not _holds(path, "dict"):
        return value
    try:
        table = json.loads(value)
    except (ValueError, RecursionError) as error:
        raise BadConfig(f"{name} must hold a table as JSON: {error}") from None
    if not isinstance(table, dict):
        raise BadConfig(f'{name} must hold a table as JSON: {{"key": value}}')
    return table


def _table_entry(name: str) -> tuple[str, ...] | None:
    """The path that a variable for one category means: AUTOTAGGER_POLICY_THRESHOLD_GENERAL."""
    for table in _BY_CATEGORY:
        prefix = f"{ENV_PREFIX}POLICY_{table.upper()}_"
        if name.startswith(prefix):
            return ("policy", table, name.removeprefix(prefix).lower())
    return None


def _holds(path: tuple[str, ...], kind: str) -> bool:
    """Whether the values of the key at `path` are of the type named `kind`."""
    section: Any = Settings
    for step in path[:-1]:
        section = section.model_fields[step].annotation
    annotation = str(section.model_fields[path[-1]].annotation)
    return kind in annotation and (kind == "dict" or not annotation.startswith("dict"))


def _split(value: str) -> list[str]:
    return [part.strip() for part in value.split(",") if part.strip()]


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


def _explain(error: ValidationError, path: Path | None) -> str:
    lines = []
    for problem in error.errors(include_url=False):
        where = tuple(step for step in problem["loc"] if isinstance(step, str))
        if problem["type"] == "extra_forbidden":
            lines.append(f"unknown key {_spell(where)}{_nearest_key(where)}")
            continue
        hint = ""
        if problem["type"] == "literal_error":
            hint = _nearest(str(problem["input"]), re.findall("'([^']+)'", problem["ctx"]["expected"]))
        lines.append(f"{_spell(where)}: {problem['msg'].removeprefix('Value error, ')}{hint}")
    source = f" (from {path}, the environment or the command line)" if path else ""
    return "; ".join(lines) + source


def _spell(path: tuple[str, ...]) -> str:
    return f"[{'.'.join(path[:-1])}] {path[-1]}" if len(path) > 1 else path[-1]


def _nearest_key(unknown: tuple[str, ...]) -> str:
    """The right key for a misspelt or misplaced one: in its own section if there is one, else anywhere."""
    sections = [name for name in Settings.model_fields if (name,) not in set(leaves())]
    own = {path[-1]: path for path in leaves() if path[:-1] == unknown[:-1]}
    anywhere = {path[-1]: path for path in leaves()} | {name: (name,) for name in sections}
    for spelt in (own, anywhere):
        for name in difflib.get_close_matches(unknown[-1].lower(), spelt, n=1, cutoff=0.6):
            return f": did you mean {_spell(spelt[name])}?"
    return ""


def _nearest(name: str, candidates: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(candidates), n=1, cutoff=0.5)
    return f": did you mean {close[0]}?" if close else ""


def _reason(error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return re.sub(r"\s+", " ", text)
