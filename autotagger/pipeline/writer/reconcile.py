"""What Immich holds against what the ledger knows: whose hand changed a link, and which one change comes next.

Pure. A person's word stands: a link of ours that had been read back and is missing while the marker stands was
taken off by a person and never comes back; a tag that was there before our first call is never ours.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass

from autotagger.ledger.states import MEANT, LinkState


@dataclass(frozen=True, slots=True)
class Step:
    """`links`: the links whose state is another now, by tag name. `missing`: what is meant and not there, to be
    put on by one complete call. `surplus`: what is to leave and is still there, first to last."""

    links: Mapping[str, LinkState]
    missing: frozenset[str]
    surplus: tuple[str, ...]

    @property
    def removal(self) -> str | None:
        """The tag to take off next: putting on goes first, and one change at a time (docs/immich.md, law 1)."""
        return self.surplus[0] if self.surplus and not self.missing else None

    @property
    def done(self) -> bool:
        """Whether Immich holds what is meant."""
        return not self.missing and not self.surplus


def reconcile(links: Mapping[str, LinkState], held: Set[str], marker: str) -> Step:
    """Compare the `links` that the ledger has of an asset at rest with the tags that Immich holds of it.

    The marker leaves last: as long as it stands, the rest of the asset is known to be ours to look after.
    """
    after = {name: _seen(name, state, held, marker) for name, state in links.items()}
    missing = {name for name, state in after.items() if state in MEANT and name not in held}
    surplus = {name for name, state in after.items() if state is LinkState.LEAVING}
    sent = {name: LinkState.SENT for name in missing if after[name] is LinkState.WANTED}
    changed = {name: state for name, state in {**after, **sent}.items() if state is not links[name]}
    return Step(
        links=changed,
        missing=frozenset(missing),
        surplus=tuple(sorted(surplus, key=lambda name: (name == marker, name))),
    )


def _seen(name: str, state: LinkState, held: Set[str], marker: str) -> LinkState:
    """The state of one link after a look."""
    is_there, is_marker = name in held, name == marker
    match state:
        case LinkState.WANTED if is_there:
            return LinkState.PROVEN if is_marker else LinkState.FOUND
        case LinkState.SENT if is_there:
            return LinkState.PROVEN
        case LinkState.PROVEN if not is_there and not is_marker and marker in held:
            return LinkState.REJECTED
        case LinkState.LEAVING if not is_there:
            return LinkState.REMOVED
    return state
