"""`autotagger tag`: tag local pictures and videos, the same way as the service tags those of Immich."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
from loguru import logger

from autotagger.cli.context import SOME_FAILED, begin, thresholds_of
from autotagger.cli.output import Format, FormatOption, encodable, print_json, print_rows
from autotagger.cli.progress import counted
from autotagger.cli.sidecars import find_exiftool, txt_path, write_txt, write_xmp
from autotagger.errors import AssetFailed, BadConfig, Retryable
from autotagger.scorer import open_scorer
from autotagger.settings import Settings
from autotagger.tagger.suffixes import PICTURES, VIDEOS

#: So many of the best scores stand beside the tags in a table; JSON and CSV have them all.
SCORES_SHOWN = 6
#: What lies beside pictures and is none: nobody misses its tags.
_BESIDE = frozenset({".txt", ".xmp", ".json", ".csv", ".md", ".db", ".ini", ".html", ".npz"})


@dataclass(frozen=True, slots=True)
class Tagged:
    """A picture's final tag names, and its labels with their scores (0.05..1); both best first. `categories`: of
    each label that has a score."""

    file: str
    tags: tuple[str, ...]
    scores: dict[str, float]
    categories: dict[str, str]


def tag(
    context: typer.Context,
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE|FOLDER...", help="Pictures, videos, or folders of them.", show_default=False),
    ],
    model: Annotated[
        str | None, typer.Option(metavar="NAME|FOLDER", help="Model to use; the default is [model] name.")
    ] = None,
    threshold: Annotated[
        list[str] | None,
        typer.Option(metavar="CATEGORY=SCORE", help="Minimum score of a category; can be repeated."),
    ] = None,
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Include subfolders.")] = False,
    txt: Annotated[
        bool, typer.Option("--txt", help="Write the tags to picture.txt next to each picture.")
    ] = False,
    xmp: Annotated[bool, typer.Option("--xmp", help="Add the tags to picture.jpg.xmp, using exiftool.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing picture.txt files.")] = False,
    form: FormatOption = Format.TABLE,
) -> None:
    """Tag local pictures and videos, and print tags and scores.

    Changes nothing without --txt or --xmp. JSON is a list of {"file", "tags", "scores", "categories"}; CSV has
    one line per label. Pictures that have their picture.txt already are skipped unless --overwrite is given.
    """
    given = thresholds_of(threshold or [])
    settings = begin(context, {"model": {"name": model}, "policy": {"threshold": given}})
    write = _writers(txt=txt, xmp=find_exiftool() if xmp else None, overwrite=overwrite)
    pictures = list(_pictures(files, recursive=recursive))
    if txt and not xmp and not overwrite:
        pictures = _without_txt(pictures)
    tag_file = _open_tagger(settings)
    done = []
    failed = 0
    for file in counted(pictures, "tagging", settings.log_level):
        try:
            tagged = tag_file(file)
            for write_one in write:
                write_one(file, tagged.tags)
            done.append(tagged)
        except (AssetFailed, Retryable) as error:
            failed += 1
            logger.error("{}: {}", file, error.message)
    _print(done, form)
    if failed:
        raise typer.Exit(SOME_FAILED)


def _writers(*, txt: bool, xmp: str | None, overwrite: bool) -> list[Callable[[Path, Sequence[str]], Path]]:
    writers: list[Callable[[Path, Sequence[str]], Path]] = []
    if txt:
        writers.append(_TxtWriter(overwrite))
    if xmp:
        writers.append(lambda file, tags: write_xmp(file, tags, xmp))
    return writers


def _without_txt(pictures: Sequence[Path]) -> list[Path]:
    """Those that have no `picture.txt` yet: the same command begun again goes on where it was stopped."""
    left = [file for file in pictures if not txt_path(file).exists()]
    if there := len(pictures) - len(left):
        logger.info("{} files skipped: they have their .txt already (--overwrite replaces it)", there)
    return left


class _TxtWriter:
    """Writes `picture.txt` files, each once: `a.png` and `a.jpg` would share theirs."""

    def __init__(self, overwrite: bool) -> None:
        self._overwrite = overwrite
        self._owner: dict[Path, Path] = {}

    def __call__(self, file: Path, tags: Sequence[str]) -> Path:
        owner = self._owner.setdefault(txt_path(file), file)
        if owner != file:
            raise AssetFailed(f"{txt_path(file).name} already belongs to {owner.name}", kind="sidecar-exists")
        return write_txt(file, tags, overwrite=self._overwrite)


def _pictures(files: Sequence[Path], *, recursive: bool) -> Iterator[Path]:
    """The files that are named, and the pictures of folders in the order of their names. Raises BadConfig."""
    for file in files:
        if not file.is_dir():
            yield file
            continue
        found = []
        for path in _inside(file, recursive=recursive):
            suffix = path.suffix.lower()
            if suffix in PICTURES | VIDEOS:
                found.append(path)
            elif suffix not in _BESIDE:
                logger.warning(
                    "{}: skipped: {} is no format that can be read", path, suffix or "a file without suffix"
                )
        if not found:
            hint = "" if recursive else "; --recursive includes subfolders"
            raise BadConfig(f"there are no pictures in {file}{hint}")
        yield from found


def _inside(folder: Path, *, recursive: bool) -> Iterator[Path]:
    """Files of a folder. Links to folders are not followed: they may lead in a circle."""
    for where, folders, names in os.walk(folder):
        folders.sort()
        yield from (Path(where, name) for name in sorted(names) if not name.startswith("."))
        if not recursive:
            return


def _open_tagger(settings: Settings) -> Callable[[Path], Tagged]:
    """What tags one file. Raises BadConfig or StartupFailed for the model; what it returns, AssetFailed."""
    from autotagger.scores import SCORE_FLOOR

    decider, score = open_scorer(settings)
    policy = decider.policy

    def tag_file(file: Path) -> Tagged:
        sparse = score(file)
        best_first = sorted(zip(sparse.values.tolist(), sparse.labels.tolist(), strict=True), reverse=True)
        scores = {policy.labels[row][0]: round(best, 5) for best, row in best_first if best >= SCORE_FLOOR}
        categories = {policy.labels[row][0]: policy.labels[row][1] for _, row in best_first}
        return Tagged(encodable(file), policy.tags(sparse), scores, {name: categories[name] for name in scores})

    return tag_file


def _print(done: list[Tagged], form: Format) -> None:
    match form:
        case Format.JSON:
            print_json([asdict(tagged) for tagged in done])
        case Format.CSV:
            rows = [
                {"file": tagged.file, "label": label, "score": score, "category": tagged.categories[label]}
                for tagged in done
                for label, score in tagged.scores.items()
            ]
            print_rows(("file", "label", "score", "category"), rows, form)
        case Format.TABLE:
            print_rows(("file", "tags", "best scores"), [_table_row(tagged) for tagged in done], form)


def _table_row(tagged: Tagged) -> dict[str, str]:
    best = list(tagged.scores.items())[:SCORES_SHOWN]
    return {
        "file": tagged.file,
        "tags": ", ".join(tagged.tags),
        "best scores": ", ".join(f"{label} {score:.2f}" for label, score in best),
    }
