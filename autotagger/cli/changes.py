"""`autotagger plan`, `retag`, `undo`, `verify`: what happens to tags that are there."""

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autotagger.cli.context import SOME_FAILED, AccountOption, asset_id_of, begin
from autotagger.cli.endings import confirmed, leave_as
from autotagger.cli.ledger import CollectionOption, NameOption, RunOption, TagOption
from autotagger.cli.output import Format, FormatOption, print_json, print_rows
from autotagger.lines import printable

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
    """Show what run and retag would change in Immich, without changing it.

    Selections combine, as in `ledger list`. With a selection, nothing new is scored.
    """
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
    counts: dict[str, Any] = {
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
        "not_selected": planned.not_selected,
        "left_selection": planned.left,
    }
    if form is Format.JSON:
        print_json({**counts, "tags": rows})
    elif form is Format.CSV:
        print_rows(("tag", "added", "removed", "new"), rows, form)
    else:
        print_rows(("what", "count"), [{"what": _WORDS[name], "count": n} for name, n in counts.items()], form)
        print_rows(("tag", "added", "removed", "new"), rows[:SHOWN], form)
        if len(rows) > SHOWN:
            typer.echo(f"... and {len(rows) - SHOWN} more tags (--format csv lists all)")


_WORDS = {
    "first": "assets that get their first tags",
    "changed": "assets whose tags change",
    "unchanged": "assets whose tags stay the same",
    "unscored": "assets without scores (not in these numbers)",
    "additions": "tags to add to assets",
    "removals": "tags of autotagger to remove from assets",
    "new_tags": "tags to create in Immich",
    "calls": "tag calls",
    "changes": "asset changes",
    "background_s": "seconds of background work for Immich (2 cores)",
    "not_selected": "assets that [select] leaves out",
    "left_selection": "assets that left the selection and keep their tags (undo --unselected)",
}


def retag(context: typer.Context, as_json: JsonOption = False) -> None:
    """Update the tags of tagged assets to the current policy and model.

    After a change of policy nothing is downloaded or scored again. Only tags of autotagger are removed. You can
    stop this command at any time and start it again.
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
                f"the running service changes {assets} assets besides its other work; see `autotagger status`"
            )


def undo(
    context: typer.Context,
    run: Annotated[int | None, typer.Option("--run", metavar="R", help="Tags that this run added.")] = None,
    model: Annotated[str | None, typer.Option("--model", metavar="M", help="Tags that this model gave.")] = None,
    tag: Annotated[str | None, typer.Option("--tag", metavar="T", help="Only this tag.")] = None,
    asset: Annotated[str | None, typer.Option("--asset", metavar="ID", help="Tags of this asset.")] = None,
    unselected: Annotated[
        bool, typer.Option("--unselected", help="Tags of assets that left the selection ([select]).")
    ] = False,
    everything: Annotated[bool, typer.Option("--all", help="Every tag that autotagger ever added.")] = False,
    account: AccountOption = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Remove tags of autotagger from Immich, and check that they are gone.

    Selections combine. Tags of people and of other programs stay. You can stop this command at any time and start
    it again.
    """
    from autotagger.errors import BadConfig
    from autotagger.ledger.rows import Selection
    from autotagger.pipeline.ipc.messages import Operation

    settings = begin(context, account=account)
    selection = Selection(
        run=run,
        model=model,
        tag=tag,
        asset_id=None if asset is None else asset_id_of(asset),
        unselected=unselected,
    )
    if everything == (selection != Selection()):
        raise BadConfig(
            "choose what to undo: --run, --model, --tag, --asset or --unselected, or --all for everything"
        )
    if tag == settings.marker:
        raise BadConfig(f"the marker {tag} is only removed together with the other tags: use --all or --asset ID")
    whose = f" of account {account}" if account else ""
    if not yes and not confirmed(printable(f"Remove {_words(selection)}{whose} from Immich?")):
        raise typer.Abort
    _see_to(settings, Operation("undo", selection=selection), as_json)


def verify(
    context: typer.Context,
    repair: Annotated[bool, typer.Option("--repair", help="Restore missing tags.")] = False,
    deleted_tags: Annotated[
        bool,
        typer.Option(
            "--deleted-tags", help="With --repair: also restore tags that were deleted in Immich's tag page."
        ),
    ] = False,
    sample: Annotated[
        float,
        typer.Option("--sample", min=0.0, max=1.0, metavar="P", help="Share of the assets to check, 0 to 1."),
    ] = 1.0,
    full: Annotated[bool, typer.Option("--full", help="Check every asset (the default).")] = False,
    account: AccountOption = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Compare Immich with the ledger and list the differences.

    A tag can be missing, removed by a person, deleted in the tag page, or back after its removal; an asset can be
    gone or changed. Before --repair changes anything, it says what many assets have in common.
    """
    from autotagger.errors import BadConfig
    from autotagger.pipeline.ipc.messages import Operation

    if deleted_tags and not repair:
        raise BadConfig("--deleted-tags needs --repair")
    settings = begin(context, account=account)
    share = 1.0 if full else sample
    asked = Operation("verify", sample=share, repair=repair, deleted_tags=deleted_tags)
    summary = _done(settings, asked)
    result = summary.operation or {}
    if form is Format.JSON:
        print_json(result)
    else:
        columns = ("what", "file", "asset", "message")
        if result.get("findings") or form is Format.CSV:
            print_rows(columns, result.get("findings", []), form)
        if form is Format.TABLE:
            counts = [{"what": name, "count": n} for name, n in result.items() if isinstance(n, int)]
            deleted = result.get("deleted_tags", [])
            counts += [{"what": f"deleted in Immich: {one['tag']}", "count": one["assets"]} for one in deleted]
            print_rows(("what", "count"), counts, form)
    leave_as(summary)
    if not repair and any(map(result.get, ("missing", "unmarked", "came_back", "changed"))):
        raise typer.Exit(SOME_FAILED)


def _words(selection: Any) -> str:
    parts = [f"the tag {selection.tag!r}" if selection.tag else "all tags of autotagger"]
    parts += [f"of run {selection.run}"] if selection.run is not None else []
    parts += [f"of the model {selection.model}"] if selection.model else []
    parts += [f"of asset {selection.asset_id}"] if selection.asset_id else []
    parts += ["of assets that left the selection"] if selection.unselected else []
    return " ".join(parts)


def _done(settings: "Settings", operation: "Operation") -> "Summary":
    from autotagger.cli.progress import shown_progress
    from autotagger.pipeline.run import run_operation

    with shown_progress(settings.log_level) as report:
        return asyncio.run(run_operation(settings, operation, report=report))


def _see_to(settings: "Settings", operation: "Operation", as_json: bool) -> None:
    from rich.console import Console

    from autotagger.cli.progress import summary_table

    summary = _done(settings, operation)
    if as_json:
        print_json(summary.as_dict())
    else:
        Console().print(summary_table(summary))
    leave_as(summary)
    if any(map((summary.operation or {}).get, ("left", "still_marked"))):  # of undo, which has said why
        raise typer.Exit(SOME_FAILED)
