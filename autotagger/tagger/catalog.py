"""From a name or a folder to a model.

The catalogue is one manifest per downloadable model in `models/`, and `palette`, whose folder is shipped.
"""

import difflib
from pathlib import Path

from autotagger.errors import BadConfig, StartupFailed
from autotagger.tagger import hub
from autotagger.tagger.author_files import with_author_files
from autotagger.tagger.guess import guess_manifest
from autotagger.tagger.labels import read_label_file
from autotagger.tagger.manifest import FILE_NAME, Manifest, read_manifest
from autotagger.tagger.model import Model

_PACKAGE = Path(__file__).parent
CATALOGUE = _PACKAGE / "models"
SHIPPED = {"palette": CATALOGUE / "palette"}


def catalogue() -> dict[str, Manifest]:
    """Every model known by name, shipped ones included, in alphabetical order."""
    manifests = [read_manifest(path) for path in CATALOGUE.glob("*.toml")]
    manifests += [read_manifest(folder / FILE_NAME) for folder in SHIPPED.values()]
    return {manifest.name: manifest for manifest in sorted(manifests, key=lambda manifest: manifest.name)}


def find_model(name_or_folder: str, models_dir: Path, *, download: bool) -> Model:
    """Find a model by its catalogue name, or in a folder of the user's (anything that holds a `/`, or exists), or
    by the path of an ONNX file there.

    A catalogue model lives in `models_dir/<name>` and is fetched when it is not there and `download`; files
    that are no longer what the manifest's hashes say are fetched again, once. Raises BadConfig for a name
    that is not known, StartupFailed when files are missing, damaged, or do not fit the manifest.
    """
    if name_or_folder in SHIPPED:
        folder = SHIPPED[name_or_folder]
        return _load(folder, read_manifest(folder / FILE_NAME))
    known = CATALOGUE / f"{name_or_folder}.toml"
    if "/" not in name_or_folder and known.is_file():
        return _from_catalogue(read_manifest(known), models_dir / name_or_folder, download=download)
    folder, file = split_path(name_or_folder)
    if not folder.is_dir():
        raise BadConfig(_unknown(name_or_folder))
    written = manifest_file(folder, file)
    manifest = read_manifest(written) if written else guess_manifest(folder, file)
    if manifest.source:
        hub.verify(manifest.source, folder)
    return _load(folder, manifest)


def split_path(name_or_folder: str) -> tuple[Path, str | None]:
    """A model's folder, and where the path is one of an ONNX file, its name."""
    path = Path(name_or_folder).expanduser()
    return (path.parent, path.name) if path.suffix == ".onnx" and path.is_file() else (path, None)


def manifest_file(folder: Path, file: str | None) -> Path | None:
    """The manifest of the model in `folder`, or of its ONNX file `file`: `name.toml` beside `name.onnx`, else
    manifest.toml where that is about this file. None where there is none. Raises StartupFailed."""
    general = folder / FILE_NAME
    if file is None:
        return general if general.exists() else None
    own = folder / f"{Path(file).stem}.toml"
    if own.exists():
        return own
    return general if general.exists() and read_manifest(general).model == file else None


def pull_model(name: str, models_dir: Path) -> Path:
    """Fetch a model of the catalogue, unless it is there and whole. Returns its folder. Raises as find_model."""
    if name in SHIPPED:
        return SHIPPED[name]
    if "/" in name or not (CATALOGUE / f"{name}.toml").is_file():
        raise BadConfig(_unknown(name))
    return _from_catalogue(read_manifest(CATALOGUE / f"{name}.toml"), models_dir / name, download=True).folder


def _from_catalogue(manifest: Manifest, folder: Path, *, download: bool) -> Model:
    source = manifest.source
    if source is None:
        raise StartupFailed(f"the catalogue's {manifest.name} has no [source]", kind="model-manifest")
    try:
        hub.verify(source, folder)
    except StartupFailed:
        if not download:
            raise
        hub.pull(manifest.name, source, folder)
    return _load(folder, manifest)


def _load(folder: Path, manifest: Manifest) -> Model:
    if not (folder / manifest.model).is_file():
        raise StartupFailed(f"the model {folder / manifest.model} is missing", kind="model-missing")
    manifest = with_author_files(manifest, folder)
    table = read_label_file(folder / manifest.labels.file, manifest.labels)
    return Model(manifest.name, folder, manifest, table.labels, table.series, table.thresholds)


def _unknown(name: str) -> str:
    names = sorted([*SHIPPED, *(path.stem for path in CATALOGUE.glob("*.toml"))])
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(names)}, or give a folder"
    return f"no model {name}: {hint}"
