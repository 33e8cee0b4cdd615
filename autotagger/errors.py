"""The three kinds of failure. Who catches one knows from its type alone what happens next.

`Retryable`: the same thing may work later; nothing is wrong with the asset or the settings.
`AssetFailed`: this asset will never work as it is; the others are not concerned.
`Fatal`: the run cannot go on; its `exit_code` is the process's.

Each says whose fault something is: the asset's, Immich's, the ledger's. A process that has run out of memory or
descriptors cannot tell: making an error there raises MemoryError instead.
"""

from autotagger.resources import raise_if_exhausted


class AutotaggerError(Exception):
    """Root of every error we raise. `kind` is a short stable slug (`preview-missing`) for ledger and metrics.

    Making one raises MemoryError where this process can have no more memory or file descriptors.
    """

    default_kind = "error"

    def __init__(self, message: str, *, kind: str | None = None) -> None:
        raise_if_exhausted()
        super().__init__(message)
        self.message = message
        self.kind = kind or self.default_kind


class Retryable(AutotaggerError):
    """Worth trying again, not before `retry_after_s` seconds where the other side named a time."""

    default_kind = "temporary"

    def __init__(self, message: str, *, kind: str | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(message, kind=kind)
        self.retry_after_s = retry_after_s


class Unreachable(Retryable):
    """Immich did not answer at all, or only with errors, for the whole retry budget: no asset is to blame."""

    default_kind = "immich-unreachable"


class AssetFailed(AutotaggerError):
    """Permanent for one asset."""

    default_kind = "asset-failed"


class AssetGone(AssetFailed):
    """Immich no longer has the asset, or no longer lets us see it (it answers the same for both)."""

    default_kind = "gone"


class Fatal(AutotaggerError):
    """The run ends with `exit_code` - its kind's, unless another is given - and one line that says the cause and
    the fix."""

    default_kind = "fatal"
    exit_code = 3

    def __init__(self, message: str, *, kind: str | None = None, exit_code: int | None = None) -> None:
        super().__init__(message, kind=kind)
        if exit_code is not None:
            self.exit_code = exit_code


class BadConfig(Fatal):
    """A setting or a command line that cannot be used."""

    default_kind = "configuration"
    exit_code = 2


class StartupFailed(Fatal):
    """A broken model, a locked ledger, a full disk: starting again would fail the same way."""

    default_kind = "start-up"
    exit_code = 3


class KeptCrashing(Fatal):
    """A process of ours that once worked ends again and again: a later start, with more memory, may go better."""

    default_kind = "crash-loop"
    exit_code = 70


class ServerRefused(Fatal):
    """Immich cannot be reached at start, is not Immich, is too old, or does not accept the key."""

    default_kind = "immich-refused"
    exit_code = 4


class Malformed(ValueError):
    """Stored bytes mean nothing: the file that they come from is damaged, and whoever opened it says so."""
