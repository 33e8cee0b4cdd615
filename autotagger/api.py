"""Tagging files from Python, the same way as `autotagger tag`:

import autotagger

tagger = autotagger.load("wd-vit-tagger-v3")
print(tagger.tag("picture.jpg").tags)
"""

from dataclasses import dataclass
from pathlib import Path

from autotagger.config import load_settings
from autotagger.scorer import open_scorer


@dataclass(frozen=True, slots=True)
class Label:
    """A label of the model: its name there (`long_hair`), its category (`general`), and its score, 0..1."""

    name: str
    category: str
    score: float


@dataclass(frozen=True, slots=True)
class Result:
    """What a file gets. `tags`: the names by the policy, best first. `labels`: all with a score of at least 0.05,
    best first."""

    tags: tuple[str, ...]
    labels: tuple[Label, ...]


class Tagger:
    """A model in memory, with the rules that make tags of its scores. For one thread at a time."""

    def __init__(self, model: str | None = None, *, config: Path | None = None, **policy: object) -> None:
        """Open a model, and download it first where it has to be.

        `model`: a name in the catalogue or a path; None takes [model] name. `config`: the configuration file;
        None takes the one that the command line reads. `policy`: keys of [policy], for example
        `threshold={"general": 0.5}`. Raises autotagger.errors.BadConfig for a wrong setting or name, and
        StartupFailed where the model cannot be had or does not work.
        """
        settings = load_settings(config, {"model": {"name": model}, "policy": policy})
        self._decider, self._score = open_scorer(settings)

    def tag(self, file: Path | str) -> Result:
        """The tags of a picture, a video or an animation. Raises autotagger.errors.AssetFailed for a file that
        cannot be read, and Retryable where the device failed."""
        policy, scores = self._decider.policy, self._score(Path(file))
        rows = sorted(zip(scores.values.tolist(), scores.labels.tolist(), strict=True), reverse=True)
        named = ((policy.labels[row], score) for score, row in rows)
        labels = tuple(Label(name, category, round(score, 5)) for (name, category), score in named)
        return Result(policy.tags(scores), labels)
