"""What trouble does to an asset: its state, and when it is tried again."""

from dataclasses import dataclass

from autotagger.ledger.states import State
from autotagger.pipeline.ipc.messages import Next, Trouble

#: First and longest time before an asset in trouble is tried again; each try doubles it.
RETRY_FIRST_MS, RETRY_LONGEST_MS = 60_000, 6 * 3_600_000
#: The same for a preview that is not there: Immich's queue can take a day, a corrupt file never gets one.
WAIT_FIRST_MS, WAIT_LONGEST_MS = 60_000, 24 * 3_600_000


@dataclass(frozen=True, slots=True)
class RetryDecision:
    """How trouble is recorded. `due_ms`: our clock; None is never."""

    state: State
    due_ms: int | None

    def describe(self, now_ms: int) -> str:
        """What happens next, for a log line."""
        return "set aside" if self.due_ms is None else f"tried again in {(self.due_ms - now_ms) // 1000} s"


def retry_policy(trouble: Trouble, attempts: int, now_ms: int, max_attempts: int) -> RetryDecision:
    """The state of an asset in trouble after `attempts` earlier tries."""
    match trouble.next:
        case Next.GONE:
            return RetryDecision(State.GONE, None)
        case Next.WAIT:
            return RetryDecision(State.WAITING, now_ms + _backoff(attempts, WAIT_FIRST_MS, WAIT_LONGEST_MS))
        case Next.RETRY if attempts + 1 < max_attempts:
            return RetryDecision(State.FAILED, now_ms + _backoff(attempts, RETRY_FIRST_MS, RETRY_LONGEST_MS))
        case _:
            return RetryDecision(State.FAILED, None)


def _backoff(attempts: int, first_ms: int, longest_ms: int) -> int:
    return min(first_ms << min(attempts, 20), longest_ms)
