"""A model as every process knows it: manifest, labels, and an identity that changes when its scores would.

Neither numpy nor Pillow is needed to know a model: only the process that scores with it pays for them.
"""

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from autotagger.tagger import hub
from autotagger.tagger.labels import Label
from autotagger.tagger.manifest import Manifest
from autotagger.tagger.onnxfile import external_files, read_signature

#: Part of a model's identity: raise it when preprocess.py makes another tensor of any picture.
PREPROCESSING_VERSION = 1


@dataclass(frozen=True)
class Model:
    """A model whose files are there and fit their manifest.

    `manifest` has in it what the author's files say. `series`: the series that a character is from,
    by the name of its label, and `thresholds`: the author's, of single labels, where the label file tells them.
    """

    name: str
    folder: Path
    manifest: Manifest
    labels: tuple[Label, ...]
    series: dict[str, tuple[str, ...]] = field(default_factory=dict)
    thresholds: dict[Label, float] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """The ONNX file."""
        return self.folder / self.manifest.model

    @cached_property
    def identity(self) -> str:
        """SHA-256 in hex over all that decides the scores: weights, labels, manifest, our own preprocessing.

        Thresholds, source and licence are left out: scores stay what they are when those change. So are fields
        that say what they say by default: one more of them must not make every stored score stale. A default
        that is changed is a new PREPROCESSING_VERSION.
        """
        deciding = self.manifest.model_dump_json(
            include={"input", "output", "labels"}, exclude={"labels": {"threshold"}}, exclude_defaults=True
        )
        beside = [path for path in self.folder.iterdir() if path.name.startswith(self.manifest.model)]
        external = external_files(self.path, read_signature(self.path))
        weights = {path.resolve(): path for path in [*external, *beside]}  # each once, however it is named
        files = [*sorted(weights.values()), self.folder / self.manifest.labels.file]
        hashes = [f"{path.name} {hub.sha256_of(path)}" for path in files]
        return hashlib.sha256("\n".join([str(PREPROCESSING_VERSION), deciding, *hashes]).encode()).hexdigest()
