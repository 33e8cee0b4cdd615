"""What the commands begin with: their settings, and logging as these say; and the exit codes they end with."""

import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from autotagger.config import cautions, load_settings, of_account
from autotagger.errors import BadConfig
from autotagger.lines import set_form
from autotagger.settings import Settings

#: Exit codes that are not an error's own (those are in `errors`).
SOME_FAILED = 1
NO_START = 3
REFUSED = 4
INTERNAL_ERROR = 70  # EX_SOFTWARE of sysexits.h: no other code of ours
INTERRUPTED = 130

AccountOption = Annotated[
    str | None,
    typer.Option("--account", metavar="NAME", help="Only this [[account]]; the default is all of them."),
]


def config_path(context: typer.Context) -> Path | None:
    """FILE of `autotagger --config FILE`, where given."""
    path: Path | None = context.find_root().obj
    return path


def begin(
    context: typer.Context, flags: Mapping[str, Any] | None = None, *, account: str | None = None
) -> Settings:
    """Read the settings for a command and set up logging. Raises BadConfig.

    `flags`: settings from the command line, nested like the TOML. `account`: the only account to work on.
    """
    settings = load_settings(config_path(context), flags)
    if account is not None:
        settings = of_account(settings, account)
    _start_logging(settings, cautions(settings, config_path(context)))
    return settings


def look(context: typer.Context) -> Settings:
    """Read the settings for a command that logs nothing but warnings about them. Raises BadConfig.

    The logger is only loaded if there is a warning.
    """
    settings = load_settings(config_path(context))
    set_form(settings.log_format)
    if found := cautions(settings, config_path(context)):
        _start_logging(settings, found)
    return settings


def _start_logging(settings: Settings, found: Iterable[str]) -> None:
    from loguru import logger

    from autotagger.log import setup_logging

    setup_logging(settings.log_level, settings.log_format)
    for caution in found:
        logger.warning("{}", caution)


def asset_id_of(text: str) -> str:
    """The id of an asset, as somebody wrote it, in its usual spelling. Raises BadConfig."""
    try:
        return str(uuid.UUID(text.strip()))
    except ValueError:
        raise BadConfig(
            f"{text} is not an asset id: take the long id from the address of the asset's page in Immich"
        ) from None


def thresholds_of(given: list[str]) -> dict[str, str]:
    """What several `--threshold CATEGORY=SCORE` say, by category. Raises BadConfig for one without a `=`."""
    found = {}
    for text in given:
        category, equals, score = text.partition("=")
        if not equals:
            raise BadConfig(f"--threshold {text}: write it as general=0.3")
        found[category.strip()] = score.strip()
    return found
