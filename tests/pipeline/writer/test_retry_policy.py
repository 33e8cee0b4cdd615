"""What trouble does to an asset."""

import pytest

from autotagger.errors import AssetFailed, AssetGone, Retryable, Unreachable
from autotagger.ledger.states import State
from autotagger.pipeline.child.base import trouble_of
from autotagger.pipeline.ipc.messages import Next, Trouble
from autotagger.pipeline.writer.retry_policy import RETRY_LONGEST_MS, WAIT_LONGEST_MS, retry_policy

NOW = 1_000_000


@pytest.mark.parametrize(
    ("error", "following"),
    [
        (AssetGone("x"), Next.GONE),
        (AssetFailed("x", kind="broken-picture"), Next.NEVER),
        (Retryable("x", kind="preview-missing"), Next.WAIT),
        (Retryable("x", kind="server-error"), Next.RETRY),
        (Unreachable("x"), Next.UNBLAMED),
    ],
)
def test_every_error_has_one_consequence(error: Retryable | AssetFailed, following: Next) -> None:
    assert trouble_of(error) == Trouble(following, error.kind, "x")


def of(following: Next, attempts: int) -> tuple[State, int | None]:
    found = retry_policy(Trouble(following, "k", "m"), attempts, NOW, 5)
    return found.state, found.due_ms


def test_a_retry_waits_twice_as_long_each_time_and_ends_after_the_last_attempt() -> None:
    waits = [of(Next.RETRY, attempts) for attempts in range(4)]
    assert waits == [(State.FAILED, NOW + 60_000 * 2**attempts) for attempts in range(4)]
    assert of(Next.RETRY, 4) == (State.FAILED, None)


def test_a_missing_preview_is_waited_for_without_end() -> None:
    assert of(Next.WAIT, 0) == (State.WAITING, NOW + 60_000)
    assert of(Next.WAIT, 500) == (State.WAITING, NOW + WAIT_LONGEST_MS)
    assert RETRY_LONGEST_MS < WAIT_LONGEST_MS


def test_what_is_permanent_has_no_next_time() -> None:
    assert of(Next.NEVER, 0) == (State.FAILED, None)
    assert of(Next.GONE, 0) == (State.GONE, None)
