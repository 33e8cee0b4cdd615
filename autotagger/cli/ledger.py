"""`autotagger ledger`: inspect the ledger and maintain its file."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autotagger.cli.context import NO_START, SOME_FAILED, AccountOption, asset_id_of, begin, look
from autotagger.cli.output import Format, FormatOption, encodable, print_json, print_rows
from autotagger.errors import BadConfig

if TYPE_CHECKING:
    from autotagger.ledger.reader import LedgerReader
    from autotagger.ledger.rows import AssetFilter, AssetRow

ledger = typer.Typer(
    name="ledger",
    help="Inspect the ledger and maintain its file. Safe during a run.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_LISTED = ("asset", "file", "state", "trouble", "model", "run", "collection", "again")
_EXPORTED = (*_LISTED, "account", "kind", "mime", "checksum", "attempts", "repairs", "tags")
_REJECTED = ("asset", "file", "tag", "model", "run")

StateOption = Annotated[
    list[str] | None, typer.Option("--state", metavar="STATE", help="Only assets in this state; can be repeated.")
]
ErrorOption = Annotated[
    str | None, typer.Option("--error", metavar="CLASS", help="Only assets with this error class.")
]
TagOption = Annotated[str | None, typer.Option("--tag", metavar="T", help="Only assets with this tag.")]
ModelOption = Annotated[
    str | None, typer.Option("--model", metavar="M", help="Only assets with scores of this model.")
]
RunOption = Annotated[
    int | None, typer.Option("--run", metavar="R", help="Only assets that this run decided last.")
]
CollectionOption = Annotated[
    int | None,
    typer.Option("--collection", metavar="N", help="Only assets of this collection (column `collection`)."),
]
NameOption = Annotated[
    str | None,
    typer.Option("--name", metavar="PATTERN", help="Only file names like 'IMG_*.jpg' (wildcards: *, ?, [...])."),
]


@ledger.command("list")
def list_assets(
    context: typer.Context,
    state: StateOption = None,
    error: ErrorOption = None,
    tag: TagOption = None,
    model: ModelOption = None,
    run: RunOption = None,
    collection: CollectionOption = None,
    name: NameOption = None,
    account: AccountOption = None,
    rejected: Annotated[
        bool, typer.Option("--rejected", help="List instead the tags that a person removed; they stay removed.")
    ] = False,
    sort: Annotated[str, typer.Option(help="Order: asset (as discovered), state, collection or name.")] = "asset",
    after: Annotated[
        str | None, typer.Option(metavar="ID", help="Start after this asset; needs --sort asset.")
    ] = None,
    limit: Annotated[int, typer.Option(min=0, help="Maximum number of assets; 0 lists all.")] = 100,
    form: FormatOption = Format.TABLE,
) -> None:
    """List assets, one page at a time."""
    from autotagger.ledger.reader import LedgerReader
    from autotagger.ledger.reports import SORTS

    settings = look(context)
    if sort not in SORTS:
        raise BadConfig(f"--sort {sort}: choose one of {', '.join(SORTS)}")
    if after is not None and sort != "asset":
        raise BadConfig("--after needs --sort asset")
    with LedgerReader(settings.ledger_path) as ledger:
        if rejected:
            mine = ledger if account is None else ledger.of_account(ledger.account_named(account))
            _list_rejected(mine, limit or None, form)
            return
        chosen = _filter(ledger, state, error, tag, model, run, collection, name, account, after)
        rows = [_row(asset) for asset in ledger.assets(chosen, sort=sort, limit=limit or None)]
    print_rows(_LISTED, rows, form)
    if form is Format.TABLE and rows and len(rows) == limit and sort == "asset":
        typer.echo(f"\nfor the next page: --after {rows[-1]['asset']}")


@ledger.command("show")
def show(
    context: typer.Context,
    asset: Annotated[str, typer.Argument(metavar="ASSET", help="Id of the asset.")],
    form: FormatOption = Format.TABLE,
) -> None:
    """Show everything known about one asset, and its history."""
    from autotagger.ledger.reader import LedgerReader

    settings = look(context)
    asset_id = asset_id_of(asset)
    with LedgerReader(settings.ledger_path) as ledger:
        row = ledger.known(asset_id)
        links = [
            {"tag": link.tag, "state": link.state.name.lower(), "model": link.model, "policy": link.policy}
            | {"run": link.run}
            for link in ledger.links_told(row.key)
        ]
        deeds = [
            {"at": _when(deed.at_ms), "run": deed.run, "what": deed.what.name.lower(), "note": deed.note}
            for deed in ledger.history(row.key)
        ]
    facts = _facts(row)
    if form is Format.JSON:
        print_json({**facts, "links": links, "history": deeds})
        return
    if form is Format.CSV:
        print_rows(("at", "run", "what", "note"), deeds, form)
        return
    print_rows(("what", "value"), [{"what": what, "value": value} for what, value in facts.items()], form)
    typer.echo("")
    print_rows(("tag", "state", "model", "policy", "run"), links, form)
    typer.echo("")
    print_rows(("at", "run", "what", "note"), deeds, form)


@ledger.command("dismiss")
def dismiss(
    context: typer.Context,
    asset: Annotated[str | None, typer.Argument(metavar="[ID]", help="The asset's id.")] = None,
    kind: Annotated[
        str | None,
        typer.Option(
            "--error", metavar="CLASS", help="Every asset with this error class; see `autotagger status`."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")] = False,
) -> None:
    """Set an asset, or a class of failed assets, aside for good.

    They count as skipped (dismissed) and fail no run any more. `autotagger retry --error dismissed`, or
    `autotagger retry --asset ID`, takes them back.
    """
    from autotagger.pipeline.operations.retry import dismiss as set_aside

    settings = begin(context)
    if (asset is None) == (kind is None):
        raise BadConfig("name one asset by its id, or an error class with --error")
    outcome = set_aside(settings, kind, asset_id_of(asset) if asset is not None else None)
    if as_json:
        print_json({"assets": outcome.assets, "by": outcome.by})
        return
    typer.echo(outcome.told)


@ledger.command("export")
def export(
    context: typer.Context,
    state: StateOption = None,
    error: ErrorOption = None,
    tag: TagOption = None,
    model: ModelOption = None,
    run: RunOption = None,
    collection: CollectionOption = None,
    name: NameOption = None,
    account: AccountOption = None,
    form: Annotated[Format, typer.Option("--format", help="csv, or json with one object per line.")] = Format.CSV,
) -> None:
    """Print every asset with the tags that it should have."""
    import csv
    import io
    import sys

    import orjson

    from autotagger.ledger.reader import LedgerReader

    settings = look(context)
    if form is Format.TABLE:
        raise BadConfig("--format table does not work here: choose csv or json, or use `autotagger ledger list`")
    with LedgerReader(settings.ledger_path) as ledger:
        chosen = _filter(ledger, state, error, tag, model, run, collection, name, account, None)
        out = sys.stdout.buffer
        text = io.StringIO()
        writer = csv.DictWriter(text, _EXPORTED, lineterminator="\n")
        if form is Format.CSV:
            writer.writeheader()
        for row in _exported(ledger, chosen):
            if form is Format.JSON:
                out.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
                continue
            writer.writerow({**row, "tags": "; ".join(row["tags"])})
            out.write(text.getvalue().encode("utf-8", "backslashreplace"))
            text.seek(0)
            text.truncate()
        out.write(text.getvalue().encode("utf-8"))
        out.flush()


@ledger.command("backup")
def backup(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="File to write; it must not exist yet.")],
) -> None:
    """Copy the ledger and check the copy. Safe during a run."""
    from autotagger.ledger.care import back_up

    size = back_up(look(context).ledger_path, file)
    typer.echo(
        f"{encodable(file)}: {size} bytes, checked. To use it, stop the service and replace the ledger with it"
    )


@ledger.command("check")
def check(context: typer.Context, form: FormatOption = Format.TABLE) -> None:
    """Check the ledger for damage.

    It checks the pages of the file, the references between tables, and rules that must always hold. Ends with 3 if
    the ledger must be restored, and with 1 if `autotagger verify --repair` is enough.
    """
    from autotagger.ledger.care import inspect

    findings = inspect(look(context).ledger_path)
    rows = [
        {"what": one.what, "count": one.count, "assets": ", ".join(one.examples), "advice": one.advice}
        for one in findings
    ]
    if rows or form is not Format.TABLE:
        print_rows(("what", "count", "assets", "advice"), rows, form)
    if not rows and form is Format.TABLE:
        typer.echo("the ledger is sound")
    if rows:
        raise typer.Exit(NO_START if any(one.is_damage for one in findings) else SOME_FAILED)


@ledger.command("vacuum")
def vacuum(context: typer.Context) -> None:
    """Return unused space to the disk.

    Stop the service first. Needs as much free space as the ledger uses.
    """
    from autotagger.ledger.care import vacuum as clean

    before, after = clean(begin(context).ledger_path)
    typer.echo(f"{before} bytes before, {after} bytes now")


@ledger.command("rebuild")
def rebuild(
    context: typer.Context,
    replace: Annotated[bool, typer.Option("--replace", help="Rebuild even a ledger that is sound.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")] = False,
) -> None:
    """Rebuild a lost or damaged ledger from Immich.

    It reads the marked assets, and takes the tags that the current settings can give as autotagger's own. Nothing
    changes in Immich, and the old file is kept. Stop the service first.
    """
    import asyncio
    from dataclasses import asdict

    from loguru import logger

    from autotagger.pipeline.operations.rebuild import NOT_KNOWN
    from autotagger.pipeline.operations.rebuild import rebuild as write_anew

    settings = begin(context)
    found = asyncio.run(write_anew(settings, replace=replace, report=lambda n: logger.info("{} assets read", n)))
    if as_json:
        print_json({**asdict(found), "kept": str(found.kept) if found.kept else None, "not_known": NOT_KNOWN})
        return
    counts = {
        "marked assets": found.assets,
        "tags of autotagger, markers included": found.ours,
        "tags of others": found.others,
        "assets that Immich did not show": found.unread,
        "old ledger": encodable(found.kept) if found.kept else "none",
    }
    print_rows(("what", "count"), [{"what": what, "count": n} for what, n in counts.items()], Format.TABLE)
    typer.echo("\nImmich does not know, so the new ledger does not either:")
    for line in NOT_KNOWN:
        typer.echo(f"- {line}")


# -- inside ---------------------------------------------------------------------------------------------------


def _list_rejected(ledger: "LedgerReader", limit: int | None, form: Format) -> None:
    rows = [
        {"asset": one.asset_id, "file": one.file_name, "tag": one.tag, "model": one.model, "run": one.run}
        for one in ledger.rejections(limit)
    ]
    unwanted = [{"tag": tag, "assets": count} for tag, count in ledger.unwanted()]
    if form is Format.JSON:
        print_json({"rejected": rows, "blacklist_candidates": unwanted})
        return
    print_rows(_REJECTED, rows, form)
    if form is Format.TABLE and unwanted:
        typer.echo("\noften removed by people: candidates for [policy] blacklist")
        print_rows(("tag", "assets"), unwanted, form)


def _filter(
    ledger: "LedgerReader",
    states: list[str] | None,
    error: str | None,
    tag: str | None,
    model: str | None,
    run: int | None,
    collection: int | None,
    name: str | None,
    account: str | None,
    after: str | None,
) -> "AssetFilter":
    from autotagger.ledger.rows import AssetFilter
    from autotagger.ledger.states import State

    unknown = sorted(set(states or ()) - set(State))
    if unknown:
        raise BadConfig(f"--state {unknown[0]}: choose among {', '.join(State)}")
    behind = 0
    if after is not None:
        row = ledger.find(asset_id_of(after))
        if row is None:
            raise BadConfig(f"--after {after}: the ledger does not know this asset")
        behind = row.key
    chosen = tuple(State(state) for state in states or ())
    whose = None if account is None else ledger.account_named(account)
    return AssetFilter(chosen, error, tag, model, run, collection, name, whose, after=behind)


def _row(asset: "AssetRow") -> dict[str, Any]:
    return {
        "asset": asset.asset_id,
        "file": asset.file_name,
        "state": str(asset.state),
        "trouble": asset.error_kind,
        "model": asset.model,
        "run": asset.run,
        "collection": asset.collection,
        "again": _when(asset.due_ms) if asset.due_ms else None,
    }


def _exported(ledger: "LedgerReader", chosen: "AssetFilter") -> Iterator[dict[str, Any]]:
    for page in ledger.pages(chosen):
        tags = ledger.tags_of([asset.key for asset in page])
        for asset in page:
            yield {
                **_row(asset),
                "account": asset.account,
                "kind": asset.kind,
                "mime": asset.mime,
                "checksum": asset.checksum,
                "attempts": asset.attempts,
                "repairs": asset.repairs,
                "tags": tags[asset.key],
            }


def _facts(asset: "AssetRow") -> dict[str, Any]:
    return {
        **_row(asset),
        "reason": asset.error,
        "account": asset.account,
        "kind": asset.kind,
        "mime": asset.mime,
        "checksum": asset.checksum,
        "library": asset.library_id or "uploads",
        "policy": asset.policy,
        "attempts": asset.attempts,
        "repairs": asset.repairs,
        "updated": _when(asset.updated_ms),
        "answered": _when(asset.answered_ms),
    }


def _when(epoch_ms: int | None) -> str | None:
    if epoch_ms is None:
        return None
    return datetime.fromtimestamp(epoch_ms / 1000, UTC).isoformat(timespec="milliseconds")
