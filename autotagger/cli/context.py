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
    str | None, typer.Option("--account", metavar="NAME", help="Only of this [[account]]; else of all.")
]


def config_path(context: typer.Context) -> Path | None:
    """FILE of `autotagger --config FILE`, where given."""
    path: Path | None = context.find_root().obj
    return path


def begin(
    context: typer.Context, flags: Mapping[str, Any] | None = None, *, account: str | None = None
) -> Settings:
    """Read the settings for a command and set up logging; `flags` are nested like the TOML, `account` is the only
    one that it is about. Raises BadConfig."""
    settings = load_settings(config_path(context), flags)
    if account is not None:
        settings = of_account(settings, account)
    _start_logging(settings, cautions(settings, config_path(context)))
    return settings


def look(context: typer.Context) -> Settings:
    """Read the settings for a command that logs nothing: the logger is loaded where there is something to tell.
    Raises BadConfig."""
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
            f"{text} is no id of an asset: it is the long one in the address that Immich shows"
        ) from None
