"""The accounts of a run, at its start: which keys does Immich take, and for whose library?"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from loguru import logger
from pydantic import SecretStr
from yarl import URL

from autotagger.config import api_keys
from autotagger.errors import BadConfig, Fatal, ServerRefused, Unreachable
from autotagger.immich.address import is_exposed
from autotagger.immich.client import ImmichClient
from autotagger.immich.dialect import TAGS_HIDDEN, UPDATE, connect, hides_tags
from autotagger.immich.types import Server
from autotagger.ledger.writer import LedgerWriter
from autotagger.lines import hide_secret
from autotagger.pipeline.child.spec import Account
from autotagger.pipeline.clients import is_account_s_own
from autotagger.pipeline.selecting import identity_of, is_everything, look_up
from autotagger.settings import Settings


@dataclass(frozen=True)
class Accounts:
    """Everybody whose library is tagged, and the others with what is wrong with their key."""

    accounts: tuple[Account, ...]
    refused: dict[str, Fatal]


async def check_accounts(settings: Settings) -> Accounts:
    """Everything that must hold before a picture is touched.

    Where there are several accounts, one whose key Immich refuses does not stop the others. Raises BadConfig and
    ServerRefused, naming the account where there are several.
    """
    keys = api_keys(settings)
    for key in keys.values():
        hide_secret(key)
    several = len(keys) > 1
    accounts: list[Account] = []
    refused: dict[str, Fatal] = {}
    for name, key in keys.items():
        try:
            who = f"account {name}: " if several else ""
            accounts.append(await _check(settings, name, key, loud=not accounts, who=who))
        except ServerRefused as error:
            if not several:
                raise
            refused[name] = ServerRefused(f"account {name}: {error.message}", kind=error.kind)
            if not is_account_s_own(error):
                raise refused[name] from None
    if not accounts:
        raise next(iter(refused.values()))
    for why in refused.values():
        logger.error("{}; the other accounts continue", why.message)
    if settings.account:
        _check_users(accounts)
    return Accounts(tuple(accounts), refused)


def registered(accounts: Iterable[Account], ledger: LedgerWriter) -> tuple[Account, ...]:
    """The accounts with their ids in the ledger, which learns of those that are new."""
    return tuple(
        replace(account, id=ledger.register_account(account.name, account.server.user_id)) for account in accounts
    )


def expect_selections(settings: Settings, accounts: Iterable[Account], ledger: LedgerWriter) -> None:
    """Have the ledger know by which selection each account is listed from now on."""
    for account in accounts:
        select = settings.selected_by(account.name)
        ledger.of_account(account.id).expect_selection(identity_of(select), everything=is_everything(select))


async def _check(settings: Settings, name: str, key: SecretStr, *, loud: bool, who: str) -> Account:
    try:
        async with ImmichClient(settings.immich, key) as client:
            server = await connect(client, settings.immich)
            _check_rating_action(settings, server)
            if loud:
                logger.info("Immich {} at {}", server.version, client.address)
            if loud and is_exposed(URL(client.address)):
                logger.warning("the API key goes to {} unencrypted: use https", client.address)
            if await hides_tags(client, server):
                logger.warning("{}{}", who, TAGS_HIDDEN)
            return Account(name, key, server, rules=await look_up(client, server, settings.selected_by(name)))
    except Unreachable as error:
        raise ServerRefused(error.message, kind=error.kind) from None


def _check_rating_action(settings: Settings, server: Server) -> None:
    if settings.policy.rating_action and not server.may(UPDATE):
        raise ServerRefused(
            f"the API key lacks the permission {UPDATE}, which [policy.rating_action] needs: add it "
            "(Immich: Account Settings > API Keys), or remove rating_action"
        )


def _check_users(accounts: Iterable[Account]) -> None:
    """Every key of a accounts belongs to a user of its own, and says so: else who owns a picture is a guess."""
    names: dict[str, str] = {}
    for account in accounts:
        user_id = account.server.user_id
        if user_id is None:
            raise ServerRefused(
                f"account {account.name}: the API key lacks the permission user.read, which every [[account]] "
                "needs: add it (Immich: Account Settings > API Keys)"
            )
        if user_id in names:
            raise BadConfig(
                f"the accounts {names[user_id]} and {account.name} have keys of the same Immich user: "
                "each needs the key of another user"
            )
        names[user_id] = account.name
