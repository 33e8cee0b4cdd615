"""A model's manifest: everything the code needs to know about it. There is no `if name ==` anywhere else.

`manifest.toml` stands beside the ONNX file and the label file, or in our catalogue for models that are
downloaded. Every field left out means what the WD v3 family means, so a WD-like model needs three lines.
"""

import re
import tomllib
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from autotagger.errors import StartupFailed

FILE_NAME = "manifest.toml"
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Byte = Annotated[int, Field(ge=0, le=255)]
Triple = tuple[float, float, float]
Side = Annotated[int, Field(ge=8, le=4096)]
Color = tuple[Byte, Byte, Byte]
Filter = Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]
PlainName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*$")]


class Section(BaseModel):
    """Frozen, and strict about unknown fields: a typo in a manifest must not pass as a default.

    Its validator is made when it first has something to validate: a child process gets a ready manifest.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, defer_build=True)


class PadToSize(Section):
    """Resize to fit into `size` (width, height), the ratio kept, and pad on both sides to exactly that."""

    type: Literal["pad_to_size"] = "pad_to_size"
    size: tuple[Side, Side]
    color: Color = (255, 255, 255)
    filter: Filter = "bilinear"


class Resize(Section):
    """Resize to (width, height); where `size` is one number the shorter side gets it and the ratio is kept."""

    type: Literal["resize"] = "resize"
    size: Side | tuple[Side, Side]
    filter: Filter = "bilinear"


class CenterCrop(Section):
    """Cut (width, height) out of the middle."""

    type: Literal["center_crop"] = "center_crop"
    size: tuple[Side, Side]


Stage = Annotated[PadToSize | Resize | CenterCrop, Field(discriminator="type")]


class InputSpec(Section):
    """The tensor that the model wants, for one picture."""

    size: Side = Field(448, description="Side of the square, in pixels")
    layout: Literal["NHWC", "NCHW"] = "NHWC"
    channels: Literal["RGB", "BGR"] = "BGR"
    scale: float = Field(1.0, gt=0.0, description="A byte 0..255 is multiplied by it, before mean and std")
    mean: Triple = (0.0, 0.0, 0.0)
    std: Triple = (1.0, 1.0, 1.0)
    resize: Filter = "bicubic"
    pad: Literal["center", "edge", "none"] = Field(
        "center", description="To a square with pad_color, or with the picture's edge pixels; none: squash"
    )
    order: Literal["pad-first", "resize-first"] = Field(
        "pad-first", description="resize-first: the longer side to `size`, then pad"
    )
    color: Color = Field((255, 255, 255), description="RGB under transparency, and of padding")
    pad_color: Color | None = Field(None, description="RGB of padding, where it is another one")
    stages: tuple[Stage, ...] = Field(
        (),
        description="What is done instead of resize, pad and order: one after the other, as preprocess.json says",
    )

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

    @model_validator(mode="after")
    def _possible(self) -> "InputSpec":
        if self.pad == "edge" and self.order == "pad-first":
            raise ValueError('pad = "edge" is done after resizing: it needs order = "resize-first"')
        return self

    @property
    def padding(self) -> Color:
        """RGB of the padding."""
        return self.color if self.pad_color is None else self.pad_color


class OutputSpec(Section):
    """Which of the model's outputs holds the scores, and what makes them 0..1."""

    index: int = Field(0, ge=0, description="The first one is 0")
    name: str | None = Field(None, min_length=1, description="Goes before the index")
    activation: Literal["none", "sigmoid"] = Field("none", description="none: they are 0..1 already")


class LabelSpec(Section):
    """The label file: one entry per score, in the order of the scores.

    `wd-csv`: columns `name` and `category`, in any place among others. `lines`: a name a line; what it begins
    with (`rating:`) tells the category. `tag-mapping`: JSON, {"0": {"tag", "category"}}. `camie`: JSON,
    {"dataset_info": {"tag_mapping": {"idx_to_tag", "tag_to_category"}}}, or those two at the top.
    """

    file: PlainName = "selected_tags.csv"
    format: Literal["wd-csv", "lines", "tag-mapping", "camie"] = "wd-csv"
    categories: dict[str, str] = Field(
        default_factory=lambda: {"0": "general", "4": "character", "9": "rating"},
        description="What the label file calls a category, and what settings and ledger call it",
    )
    strip: dict[str, str] = Field(
        default_factory=dict, description="Per category (ours) what its names begin with that is not theirs"
    )
    series: str | None = Field(
        None, description="Column of a CSV: JSON list of the series that a character is from", min_length=1
    )
    threshold: str | None = Field(
        None, description="Column of a CSV, where it has it: the author's threshold of each label", min_length=1
    )


class SourceFile(Section):
    """A file of a repository. What its author did not publish and we could not look up is left out: the hash
    of the first download is then written down in the model's folder, and later ones are held against it."""

    sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$")
    bytes: int | None = Field(None, ge=1)
    path: str | None = Field(None, description="Where the repository has it, if not at the top by this name")

    @field_validator("path")
    @classmethod
    def _relative(cls, value: str | None) -> str | None:
        if value and (value.startswith("/") or ".." in PurePosixPath(value).parts or "\\" in value):
            raise ValueError("must be a path inside the repository")
        return value


class Source(Section):
    """Where the files come from. Their hashes are checked after every download and at every load."""

    repo: str = Field(pattern=r"^[\w.-]+/[\w.-]+$", description="Repository on the Hugging Face hub")
    revision: str = Field(min_length=1, description="Commit: what a branch holds may change")
    files: dict[PlainName, SourceFile]


class Manifest(Section):
    """See the module.

    `label_count` is for listings. `published_threshold`: where precision equals recall, by the model's author.
    `preprocess` and `category_thresholds` name files beside the model that its author wrote: they say the
    input's stages, scale, mean and std, and the thresholds, and go before what stands here.
    """

    name: PlainName
    model: PlainName = "model.onnx"
    license: str = ""
    label_count: int | None = Field(None, ge=1)
    preprocess: PlainName | None = None
    category_thresholds: PlainName | None = None
    published_threshold: Share | None = None
    input: InputSpec = Field(default_factory=InputSpec)
    output: OutputSpec = Field(default_factory=OutputSpec)
    labels: LabelSpec = Field(default_factory=LabelSpec)
    thresholds: dict[str, Share] = Field(default_factory=lambda: {"general": 0.35, "character": 0.85})
    source: Source | None = None

    @model_validator(mode="after")
    def _whole(self) -> "Manifest":
        needed = [self.model, self.labels.file, self.preprocess, self.category_thresholds]
        missing = [name for name in needed if self.source and name and name not in self.source.files]
        if missing:
            raise ValueError(f"[source.files] must list {' and '.join(missing)}")
        return self


def parse_manifest(text: str, origin: Path) -> Manifest:
    """Read a manifest. Raises StartupFailed naming `origin`, the field, and what is wrong with it."""
    try:
        return Manifest.model_validate(tomllib.loads(text))
    except ValidationError as error:
        raise StartupFailed(f"{origin}: {problems_of(error)}", kind="model-manifest") from None
    except (ValueError, RecursionError) as error:  # also a number of 5,000 digits, and brackets without end
        raise StartupFailed(f"{origin} is not TOML: {error}", kind="model-manifest") from None


def problems_of(error: ValidationError) -> str:
    """Every field that is wrong, and what is wrong with it, on one line."""
    return "; ".join(
        f"{'.'.join(map(str, problem['loc'])) or 'manifest'}: {problem['msg'].removeprefix('Value error, ')}"
        for problem in error.errors(include_url=False, include_context=False, include_input=False)
    )


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
