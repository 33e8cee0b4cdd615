"""Settings: every key with its type, range, default and description. Frozen once read; secrets never shown.

Where they come from (file, environment, command line) is `config`'s business.
"""

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from autotagger.days import Days
from autotagger.hours import Hours


def _no_boolean(value: Any) -> Any:
    """Python takes true for 1.0: `general = true` would be a threshold that nothing reaches."""
    if isinstance(value, bool):
        raise ValueError("must be a number, not true or false")
    return value


def unquoted(text: str) -> str:
    """`text` without blanks around it and without one pair of quotes: `docker run --env-file` keeps them, a shell
    does not."""
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        text = text[1:-1].strip()
    return text


def _bare(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return SecretStr(unquoted(value.get_secret_value()))
    return unquoted(value) if isinstance(value, str) else value


Share = Annotated[float, Field(ge=0.0, le=1.0), BeforeValidator(_no_boolean)]
Count = Annotated[int, Field(ge=0), BeforeValidator(_no_boolean)]
#: What begins a pattern that is a regular expression; `re:` alone begins names of danbooru (`re:zero...`).
REGEX = "regex:"
#: The account of a configuration without [[account]] sections.
DEFAULT_ACCOUNT_NAME = "default"


def _can_be_one(path: Path) -> Path:
    if "\0" in str(path):
        raise ValueError("a path must not contain a zero byte")
    return path


AnyPath = Annotated[Path, AfterValidator(_can_be_one)]
#: What people copy from elsewhere, with the quotes around it.
Copied = Annotated[str, BeforeValidator(_bare)]
CopiedKey = Annotated[SecretStr | None, BeforeValidator(_bare)]
CopiedPath = Annotated[AnyPath | None, BeforeValidator(_bare)]


class Section(BaseModel):
    """Its validator is made when it first has something to validate: a child process gets ready settings."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, defer_build=True)

    @field_validator("*", mode="before")
    @classmethod
    def _as_people_write_it(cls, value: Any, info: ValidationInfo) -> Any:
        """A choice in any letters (`debug`, `gpu`); a number that is one."""
        kind = cls.model_fields[info.field_name or ""].annotation
        if kind in (int, float):
            return _no_boolean(value)
        if get_origin(kind) is Literal and isinstance(value, str):
            return next((choice for choice in get_args(kind) if choice.lower() == value.strip().lower()), value)
        return value


def _defaults() -> Any:
    """A section that nothing was said about. Its own validator need not be made for it."""
    return Field(default_factory=dict, validate_default=True)


class ImmichSettings(Section):
    """The server, the API key, and limits on the load."""

    base_url: Copied = Field("", description="Address of Immich, with or without /api")
    api_key: CopiedKey = Field(None, description="API key; safer in a file: api_key_file")
    api_key_file: CopiedPath = Field(None, description="File that contains only the API key")
    ca_file: AnyPath | None = Field(
        None, description="Certificate of the authority that signed Immich's certificate"
    )
    client_cert_file: AnyPath | None = Field(
        None, description="Client certificate that a proxy asks for (PEM); it may contain the key"
    )
    client_key_file: AnyPath | None = Field(
        None, description="Private key of the client certificate (PEM), where it is in another file"
    )
    headers: dict[str, AnyPath] = Field(
        {},
        description="Headers that a proxy in front of Immich asks for: the name, and a file with the value",
        examples=[{"CF-Access-Client-Secret": "/run/secrets/cf_secret"}],
    )
    picture: Literal["preview", "thumbnail", "original"] = Field(
        "preview", description="Size of picture to download"
    )
    batch_size: int = Field(
        25, ge=1, le=500, description="Assets that are tagged, read back and committed to the ledger together"
    )
    concurrency: int = Field(8, ge=1, le=64, description="Maximum concurrent requests, per process")
    pace: float = Field(
        0.0,
        ge=0.0,
        description="Maximum assets tagged per second (each costs Immich background work); 0 means no limit",
    )
    max_queued: int = Field(
        500,
        ge=0,
        description="Maximum jobs in Immich's sidecar and metadata queues: tag calls wait while there are more; "
        "0 means no limit. Needs an administrator's key with queue.read (before 3.0 job.read)",
    )
    retry_budget_s: float = Field(
        300.0, ge=0.0, description="Seconds to retry a call before Immich counts as unreachable"
    )
    connect_timeout_s: float = Field(10.0, gt=0.0, description="Maximum seconds to connect")
    read_timeout_s: float = Field(60.0, gt=0.0, description="Maximum seconds to wait for data before a call fails")
    max_picture_bytes: int = Field(
        64 << 20, ge=1 << 16, description="Maximum size of a picture; larger ones are not downloaded"
    )


class SelectSettings(Section):
    """Which assets to tag. Keys combine: an asset must fit all of them, and nothing that excludes it.

    Names are compared without case; `*` and `?` are wildcards. Instead of a name an id may stand.
    """

    albums: tuple[str, ...] = Field(
        (),
        description="Only assets in one of these albums: names or ids",
        examples=[["Anime", "Art*"]],
    )
    exclude_albums: tuple[str, ...] = Field((), description="No assets in one of these albums")
    people: tuple[str, ...] = Field((), description="Only assets with one of these people: names or ids")
    exclude_people: tuple[str, ...] = Field(
        (), description="No assets with one of these people", examples=[["Anna"]]
    )
    paths: tuple[str, ...] = Field(
        (),
        description="Only files with a path like one of these: * and ? within a folder, ** across folders",
        examples=[["/mnt/art/**"]],
    )
    exclude_paths: tuple[str, ...] = Field(
        (), description="No files with a path like one of these", examples=[["**/Screenshots/**"]]
    )
    libraries: tuple[str, ...] = Field(
        (),
        description="Only assets of these libraries: uploads, and external ones by name or id",
        examples=[["uploads", "art"]],
    )
    exclude_libraries: tuple[str, ...] = Field((), description="No assets of these libraries")
    tags: tuple[str, ...] = Field((), description="Only assets with one of these tags", examples=[["anime"]])
    exclude_tags: tuple[str, ...] = Field(
        (), description="No assets with one of these tags", examples=[["no-auto"]]
    )
    favorites_only: bool = Field(False, description="Only favourites")
    taken: str = Field(
        "", description="Only assets taken on these days, both included", examples=["2015-01-01..2019-12-31"]
    )
    uploaded: str = Field("", description="Only assets uploaded on these days (UTC), both included")
    camera: Literal["tag", "skip", "only"] = Field(
        "tag", description="Assets with the make of a camera in their metadata: tag, skip, or tag only them"
    )
    types: tuple[Literal["image", "video"], ...] = Field(("image", "video"), description="Kinds of assets to tag")
    visibilities: tuple[Literal["timeline", "archive", "hidden"], ...] = Field(
        ("timeline", "archive"),
        description="Assets to tag by visibility; hidden contains the video halves of motion photos",
    )

    @field_validator("taken", "uploaded")
    @classmethod
    def _are_days(cls, value: str) -> str:
        Days.read(value)
        return value

    @field_validator("types", "visibilities")
    @classmethod
    def _name_something(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise ValueError("must not be empty: nothing would be tagged")
        return value


class AccountSettings(Section):
    """One user of the same Immich, where several users' libraries are tagged."""

    name: str = Field(min_length=1, max_length=64, description="Name of the account in messages")
    api_key: CopiedKey = Field(None, description="API key of this user; safer in a file")
    api_key_file: CopiedPath = Field(None, description="File that contains only the API key of this user")
    select: SelectSettings = _defaults()


class ModelSettings(Section):
    """The tag model and the device that runs it."""

    name: str = Field(
        "wd-vit-tagger-v3", description="Name in the catalogue, or folder with model.onnx and labels"
    )
    device: Literal["auto", "CPU", "GPU", "NPU"] = Field("auto", description="Device that runs the model")
    streams: int = Field(
        0, ge=0, le=256, description="Pictures that a worker scores at once; 0 chooses automatically"
    )
    threads: int = Field(0, ge=0, le=256, description="Cores for all streams of a worker; 0 chooses automatically")
    decoding: Literal["exact", "fast"] = Field(
        "exact", description="exact decodes pictures in full size, fast decodes large JPEGs at 1/2, 1/4 or 1/8"
    )


class PolicySettings(Section):
    """How scores become tags. Labels are written as in the model's label file (`long_hair`).

    A pattern is a label or tag name in which `*` and `?` are wildcards, or `regex:` and a regular expression.
    """

    blacklist: tuple[str, ...] = Field(
        (),
        description="Tags that are never added; * and ? are wildcards, regex: starts a regular expression",
        examples=[["*_background", "regex:.*_(sword|gun)"]],
    )
    whitelist: tuple[str, ...] = Field(
        (), description="If not empty, only these tags and ratings are added", examples=[["*_hair", "1girl"]]
    )
    threshold: dict[str, Share] = Field(
        default_factory=dict,
        description="Minimum score per category; the default is the model's own",
        examples=[{"general": 0.35, "character": 0.85}],
    )
    tag_threshold: dict[str, Share] = Field(
        default_factory=dict,
        description="Minimum score of single tags; the last matching pattern counts",
        examples=[{"*_background": 0.6, "white_background": 0.5}],
    )
    mcut: dict[str, Share] = Field(
        default_factory=dict,
        description="Categories cut at the largest gap between a picture's scores, with a minimum threshold",
        examples=[{"character": 0.15}],
    )
    top: dict[str, Count] = Field(
        default_factory=dict,
        description="Maximum tags per category, best scores first",
        examples=[{"general": 30}],
    )
    min_tags: int = Field(
        0,
        ge=0,
        description="Minimum tags of an asset: those nearest to their threshold fill up; ratings not counted",
    )
    max_tags: int = Field(0, ge=0, description="Maximum tags of an asset, ratings not counted; 0 means no limit")
    rating: bool = Field(True, description="Add the rating as a tag: rating:<name>")
    rating_by: Literal["likeliest", "threshold"] = Field(
        "likeliest", description="Add only the likeliest rating, or every rating at or above threshold.rating"
    )
    rating_action: dict[str, Literal["archive", "locked"]] = Field(
        default_factory=dict,
        description="Ratings whose pictures leave the timeline once their tags are verified; needs asset.update",
        examples=[{"explicit": "archive"}],
    )
    implies: dict[str, tuple[str, ...]] = Field(
        default_factory=dict,
        description="Tags to add when a tag is present, whatever their own score",
        examples=[{"cat_ears": ["animal_ears"]}],
    )
    hides: dict[str, tuple[str, ...]] = Field(
        default_factory=dict,
        description="Tags to drop when a tag is present",
        examples=[{"very_long_hair": ["long_hair"]}],
    )
    drop_overlapping: bool = Field(
        False, description="Drop a tag if a longer tag ends with its words (hair with long_hair)"
    )
    series: bool = Field(
        False, description="Add the series of a character too: from name_(series) or from the model's map"
    )
    rename: dict[str, str] = Field(
        default_factory=dict,
        description="New names for labels",
        examples=[{"1girl": "girl"}],
    )
    second_names: AnyPath | None = Field(
        None, description="CSV file with two columns: label, name in another language"
    )
    second_names_mode: Literal["add", "replace"] = Field(
        "add", description="Add the second name as another tag, or use it instead of the first"
    )
    template: dict[str, str] = Field(
        default_factory=dict,
        description="Format of tags per category: {name}, {category}; a / makes a hierarchy in Immich",
        examples=[{"character": "character:{name}", "copyright": "anime/{category}/{name}"}],
    )
    case: Literal["keep", "lower", "upper", "title"] = Field("keep", description="Upper or lower case of tags")
    spaces: bool = Field(True, description="Write spaces instead of underscores; faces like ^_^ stay")
    slash: str = Field("∕", min_length=1, description="Replaces / in a tag (a slash makes a hierarchy)")  # noqa: RUF001
    vocabulary: int = Field(
        0, ge=0, description="Maximum different tags in Immich, ratings not counted; 0 means no limit"
    )

    @field_validator("slash")
    @classmethod
    def _not_a_slash(cls, value: str) -> str:
        if "/" in value:
            raise ValueError("must not contain a slash")
        return value

    @field_validator("blacklist", "whitelist", "tag_threshold")
    @classmethod
    def _patterns_compile(cls, value: Iterable[str]) -> Iterable[str]:
        for pattern in value:
            if pattern.startswith(REGEX):
                try:
                    re.compile(pattern.removeprefix(REGEX))
                except (re.error, RecursionError, OverflowError) as error:
                    raise ValueError(f"{pattern} is not a regular expression: {error}") from None
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
        return "must contain {name}, else all tags of the category become one"
    if re.search(r"[{}]", re.sub(r"\{(name|category)\}", "", template)):
        return "may contain {name} and {category}, but no other braces"
    if any(not part.strip() for part in template.split("/")):
        return "must not start or end with a slash or contain two in a row"
    if "&" in template or not template.isprintable():
        return "must not contain & or control characters"
    return None


def _mean_ratings() -> dict[str, Literal["max", "mean"]]:
    return {"rating": "mean"}


class VideoSettings(Section):
    """Videos and animations."""

    frames: int = Field(
        8, ge=1, le=64, description="Maximum frames to score of a video or animation; 1 uses Immich's still frame"
    )
    max_bytes: int = Field(
        64 << 20,
        ge=1 << 20,
        description="Maximum bytes to download per video; of a larger one only key frames are used",
    )
    timeout_s: float = Field(
        60.0, gt=0.0, description="Maximum seconds to download a video, and again to decode it"
    )
    combine: dict[str, Literal["max", "mean"]] = Field(
        default_factory=_mean_ratings,
        description="How to combine the scores of the frames, per category; the default is max",
        examples=[{"rating": "mean"}],
    )


class PipelineSettings(Section):
    """Processes and memory."""

    workers: int = Field(0, ge=0, le=64, description="Inference processes; 0 chooses automatically")
    decoders: int = Field(0, ge=0, le=64, description="Decoding threads per worker; 0 chooses automatically")
    slots: int = Field(32, ge=2, le=256, description="Maximum pictures in shared memory")
    slot_bytes: int = Field(
        2 << 20,
        ge=1 << 16,
        le=1 << 30,
        description="Bytes per picture in shared memory; larger ones go through a file",
    )
    nice: int = Field(
        0,
        ge=0,
        le=19,
        description="Niceness of the child processes: a higher value leaves more CPU to other programs",
    )
    ionice: Literal["normal", "low", "idle"] = Field("normal", description="Disk priority of the child processes")
    drain_timeout_s: float = Field(
        60.0, ge=0.0, description="Maximum seconds to finish current work after SIGTERM"
    )
    hang_timeout_s: float = Field(
        300.0, gt=0.0, description="Seconds without a heartbeat before a process is replaced"
    )
    picture_timeout_s: float = Field(
        120.0, gt=0.0, description="Maximum seconds that a worker may need for a picture; more for videos"
    )
    sweep_interval_s: float = Field(3600.0, gt=0.0, description="Seconds between full listings of the library")
    max_attempts: int = Field(5, ge=1, description="Maximum attempts per asset before it counts as failed")


class WatchSettings(Section):
    """When `run` looks for new assets, and when it works."""

    poll_interval_s: float = Field(30.0, gt=0.0, description="Seconds between two searches for new assets")
    hours: tuple[str, ...] = Field(
        (),
        description="Hours in which pictures are scored and tagged, local time; empty means always",
        examples=[["22:00-07:00", "12:30-13:30"]],
    )

    @field_validator("hours", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return split_list(value) if isinstance(value, str) else value

    @field_validator("hours")
    @classmethod
    def _are_hours(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        Hours.read(value)
        return value


class VerifySettings(Section):
    """Checks that the tags are really in Immich."""

    sample: Share = Field(0.02, description="Share of assets to read back tag by tag")
    settle_timeout_s: float = Field(
        600.0, ge=0.0, description="Maximum seconds that run --once waits at the end for Immich's background jobs"
    )
    interval_s: float = Field(30.0, gt=0.0, description="Seconds between two checks of what Immich has finished")


class ServiceSettings(Section):
    """Health and metrics of a run."""

    listen_host: str = Field("127.0.0.1", description="Address of /health, /metrics and /status")
    listen_port: int = Field(
        8788, ge=0, le=65535, description="Port of /health, /metrics and /status; 0 turns them off"
    )
    allowed_hosts: tuple[str, ...] = Field(
        (),
        description="Further public names by which /health may be asked; addresses and local names always may",
        examples=[["tagger.example.org"]],
    )
    listen_once: bool = Field(False, description="Serve them in run --once too")
    summary_interval_s: float = Field(300.0, gt=0.0, description="Seconds between summaries in the log")


class Settings(Section):
    """Everything that can be set."""

    state_dir: AnyPath = Field(
        default_factory=lambda: _default_state_dir(), description="Folder for ledger, lock and models"
    )
    marker: str = Field("auto:processed", description="Tag that marks finished assets")
    immich: ImmichSettings = _defaults()
    account: tuple[AccountSettings, ...] = Field(
        (), description="Sections [[account]] for several users, each with its own API key"
    )
    select: SelectSettings = _defaults()
    model: ModelSettings = _defaults()
    policy: PolicySettings = _defaults()
    video: VideoSettings = _defaults()
    pipeline: PipelineSettings = _defaults()
    watch: WatchSettings = _defaults()
    verify: VerifySettings = _defaults()
    service: ServiceSettings = _defaults()
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Minimum level of log lines"
    )
    log_format: Literal["text", "json"] = Field("text", description="Log lines as text or as JSON objects")

    @field_validator("marker")
    @classmethod
    def _plain_marker(cls, value: str) -> str:
        if not value.strip() or "/" in value:
            raise ValueError("must be a tag name without a slash")
        return value

    @model_validator(mode="after")
    def _accounts_differ(self) -> Self:
        names = [account.name for account in self.account]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"two [[account]] sections have the name {twice}")
        if names and (self.immich.api_key or self.immich.api_key_file):
            raise ValueError(
                "an API key in [immich] (or IMMICH_API_KEY) cannot be combined with [[account]] sections: "
                "move that key to a section of its own"
            )
        return self

    def selected_by(self, account: str) -> SelectSettings:
        """What is to be tagged of an account: keys of its own [account.select] go before those of [select]."""
        own = next((one.select for one in self.account if one.name == account), None)
        return self.select.model_copy(update=own.model_dump(include=own.model_fields_set)) if own else self.select

    @property
    def ledger_path(self) -> Path:
        return self.state_dir / "ledger.sqlite3"

    @property
    def models_dir(self) -> Path:
        return self.state_dir / "models"


def leaves(model: type[BaseModel] = Settings, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The path of every key: `("immich", "batch_size")`. Those of `[[account]]`, which may come several times,
    are not among them."""
    for name, field in model.model_fields.items():
        kind = field.annotation
        if name == "account":
            continue
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from leaves(kind, (*path, name))
        else:
            yield (*path, name)


def _default_state_dir() -> Path:
    return Path(os.environ.get("XDG_STATE_HOME") or home_folder() / ".local/state") / "autotagger"


def home_folder() -> Path:
    """The home folder of this user, or `/`."""
    try:
        return Path.home()
    except RuntimeError:  # a container's made-up user has none
        return Path("/")


def split_list(value: str) -> list[str]:
    """The parts of a list that is written with commas."""
    return [part.strip() for part in value.split(",") if part.strip()]
