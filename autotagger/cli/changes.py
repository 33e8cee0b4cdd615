"""`autotagger plan`, `retag`, `undo`, `verify`: what is tagged, looked at, changed, taken back, proven."""

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autotagger.cli.context import REFUSED, SOME_FAILED, AccountOption, asset_id_of, begin
from autotagger.cli.ledger import CollectionOption, NameOption, RunOption, TagOption
from autotagger.cli.output import Format, FormatOption, print_json, print_rows

if TYPE_CHECKING:
    from autotagger.pipeline.ipc.messages import Operation
    from autotagger.pipeline.supervisor.summary import Summary
    from autotagger.settings import Settings

#: Tags of a plan that a table shows; JSON and CSV have them all.
SHOWN = 40

JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]


def plan(
    context: typer.Context,
    score: Annotated[
        int, typer.Option("--score", min=0, metavar="N", help="Score up to N pictures that have no scores yet.")
    ] = 20,
    asset: Annotated[str | None, typer.Option("--asset", metavar="ID", help="Only this asset.")] = None,
    tag: TagOption = None,
    run: RunOption = None,
    collection: CollectionOption = None,
    name: NameOption = None,
    account: AccountOption = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Dry run: what run and retag would change in Immich. Nothing is written there.

    Selections of assets combine, and mean what they do in `ledger list`; of such a selection nothing is scored.
    """
    from rich.console import Console

    from autotagger.ledger.rows import AssetFilter
    from autotagger.pipeline.operations.plan import EVERYTHING, plan_library

    settings = begin(context, account=account)
    one = asset_id_of(asset) if asset is not None else None
    chosen = AssetFilter(asset_id=one, tag=tag, run=run, collection=collection, name=name)
    score = score if chosen == EVERYTHING else 0
    planned = asyncio.run(plan_library(settings, score=score, chosen=chosen, account=account))
    tags = sorted(planned.added.keys() | planned.removed.keys())
    rows: list[dict[str, object]] = [
        {
            "tag": tag,
            "added": planned.added[tag],
            "removed": planned.removed[tag],
            "new": tag in planned.new_tags,
        }
        for tag in sorted(tags, key=lambda tag: (-planned.added[tag] - planned.removed[tag], tag))
    ]
    figures: dict[str, Any] = {
        "first": planned.first,
        "changed": planned.changed,
        "unchanged": planned.unchanged,
        "unscored": planned.unscored,
        "additions": planned.added.total(),
        "removals": planned.removed.total(),
        "new_tags": len(planned.new_tags),
        "calls": planned.calls,
        "changes": planned.changes,
        "background_s": round(planned.background_s, 1),
    }
    if form is Format.JSON:
        print_json({**figures, "tags": rows})
    elif form is Format.CSV:
        print_rows(("tag", "added", "removed", "new"), rows, form)
    else:
        print_rows(("what", "count"), [{"what": _WORDS[name], "count": n} for name, n in figures.items()], form)
        print_rows(("tag", "added", "removed", "new"), rows[:SHOWN], form)
        if len(rows) > SHOWN:
            Console().print(f"... and {len(rows) - SHOWN} more tags (--format csv has them all)")


_WORDS = {
    "first": "assets that get their first tags",
    "changed": "assets that get other tags",
    "unchanged": "assets that stay as they are",
    "unscored": "assets without scores yet: not in these figures",
    "additions": "tags put on assets",
    "removals": "tags of ours taken off assets",
    "new_tags": "tags that Immich does not have yet",
    "calls": "tag calls",
    "changes": "changes of assets",
    "background_s": "seconds of background work for Immich (2 cores)",
}


def retag(context: typer.Context, as_json: JsonOption = False) -> None:
    """Bring what is tagged to today's policy and model; stop at any time, start again at any time.

    After a change of policy nothing is downloaded or inferred. Only tags of ours are taken off.
    """
    from autotagger.errors import StartupFailed
    from autotagger.pipeline.ipc.messages import Operation
    from autotagger.pipeline.operations.retag import hand_over
    from autotagger.pipeline.run import load_model

    settings = begin(context)
    try:
        _see_to(settings, Operation("retag"), as_json)
    except StartupFailed as error:
        if error.kind != "ledger-locked":
            raise
        assets = hand_over(settings, asyncio.run(load_model(settings)))
        if as_json:
            print_json({"assets": assets, "by": "running service"})
        else:
            typer.echo(
                f"the service at work changes {assets} assets beside its other work; see `autotagger status`"
            )


def undo(
    context: typer.Context,
    run: Annotated[int | None, typer.Option("--run", metavar="R", help="What this run put there.")] = None,
    model: Annotated[str | None, typer.Option("--model", metavar="M", help="What this model brought.")] = None,
    tag: Annotated[str | None, typer.Option("--tag", metavar="T", help="This tag.")] = None,
    asset: Annotated[str | None, typer.Option("--asset", metavar="ID", help="Of this asset.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All that autotagger ever put there.")] = False,
    account: AccountOption = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Take tags of ours off again, wait until Immich has settled, and prove it by reading back.

    Selections combine; tags of other people and programs are never touched. Stop at any time, start again.
    """
    from autotagger.errors import BadConfig
    from autotagger.ledger.rows import Selection
    from autotagger.pipeline.ipc.messages import Operation

    settings = begin(context, account=account)
    selection = Selection(run=run, model=model, tag=tag, asset_id=None if asset is None else asset_id_of(asset))
    if everything == (selection != Selection()):
        raise BadConfig("say what to undo: --run, --model, --tag or --asset, or else --all")
    if tag == settings.marker:
        raise BadConfig(f"the marker {tag} leaves with the other tags: --all, or --asset ID")
    whose = f" of account {account}" if account else ""
    if not yes and not typer.confirm(f"Take {_words(selection)}{whose} off in Immich?"):
        raise typer.Abort
    _see_to(settings, Operation("undo", selection=selection), as_json)


def verify(
    context: typer.Context,
    repair: Annotated[bool, typer.Option("--repair", help="Put back what Immich lost.")] = False,
    sample: Annotated[
        float, typer.Option("--sample", min=0.0, max=1.0, metavar="P", help="Share of the assets to read.")
    ] = 1.0,
    full: Annotated[bool, typer.Option("--full", help="Read every asset (the default).")] = False,
    account: AccountOption = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Compare Immich with the ledger, asset by asset: lost, taken off by a person, come back, gone, changed."""
    from autotagger.pipeline.ipc.messages import Operation

    settings = begin(context, account=account)
    summary = _done(settings, Operation("verify", sample=1.0 if full else sample, repair=repair))
    result = summary.operation or {}
    if form is Format.JSON:
        print_json(result)
    else:
        columns = ("what", "file", "asset", "message")
        if result.get("findings") or form is Format.CSV:
            print_rows(columns, result.get("findings", []), form)
        if form is Format.TABLE:
            figures = [{"what": name, "count": count} for name, count in result.items() if name != "findings"]
            print_rows(("what", "count"), figures, form)
    if summary.refused:
        raise typer.Exit(REFUSED)
    if not repair and (result.get("missing") or result.get("came_back") or result.get("changed")):
        raise typer.Exit(SOME_FAILED)


def _words(selection: Any) -> str:
    parts = [f"tag {selection.tag!r}" if selection.tag else "all our tags"]
    parts += [f"of run {selection.run}"] if selection.run is not None else []
    parts += [f"of the model {selection.model}"] if selection.model else []
    parts += [f"of asset {selection.asset_id}"] if selection.asset_id else []
    return " ".join(parts)


def _done(settings: "Settings", operation: "Operation") -> "Summary":
    from autotagger.cli.progress import shown_progress
    from autotagger.pipeline.run import run_errand

    with shown_progress(settings.log_level) as report:
        return asyncio.run(run_errand(settings, operation, report=report))


def _see_to(settings: "Settings", operation: "Operation", as_json: bool) -> None:
    from rich.console import Console

    from autotagger.cli.progress import summary_table

    summary = _done(settings, operation)
    if as_json:
        print_json(summary.as_dict())
    else:
        Console().print(summary_table(summary))
    if summary.refused:
        raise typer.Exit(REFUSED)
