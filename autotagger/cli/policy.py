"""`autotagger policy`: how the settings turn scores into tags, of one picture or of all."""

import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from loguru import logger

from autotagger.cli.context import begin, config_path
from autotagger.cli.output import Format, FormatOption, print_json, print_rows
from autotagger.cli.scoring import open_scorer
from autotagger.config import load_settings
from autotagger.errors import AssetFailed, BadConfig
from autotagger.lines import printable
from autotagger.settings import Settings

if TYPE_CHECKING:
    from autotagger.ledger.reader import LedgerReader
    from autotagger.pipeline.decider import TagDecider
    from autotagger.policy.explain import Explained
    from autotagger.policy.stats import PolicyStats
    from autotagger.scores import SparseScores

policy = typer.Typer(
    name="policy",
    help="Show how the settings turn scores into tags. Changes nothing.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_EXPLAINED = ("label", "category", "score", "threshold", "kept", "rule", "tags")
_COUNTED = ("tag", "assets", "just in", "just out")
_CHANGED = ("gained", "lost")
#: Names that a table shows for keys of the JSON, which stay as they are.
_LABELS = {
    "fewest": "minimum tags per asset",
    "median": "median",
    "95 of 100 at most": "95th percentile",
    "most": "maximum",
}


@policy.command("test")
def explain_one(
    context: typer.Context,
    subject: Annotated[
        str, typer.Argument(metavar="FILE|ASSET_ID", help="A picture, or the id of a scored asset.")
    ],
    form: FormatOption = Format.TABLE,
) -> None:
    """Explain the tags of one picture.

    Shows every score, the rule that kept or dropped it, and the final tags.
    """
    settings = begin(context)
    if Path(subject).exists():
        decider, scores = _score_file(settings, Path(subject))
        lines = decider.explain(scores)
    else:
        decider, scores, lines = _stored_asset(settings, subject)
    tags = [tag for line in lines for tag in line.tags]
    rows = [_explained_row(line) for line in lines]
    if scores.seen is not None:
        seen = dict(zip(scores.labels.tolist(), scores.seen.tolist(), strict=True))
        by_label = {decider.policy.labels[row]: count for row, count in seen.items()}
        for row in rows:
            row["frames"] = f"{by_label.get((row['label'], row['category']), 0)}/{scores.frames}"
    if form is Format.JSON:
        print_json({"subject": subject, "tags": tags, "labels": rows})
        return
    columns = (*_EXPLAINED, "frames") if scores.seen is not None else _EXPLAINED
    print_rows(columns, [_flat(row) for row in rows], form)
    if form is Format.TABLE:
        typer.echo(f"\n{len(tags)} tags: {printable(', '.join(tags))}")


@policy.command("stats")
def count_all(
    context: typer.Context,
    threshold: Annotated[
        list[str] | None,
        typer.Option(metavar="CATEGORY=SCORE", help="Show what this threshold would change; can be repeated."),
    ] = None,
    top: Annotated[int, typer.Option(min=0, help="Maximum number of tags to list; 0 lists all.")] = 30,
    form: FormatOption = Format.TABLE,
) -> None:
    """Count the tags of all scored assets, without running the model."""
    from autotagger.ledger.reader import LedgerReader
    from autotagger.pipeline.decider import TagDecider
    from autotagger.policy.stats import collect
    from autotagger.scores import unpack

    settings = begin(context)
    given = _thresholds(threshold or [])
    with LedgerReader(settings.ledger_path) as ledger:
        model, name = _scored_most(ledger)
        policy = TagDecider.of_stored(ledger, model, settings).policy
        other = None
        if given:
            others = load_settings(config_path(context), {"policy": {"threshold": given}})
            other = TagDecider.of_stored(ledger, model, others).policy
        found = collect(policy, (unpack(packed) for _, packed in ledger.stored_scores(model)), other)
    _print_stats(found, name, settings.policy.vocabulary, top, form, compared=bool(given))


# -- where scores come from -----------------------------------------------------------------------------------


def _score_file(settings: Settings, file: Path) -> tuple["TagDecider", "SparseScores"]:
    decider, score = open_scorer(settings)
    try:
        return decider, score(file)
    except AssetFailed as error:
        raise AssetFailed(f"{file}: {error.message}", kind=error.kind) from None


def _stored_asset(
    settings: Settings, subject: str
) -> tuple["TagDecider", "SparseScores", tuple["Explained", ...]]:
    from autotagger.ledger.reader import LedgerReader
    from autotagger.pipeline.decider import TagDecider
    from autotagger.scores import unpack

    try:
        asset_id = str(uuid.UUID(subject))
    except ValueError:
        raise BadConfig(f"{subject} is neither an existing file nor an asset id") from None
    with LedgerReader(settings.ledger_path) as ledger:
        scored = ledger.scores_of(asset_id)
        if scored is None:
            raise AssetFailed(f"the ledger has no scores of asset {asset_id}: a run must score it first")
        decider = TagDecider.of_stored(ledger, scored.model, settings)
        decider.tags([scored])  # as a run does: what may get into the vocabulary does
        scores = unpack(scored.packed)
        return decider, scores, decider.explain(scores, scored.key)


def _scored_most(ledger: "LedgerReader") -> tuple[int, str]:
    """The model with the most stored scores: its id in the ledger, and its name."""
    models = [row for row in ledger.models() if row.scores]
    if not models:
        raise AssetFailed("the ledger has no scores yet: `autotagger run` makes them")
    for row in models[1:]:
        logger.warning("skipping {} scores by {}: another model has more", row.scores, row.name)
    return models[0].id, models[0].name


def _thresholds(given: list[str]) -> dict[str, str]:
    found = {}
    for text in given:
        category, equals, score = text.partition("=")
        if not equals:
            raise BadConfig(f"--threshold {text}: write it as general=0.3")
        found[category.strip()] = score.strip()
    return found


# -- printing -------------------------------------------------------------------------------------------------


def _explained_row(line: "Explained") -> dict[str, Any]:
    return {
        "label": line.label,
        "category": line.category,
        "score": None if line.score is None else round(line.score, 4),
        "threshold": None if line.limit is None else round(line.limit, 4),
        "kept": line.kept,
        "rule": line.reason,
        "tags": line.tags,
    }


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    return {**row, "kept": "yes" if row["kept"] else "no", "tags": ", ".join(row["tags"])}


def _print_stats(
    found: "PolicyStats", model: str, vocabulary: int, top: int, form: Format, *, compared: bool
) -> None:
    columns = (*_COUNTED, *_CHANGED) if compared else _COUNTED
    # What another threshold changes most goes first where one is given.
    order = sorted(found.tags, key=lambda tag: -(tag.gained + tag.lost)) if compared else found.tags
    rows = [
        {
            "tag": tag.tag,
            "assets": tag.assets,
            "just in": tag.just_in,
            "just out": tag.just_out,
            "gained": tag.gained,
            "lost": tag.lost,
        }
        for tag in (order[:top] if top else order)
    ]
    if form is Format.CSV:
        print_rows(columns, rows, form)
        return
    summary = _summary(found, model, vocabulary, compared=compared)
    if form is Format.JSON:
        print_json({**summary, "tags": [{column: row[column] for column in columns} for row in rows]})
        return
    labelled = [{"what": _LABELS.get(what, what), "value": value} for what, value in summary.items()]
    print_rows(("what", "value"), labelled, form)
    typer.echo("")
    print_rows(columns, rows, form)


def _summary(found: "PolicyStats", model: str, vocabulary: int, *, compared: bool) -> Mapping[str, Any]:
    distinct = sum(bool(tag.assets) for tag in found.tags)
    summary: dict[str, Any] = {
        "model": model,
        "assets": found.assets,
        "tags on assets": found.links,
        "tags per asset": round(found.links / found.assets, 1) if found.assets else 0,
        "fewest": min(found.per_asset, default=0),
        "median": found.quantile(0.5),
        "95 of 100 at most": found.quantile(0.95),
        "most": max(found.per_asset, default=0),
        "different tags": distinct,
        "vocabulary": vocabulary or "no limit",
    }
    if compared:
        summary |= {
            "assets that would change": found.changed,
            "tags gained": sum(tag.gained for tag in found.tags),
            "tags lost": sum(tag.lost for tag in found.tags),
            "different tags then": sum(bool(tag.assets + tag.gained - tag.lost) for tag in found.tags),
        }
    return summary
