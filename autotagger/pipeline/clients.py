"""The clients of a accounts: one for every account."""

from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager

from autotagger.errors import Fatal
from autotagger.immich.client import ImmichClient
from autotagger.immich.pacing import Limiter
from autotagger.immich.status import KEY_REFUSED
from autotagger.pipeline.child.spec import Account
from autotagger.settings import ImmichSettings


@asynccontextmanager
async def clients_of(
    settings: ImmichSettings, accounts: Iterable[Account]
) -> AsyncIterator[dict[int, ImmichClient]]:
    """A client for every account, by its id; together they keep to the limits of one."""
    limiter = Limiter(settings.concurrency)
    async with AsyncExitStack() as stack:
        yield {
            account.id: await stack.enter_async_context(ImmichClient(settings, account.key, limiter))
            for account in accounts
        }


def is_account_s_own(error: Fatal) -> bool:
    """Whether it is one account's key that Immich refuses, and other accounts may go on."""
    return error.kind == KEY_REFUSED
