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
from autotagger.config import api_key, default_config_path, load_settings
from autotagger.errors import BadConfig
from autotagger.lines import hide_secret
from autotagger.log import setup_logging
from autotagger.settings import ImmichSettings

_KEY_FILE = "api-key"


def init(
    context: typer.Context,
    config: Annotated[Path | None, typer.Option(metavar="PATH", help="Where to write the configuration.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite existing files.")] = False,
) -> None:
    """Write a configuration file after checking the address and API key.

    It uses IMMICH_BASE_URL and IMMICH_API_KEY (or IMMICH_API_KEY_FILE) if set, and asks for what is missing.
    Without a terminal, it reads the answers from stdin, one per line.
    """
    from autotagger.doctor.proposal import propose_here
    from autotagger.immich.dialect import NEEDED, OPTIONAL

    path = (config or config_path(context) or default_config_path(os.environ)).absolute()
    key_path = path.with_name(_KEY_FILE)
    _refuse_to_overwrite((path, key_path), force)
    settings = load_settings(Path(os.devnull))
    setup_logging("WARNING")  # the rest is printed here

    typer.echo("Immich: Account Settings > API Keys > New API Key, with these permissions ticked:")
    typer.echo(f"  {' '.join(NEEDED)}\nand, optionally:")
    for name, purpose in OPTIONAL.items():
        typer.echo(f"  {name:<19} {purpose}")

    immich, key = _address_and_key(settings.immich)
    typer.echo(asyncio.run(_check(immich, key)))

    proposal = propose_here()
    typer.echo(f"This machine: {proposal.reason}.")
    typer.echo(
        f"Proposed: model {proposal.model}, {proposal.workers} worker{'s' if proposal.workers > 1 else ''}."
    )
    if proposal.caution:
        typer.echo(f"Warning: {proposal.caution}.")

    given: dict[tuple[str, ...], object] = {("immich", "base_url"): immich.base_url}
    given["model", "name"], given["pipeline", "workers"] = proposal.model, proposal.workers
    if immich.api_key_file is None:
        _write(key_path, f"{key.get_secret_value()}\n", mode=0o600)
    given["immich", "api_key_file"] = immich.api_key_file or key_path
    if immich.ca_file:
        given["immich", "ca_file"] = immich.ca_file
    _write(path, config_text(given), mode=_mode(path))
    typer.echo(f"Wrote {path}; the key is in {given['immich', 'api_key_file']}.")
    typer.echo(
        "Next: `autotagger doctor` checks everything else, `autotagger run --once --limit 10` tags ten pictures."
    )


def _mode(path: Path) -> int:
    """A person's own settings are nobody else's business; those of /etc are for the service's user, who is another
    one, and hold no secret: the key has a file of its own."""
    return 0o644 if path.is_relative_to("/etc") else 0o600


def _refuse_to_overwrite(paths: tuple[Path, ...], force: bool) -> None:
    there = [str(path) for path in paths if path.exists()]
    if there and not force:
        raise BadConfig(f"{' and '.join(there)} already exists; --force overwrites")


def _address_and_key(settings: ImmichSettings) -> tuple[ImmichSettings, SecretStr]:
    """From the environment, or else as answers. Raises BadConfig where there is neither."""
    from autotagger.immich.address import api_root

    try:
        if not settings.base_url:
            settings = settings.model_copy(update={"base_url": _answer("Address of Immich")})
        api_root(settings.base_url)
        if settings.api_key is None and settings.api_key_file is None:
            key = SecretStr(_answer("API key", secret=True))
            settings = settings.model_copy(update={"api_key": key})
    except typer.Abort:
        raise typer.Exit(INTERRUPTED) from None
    key = api_key(settings)
    hide_secret(key)
    if settings.api_key_file:
        settings = settings.model_copy(update={"api_key_file": settings.api_key_file.absolute()})
    return settings, key


def _answer(question: str, *, secret: bool = False) -> str:
    """From the person at the terminal, or the next line of what is piped in; empty where there is no more."""
    if sys.stdin.isatty():
        return str(typer.prompt(question, hide_input=secret)).strip()
    return sys.stdin.readline().strip()


async def _check(settings: ImmichSettings, key: SecretStr) -> str:
    """One line about the server. Raises ServerRefused when a run could not work."""
    from autotagger.immich.client import ImmichClient
    from autotagger.immich.dialect import OPTIONAL, TAGS_HIDDEN, connect, hides_tags

    async with ImmichClient(settings, key) as client:
        server = await connect(client, settings)
        lacking = [name for name in OPTIONAL if not server.may(name)]
        without = f" (without {', '.join(lacking)})" if lacking else ""
        hidden = f"\nWarning: {TAGS_HIDDEN}." if await hides_tags(client, server) else ""
        return f"Immich {server.version} at {client.address} accepts the key{without}.{hidden}"


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
