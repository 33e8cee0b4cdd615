"""`autotagger models`: list, download and check models."""

import io
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autotagger.cli.context import begin
from autotagger.cli.output import Format, FormatOption, encodable, print_json, print_rows
from autotagger.errors import BadConfig, StartupFailed
from autotagger.settings import Settings

if TYPE_CHECKING:
    from autotagger.tagger.checkup import Checkup
    from autotagger.tagger.manifest import Manifest
    from autotagger.tagger.model import Model

models = typer.Typer(
    name="models", help="List, download and check models.", no_args_is_help=True, rich_markup_mode=None
)
JsonOption = Annotated[bool, typer.Option("--json", help="The same as --format json.")]
DeviceOption = Annotated[
    str | None,
    typer.Option(metavar="auto|CPU|GPU|NPU", help="Check only this device; auto checks every device found."),
]


@models.command("list")
def list_models(context: typer.Context, form: FormatOption = Format.TABLE, as_json: JsonOption = False) -> None:
    """List the models of the catalogue.

    Any other model can be used by the path of its folder.
    """
    from autotagger.tagger.catalog import SHIPPED, catalogue

    settings = begin(context)
    rows = [
        {
            "name": name,
            "labels": manifest.label_count,
            "input": _input(manifest),
            "mb": _megabytes(manifest),
            "license": manifest.license,
            "here": "shipped" if name in SHIPPED else _here(manifest, settings.models_dir / name),
        }
        for name, manifest in catalogue().items()
    ]
    form = Format.JSON if as_json else form
    wide = ("input",) if form is not Format.TABLE else ()  # a table has 80 columns
    print_rows(("name", "labels", *wide, "mb", "license", "here"), rows, form)


@models.command()
def pull(
    context: typer.Context,
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Name of a model in the catalogue.", show_default=False)
    ],
    form: FormatOption = Format.TABLE,
    as_json: JsonOption = False,
) -> None:
    """Download a model, unless it is already complete.

    Respects HF_ENDPOINT, HF_TOKEN (for models that require their author's terms) and HF_HUB_OFFLINE.
    """
    from autotagger.tagger.catalog import pull_model

    folder = pull_model(name, begin(context).models_dir)
    row = {"name": name, "folder": encodable(folder)}
    if as_json or form is Format.JSON:
        print_json(row)
    else:
        print_rows(("name", "folder"), [row], form)


@models.command()
def check(
    context: typer.Context,
    model: Annotated[
        str,
        typer.Argument(
            metavar="NAME|FOLDER", help="A downloaded model, a folder, or an ONNX file.", show_default=False
        ),
    ],
    device: DeviceOption = None,
    write: Annotated[
        bool, typer.Option("--write", help="Write the draft of a manifest beside a model that has none.")
    ] = False,
    form: FormatOption = Format.TABLE,
    as_json: JsonOption = False,
) -> None:
    """Test a model on drawn pictures.

    Shows device, speed, memory and scores, and whether the devices agree. For a folder without a manifest it
    prints a draft for you to complete, and with --write writes it there. Exit code 3 if a test fails.
    """
    from autotagger.tagger.checkup import check_model

    settings = begin(context, {"model": {"device": device}})
    form = Format.JSON if as_json else form
    if write:
        _write_manifest(model)
    found = _find(model, settings, form)
    report = check_model(found, _drawn_pictures(), settings.model.device)
    _print_check(found, report, form)
    if report.problems:
        raise StartupFailed(f"the model {found.name} does not work as it is: {'; '.join(report.problems)}")


def _write_manifest(name: str) -> None:
    from autotagger.tagger.catalog import manifest_file, split_path
    from autotagger.tagger.guess import draft_manifest
    from autotagger.tagger.manifest import FILE_NAME

    folder, file = split_path(name)
    if not folder.is_dir():
        raise BadConfig(f"--write needs the path of a folder or an ONNX file, and {name} is none")
    if there := manifest_file(folder, file):
        raise BadConfig(f"{there} exists already: --write does not replace it")
    path = folder / (f"{Path(file).stem}.toml" if file else FILE_NAME)
    try:
        path.write_text(draft_manifest(folder, file), encoding="utf-8")
    except OSError as error:
        raise BadConfig(f"cannot write {path}: {error.strerror}") from None
    typer.echo(f"wrote {path}: compare channels, scale, mean, std and pad with its author's page", err=True)


def _find(name: str, settings: Settings, form: Format) -> "Model":
    from autotagger.tagger.catalog import find_model, manifest_file, split_path
    from autotagger.tagger.guess import draft_manifest

    try:
        return find_model(name, settings.models_dir, download=False)
    except StartupFailed:
        folder, file = split_path(name)
        if form is Format.TABLE and folder.is_dir() and not manifest_file(folder, file):
            typer.echo(draft_manifest(folder, file), nl=False)
        raise


def _drawn_pictures() -> list[bytes]:
    """One of every theme of the demo, wide and tall in turn."""
    from autotagger.demo.drawing import THEMES, draw

    bodies = []
    for number, theme in enumerate(THEMES):
        body = io.BytesIO()
        draw(number, (720, 480) if number % 2 else (480, 720), theme).save(body, "PNG")
        bodies.append(body.getvalue())
    return bodies


def _print_check(model: "Model", report: "Checkup", form: Format) -> None:
    if form is Format.JSON:
        print_json(_as_json(model, report))
        return
    rows = [{"labels": len(model.labels), **asdict(device)} for device in report.devices]
    if form is Format.CSV:
        print_rows(tuple(rows[0]), rows, form)
        return
    # a device a column: there are one or two, and ten things to tell of each
    measures = [
        {"device": key} | {str(row["device"]): row[key] for row in rows} for key in rows[0] if key != "device"
    ]
    print_rows(("device", *(device.device for device in report.devices)), measures, form)


def _as_json(model: "Model", report: "Checkup") -> dict[str, Any]:
    return {
        "name": model.name,
        "folder": encodable(model.folder),
        "identity": model.identity,
        "labels": len(model.labels),
        "license": model.manifest.license,
        "fallback": False,  # such a session does not open
        "devices": [asdict(device) for device in report.devices],
        "problems": list(report.problems),
    }


def _input(manifest: "Manifest") -> str:
    spec = manifest.input
    return f"{spec.size} {spec.layout} {spec.channels}"


def _megabytes(manifest: "Manifest") -> int | None:
    """Of the download; None where its author's page does not tell all sizes."""
    sizes = [file.bytes for file in manifest.source.files.values()] if manifest.source else [0]
    known = [size for size in sizes if size]
    return round(sum(known) / 1e6) if known and max(known) > 1_000_000 else None


def _here(manifest: "Manifest", folder: Path) -> str:
    needed = manifest.source.files if manifest.source else {}
    return "yes" if all((folder / name).is_file() for name in needed) else "no"
