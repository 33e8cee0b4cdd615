"""Settings: every key with its type, range, default and description. Frozen once read; secrets never shown.

Where they come from (file, environment, command line) is `config`'s business.
"""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from autotagger.hours import Hours

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(ge=0)]
#: What begins a pattern that is a regular expression; `re:` alone begins names of danbooru (`re:zero...`).
REGEX = "regex:"
#: The account of a configuration without [[account]] sections.
DEFAULT_ACCOUNT_NAME = "default"


def _can_be_one(path: Path) -> Path:
    if "\0" in str(path):
        raise ValueError("no path holds a zero byte")
    return path


AnyPath = Annotated[Path, AfterValidator(_can_be_one)]


class Section(BaseModel):
    """Its validator is made when it first has something to validate: a child process gets ready settings."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, defer_build=True)


def _defaults() -> Any:
    """A section that nothing was said about. Its own validator need not be made for it."""
    return Field(default_factory=dict, validate_default=True)


class ImmichSettings(Section):
    """The server, the key, and how gently to treat them."""

    base_url: str = Field("", description="Address of Immich, with or without /api")
    api_key: SecretStr | None = Field(None, description="API key; better kept in a file: api_key_file")
    api_key_file: AnyPath | None = Field(None, description="File that holds the API key and nothing else")
    ca_file: AnyPath | None = Field(None, description="Certificate authority that signed Immich's certificate")
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
    max_queued: int = Field(
        500,
        ge=0,
        description="Jobs in Immich's sidecar and metadata queues above which tag calls wait (an administrator's "
        "key with queue.read, before 3.0 job.read); 0 never waits",
    )
    retry_budget_s: float = Field(
        300.0, ge=0.0, description="Seconds a call is tried again before Immich counts as unreachable"
    )
    connect_timeout_s: float = Field(10.0, gt=0.0, description="Seconds to connect")
    read_timeout_s: float = Field(60.0, gt=0.0, description="Seconds without a byte before a call is given up")
    max_picture_bytes: int = Field(64 << 20, ge=1 << 16, description="Larger pictures are not downloaded")


class AccountSettings(Section):
    """One user of the same Immich, where several users' libraries are tagged."""

    name: str = Field(min_length=1, max_length=64, description="What messages call the account")
    api_key: SecretStr | None = Field(None, description="The user's API key; better kept in a file")
    api_key_file: AnyPath | None = Field(None, description="File that holds the user's API key and nothing else")


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
    second_names: AnyPath | None = Field(
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
    picture_timeout_s: float = Field(
        120.0, gt=0.0, description="Seconds a worker may hold a picture before it is replaced; more for videos"
    )
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
        return split_list(value) if isinstance(value, str) else value

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

    state_dir: AnyPath = Field(default_factory=lambda: _default_state_dir(), description="Ledger, lock, models")
    marker: str = Field("auto:processed", description="Tag that says: autotagger was here")
    immich: ImmichSettings = _defaults()
    account: tuple[AccountSettings, ...] = Field(
        (), description="Several users' libraries: [[account]] sections, each with a key of its own"
    )
    model: ModelSettings = _defaults()
    policy: PolicySettings = _defaults()
    video: VideoSettings = _defaults()
    pipeline: PipelineSettings = _defaults()
    watch: WatchSettings = _defaults()
    verify: VerifySettings = _defaults()
    service: ServiceSettings = _defaults()
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="Least level logged")
    log_format: Literal["text", "json"] = Field("text", description="One line of text or one JSON object an event")

    @field_validator("marker")
    @classmethod
    def _plain_marker(cls, value: str) -> str:
        if not value.strip() or "/" in value:
            raise ValueError("must be a plain tag name without a slash")
        return value

    @model_validator(mode="after")
    def _accounts_differ(self) -> Self:
        names = [account.name for account in self.account]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"two [[account]] sections are called {twice}")
        if names and (self.immich.api_key or self.immich.api_key_file):
            raise ValueError(
                "an API key in [immich] (or IMMICH_API_KEY) and [[account]] sections exclude each other: "
                "give that key a section of its own"
            )
        return self

    @property
    def ledger_path(self) -> Path:
        return self.state_dir / "ledger.sqlite3"

    @property
    def models_dir(self) -> Path:
        return self.state_dir / "models"


def _default_state_dir() -> Path:
    return Path(os.environ.get("XDG_STATE_HOME") or home_folder() / ".local/state") / "autotagger"


def home_folder() -> Path:
    """The home of whoever runs us; a container's made-up user has none."""
    try:
        return Path.home()
    except RuntimeError:  # a container's made-up user has none
        return Path("/")


def split_list(value: str) -> list[str]:
    """The parts of a list that is written with commas."""
    return [part.strip() for part in value.split(",") if part.strip()]
