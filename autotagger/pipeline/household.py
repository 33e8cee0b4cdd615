"""Whose library is read and tagged with which key."""

from dataclasses import dataclass

from pydantic import SecretStr

from autotagger.errors import Fatal
from autotagger.immich.types import Server


@dataclass(frozen=True)
class Account:
    """One user of Immich. `server`: what was found out with the user's `key`; `id`: in the ledger."""

    name: str
    key: SecretStr
    server: Server
    id: int = 1


@dataclass(frozen=True)
class Household:
    """Everybody whose library is tagged, and the others with what is wrong with their key."""

    accounts: tuple[Account, ...]
    refused: dict[str, Fatal]
