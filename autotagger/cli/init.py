"""`autotagger init`: a checked configuration file, and the API key in a file of its own."""

import asyncio
import os
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from pydantic import SecretStr

from autotagger.cli.context import INTERRUPTED, config_path
from autotagger.cli.template import config_text
from autotagger.config import ImmichSettings, api_key, default_config_path, load_settings
from autotagger.errors import BadConfig
from autotagger.log import hide_secret, setup_logging

_KEY_FILE = "api-key"
_OPTIONAL = {
    "asset.download": "originals of transparent pictures, which previews show on black",
    "asset.statistics": "proof that a listing is complete",
    "user.read": "partners' pictures are told from your own",
}


def init(
    context: typer.Context,
    config: Annotated[Path | None, typer.Option(metavar="PATH", help="Where to write the settings.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite what is there.")] = False,
) -> None:
    """Ask for Immich's address and an API key, check them, and write a commented configuration.

    Without a terminal, IMMICH_BASE_URL and IMMICH_API_KEY (or IMMICH_API_KEY_FILE) are taken instead.
    """
    from autotagger.immich.dialect import NEEDED

    path = (config or config_path(context) or default_config_path(os.environ)).absolute()
    key_path = path.with_name(_KEY_FILE)
    _refuse_to_overwrite((path, key_path), force)
    settings = load_settings(Path(os.devnull))
    setup_logging("WARNING")  # what else there is to say is said here

    typer.echo("Immich: Account Settings > API Keys > New API Key, with these permissions ticked:")
    typer.echo(f"  {' '.join(NEEDED)}\nand, if you like:")
    for name, purpose in _OPTIONAL.items():
        typer.echo(f"  {name:<17} {purpose}")

    immich, key = _address_and_key(settings.immich)
    typer.echo(asyncio.run(_check(immich, key)))

    given: dict[tuple[str, ...], object] = {("immich", "base_url"): immich.base_url}
    if immich.api_key_file is None:
        _write(key_path, f"{key.get_secret_value()}\n", mode=0o600)
    given["immich", "api_key_file"] = immich.api_key_file or key_path
    if immich.ca_file:
        given["immich", "ca_file"] = immich.ca_file
    _write(path, config_text(given), mode=0o644)
    typer.echo(f"Wrote {path}; the key is in {given['immich', 'api_key_file']}.")
    typer.echo("Next: `autotagger run --once --limit 10` tags ten pictures; have a look at them in Immich.")


def _refuse_to_overwrite(paths: tuple[Path, ...], force: bool) -> None:
    there = [str(path) for path in paths if path.exists()]
    if there and not force:
        raise BadConfig(f"{' and '.join(there)} exists already; --force overwrites")


def _address_and_key(settings: ImmichSettings) -> tuple[ImmichSettings, SecretStr]:
    """From the environment, or else from the person at the terminal. Raises BadConfig where there is neither."""
    from autotagger.immich.address import api_root

    try:
        if not settings.base_url and sys.stdin.isatty():
            settings = settings.model_copy(update={"base_url": typer.prompt("Address of Immich").strip()})
        api_root(settings.base_url)
        if settings.api_key is None and settings.api_key_file is None and sys.stdin.isatty():
            settings = settings.model_copy(update={"api_key": SecretStr(typer.prompt("API key", hide_input=True))})
    except typer.Abort:
        raise typer.Exit(INTERRUPTED) from None
    key = api_key(settings)
    hide_secret(key)
    if settings.api_key_file:
        settings = settings.model_copy(update={"api_key_file": settings.api_key_file.absolute()})
    return settings, key


async def _check(settings: ImmichSettings, key: SecretStr) -> str:
    """One line about the server. Raises ServerRefused when a run could not work."""
    from autotagger.immich.client import ImmichClient
    from autotagger.immich.dialect import connect

    async with ImmichClient(settings, key) as client:
        server = await connect(client, settings)
        lacking = [name for name in _OPTIONAL if not server.may(name)]
        without = f" (without {', '.join(lacking)})" if lacking else ""
        return f"Immich {server.version} at {client.address} accepts the key{without}."


def _write(path: Path, text: str, *, mode: int) -> None:
    """Write the whole file or nothing. Raises BadConfig."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # made with mode 0600
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
            Path(draft).chmod(mode)
            Path(draft).replace(path)
        except BaseException:
            Path(draft).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise BadConfig(f"cannot write {path}: {error.strerror}") from None
