"""`autotagger tag`: tag local pictures, the same way as the service tags those of Immich."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
from loguru import logger

from autotagger.cli.context import SOME_FAILED, begin
from autotagger.cli.output import Format, FormatOption, encodable, print_json, print_rows
from autotagger.config import Settings
from autotagger.errors import AssetFailed, Retryable

#: So many of the best scores stand beside the tags in a table; JSON and CSV have them all.
SCORES_SHOWN = 6


@dataclass(frozen=True, slots=True)
class Tagged:
    """A picture's final tag names, and its labels with their scores (0.05..1); both best first."""

    file: str
    tags: tuple[str, ...]
    scores: dict[str, float]


def tag(
    context: typer.Context,
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Pictures.", show_default=False)],
    model: Annotated[
        str | None, typer.Option(metavar="NAME|FOLDER", help="Instead of the model of the settings.")
    ] = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Tag local pictures and print their scores. Changes nothing anywhere.

    JSON is a list of {"file", "tags", "scores"}; CSV has a line per label.
    """
    tag_file = _open_tagger(begin(context, {"model": {"name": model}}))
    done = []
    for file in files:
        try:
            done.append(tag_file(file))
        except (AssetFailed, Retryable) as error:
            logger.error("{}: {}", file, error.message)
    _print(done, form)
    if len(done) < len(files):
        raise typer.Exit(SOME_FAILED)


def _open_tagger(settings: Settings) -> Callable[[Path], Tagged]:
    """What tags one file. Raises BadConfig or StartupFailed for the model; what it returns, AssetFailed."""
    import numpy as np

    from autotagger.policy.rules import TagPolicy
    from autotagger.scores import SCORE_FLOOR, pack, unpack
    from autotagger.tagger.catalog import find_model
    from autotagger.tagger.preprocess import prepare
    from autotagger.tagger.session import open_session

    model = find_model(settings.model.name, settings.models_dir, download=True)
    policy = TagPolicy(model.labels, settings.policy, model.manifest.thresholds, settings.marker)
    # Pictures come one after another: all cores work on one.
    session = open_session(model, device=settings.model.device, streams=1)

    def tag_file(file: Path) -> Tagged:
        picture = prepare(_read(file), model.manifest.input)
        # Packed as in the ledger: the service's tags come from scores that went through it.
        sparse = unpack(pack(session.scores(picture[np.newaxis])[0], policy.always))
        best_first = sorted(zip(sparse.values.tolist(), sparse.labels.tolist(), strict=True), reverse=True)
        scores = {model.labels[row].name: round(score, 5) for score, row in best_first if score >= SCORE_FLOOR}
        return Tagged(encodable(file), policy.tags(sparse), scores)

    return tag_file


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise AssetFailed(f"cannot be read: {error.strerror}", kind="unreadable") from None


def _print(done: list[Tagged], form: Format) -> None:
    match form:
        case Format.JSON:
            print_json([asdict(tagged) for tagged in done])
        case Format.CSV:
            rows = [
                {"file": tagged.file, "label": label, "score": score}
                for tagged in done
                for label, score in tagged.scores.items()
            ]
            print_rows(("file", "label", "score"), rows, form)
        case Format.TABLE:
            print_rows(("file", "tags", "best scores"), [_table_row(tagged) for tagged in done], form)


def _table_row(tagged: Tagged) -> dict[str, str]:
    best = list(tagged.scores.items())[:SCORES_SHOWN]
    return {
        "file": tagged.file,
        "tags": ", ".join(tagged.tags),
        "best scores": ", ".join(f"{label} {score:.2f}" for label, score in best),
    }
