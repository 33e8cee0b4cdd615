"""autotagger: anime tags for an Immich library.

Read in this order: `cli` (the commands), `settings` and `config` (what can be set, and from where), `errors`
(what can go wrong), `pipeline` (a run: its processes and what they do), then the parts that a run puts together
and that do not know each other: `immich` (the server's API), `tagger` (pictures to scores), `policy` (scores to
tags) and `ledger` (what was done). `service` shows a run to its surroundings, `doctor` finds problems,
`quantize` and `bench` measure models, and `demo` is a stand-in for Immich.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from autotagger.api import Tagger

__version__ = "0.1.0"
__all__ = ["__version__", "load"]


def load(model: str | None = None, *, config: "Path | None" = None, **policy: object) -> "Tagger":
    """A tag model that is ready to tag files: see `autotagger.api.Tagger`, whose parameters these are."""
    from autotagger.api import Tagger  # heavy: every child process imports this package

    return Tagger(model, config=config, **policy)
