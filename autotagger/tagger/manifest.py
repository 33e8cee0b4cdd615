"""A model's manifest: everything the code needs to know about it. There is no `if name ==` anywhere else.

`manifest.toml` stands beside the ONNX file and the label file, or in our catalogue for models that are
downloaded. Every field left out means what the WD v3 family means, so a WD-like model needs three lines.
"""

import re
import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from autotagger.errors import StartupFailed

FILE_NAME = "manifest.toml"
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Byte = Annotated[int, Field(ge=0, le=255)]
Triple = tuple[float, float, float]
PlainName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*$")]


class Section(BaseModel):
    """Frozen, and strict about unknown fields: a typo in a manifest must not pass as a default."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class InputSpec(Section):
    """The tensor that the model wants, for one picture."""

    size: int = Field(448, ge=8, le=4096, description="Side of the square, in pixels")
    layout: Literal["NHWC", "NCHW"] = "NHWC"
    channels: Literal["RGB", "BGR"] = "BGR"
    scale: float = Field(1.0, gt=0.0, description="A byte 0..255 is multiplied by it, before mean and std")
    mean: Triple = (0.0, 0.0, 0.0)
    std: Triple = (1.0, 1.0, 1.0)
    resize: Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"] = "bicubic"
    pad: Literal["center", "none"] = Field("center", description="center: pad to a square; none: squash")
    color: tuple[Byte, Byte, Byte] = Field((255, 255, 255), description="RGB of padding and of transparency")

    @field_validator("std")
    @classmethod
    def _not_zero(cls, value: Triple) -> Triple:
        if 0.0 in value:
            raise ValueError("must not be 0: pixels are divided by it")
        return value

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of one picture, without the batch dimension."""
        return (self.size, self.size, 3) if self.layout == "NHWC" else (3, self.size, self.size)


class OutputSpec(Section):
    """Which of the model's outputs holds the scores, and what makes them 0..1."""

    index: int = Field(0, ge=0)
    activation: Literal["none", "sigmoid"] = Field("none", description="none: they are 0..1 already")


class LabelSpec(Section):
    """The label file: one row per score, in the order of the scores."""

    file: PlainName = "selected_tags.csv"
    format: Literal["wd-csv"] = Field("wd-csv", description="columns tag_id,name,category,count")
    categories: dict[str, str] = Field(
        default_factory=lambda: {"0": "general", "4": "character", "9": "rating"},
        description="What the label file calls a category, and what settings and ledger call it",
    )


class SourceFile(Section):
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int = Field(ge=1)


class Source(Section):
    """Where the files come from. Their hashes are checked after every download and at every load."""

    repo: str = Field(pattern=r"^[\w.-]+/[\w.-]+$", description="Repository on the Hugging Face hub")
    revision: str = Field(min_length=1, description="Commit: what a branch holds may change")
    files: dict[PlainName, SourceFile]


class Manifest(Section):
    """See the module. `published_threshold`: where precision equals recall, by the model's author."""

    name: PlainName
    model: PlainName = "model.onnx"
    license: str = ""
    published_threshold: Share | None = None
    input: InputSpec = InputSpec()
    output: OutputSpec = OutputSpec()
    labels: LabelSpec = LabelSpec()
    thresholds: dict[str, Share] = Field(default_factory=lambda: {"general": 0.35, "character": 0.85})
    source: Source | None = None

    @model_validator(mode="after")
    def _whole(self) -> "Manifest":
        if self.source and not {self.model, self.labels.file} <= self.source.files.keys():
            raise ValueError(f"[source.files] must list {self.model} and {self.labels.file}")
        return self


def parse_manifest(text: str, origin: Path) -> Manifest:
    """Read a manifest. Raises StartupFailed naming `origin`, the field, and what is wrong with it."""
    try:
        return Manifest.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise StartupFailed(f"{origin} is not TOML: {error}", kind="model-manifest") from None
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, problem['loc'])) or 'manifest'}: {problem['msg'].removeprefix('Value error, ')}"
            for problem in error.errors(include_url=False, include_context=False, include_input=False)
        )
        raise StartupFailed(f"{origin}: {problems}", kind="model-manifest") from None


def read_manifest(path: Path) -> Manifest:
    """Read the manifest file `path`. Raises StartupFailed."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not UTF-8"
        raise StartupFailed(f"cannot read the model's manifest {path}: {reason}", kind="model-manifest") from None
    return parse_manifest(text, path)


def wd_manifest(name: str) -> Manifest:
    """The WD v3 contract, for a folder that holds exactly that and no manifest."""
    return Manifest(name=re.sub(r"[^A-Za-z0-9._-]", "_", name).lstrip(".-") or "model")
