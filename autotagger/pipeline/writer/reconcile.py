"""What Immich holds against what the ledger knows: whose hand changed a link, and which change comes next.

Pure. A person's word stands: a link of ours that had been read back and is missing while the marker stands was
taken off by a person and never comes back; a tag that was there before our first call is never ours.

Tags leave in waves: one wave takes everything off that is to leave, the marker excepted, which leaves in a wave of
its own (docs/immich.md, law 13). Immich's background jobs can lose other tags of the asset in a wave. So its tags
are written down before, a person's too, and what a wave lost of them is put back.
"""

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass

from autotagger.ledger.links import unwanted_meanings
from autotagger.ledger.states import TO_BE_THERE, LinkState


@dataclass(frozen=True, slots=True)
class Step:
    """What a look at an asset says.

    `links`: the links whose state is another now, by tag name. `forgotten`: tags of somebody else's that left by
    somebody else's hand. `missing`: what is meant to be there and is not, to be put on by one complete call.
    `surplus`: what is to leave and is still there. `marker`: the marker's name."""

    links: Mapping[str, LinkState]
    missing: frozenset[str]
    surplus: frozenset[str]
    marker: str
    forgotten: frozenset[str] = frozenset()

    @property
    def wave(self) -> frozenset[str]:
        """The tags to take off next: putting on goes first, and the marker last. As long as it stands, the rest of
        the asset is known to be ours to look after."""
        return frozenset() if self.missing else wave_of(self.surplus, self.marker)

    @property
    def done(self) -> bool:
        """Whether Immich holds what is meant."""
        return not self.missing and not self.surplus


def wave_of(leaving: frozenset[str], marker: str) -> frozenset[str]:
    """Of the tags that are to leave, those that leave together next: the marker by itself, when it is the last."""
    return leaving - {marker} or leaving


def reconcile(
    links: Mapping[str, LinkState],
    held: Set[str],
    marker: str,
    *,
    after_wave: bool = False,
    contested: bool = False,
    meanings: Callable[[str], frozenset[str]] = lambda name: frozenset({name}),
) -> Step:
    """Compare the `links` that the ledger has of a settled asset with the tags that Immich holds of it.

    `after_wave`: its last call took tags off, so what is missing of somebody else's tags was lost by that.
    `contested`: another autotagger sets the same marker, so what is missing of ours may have left by its hand.
    `meanings`: of a tag, whatever it is called: what a person took off does not come back under another name.
    """
    after = {
        name: _seen(name, state, held, marker, after_wave=after_wave, blame=not (after_wave or contested))
        for name, state in links.items()
    }
    if off := unwanted_meanings(after, meanings):
        to_come = [name for name, state in after.items() if state is LinkState.WANTED and name != marker]
        after |= {name: LinkState.REMOVED for name in to_come if meanings(name) & off}
    missing = {name for name, state in after.items() if state in TO_BE_THERE and name not in held}
    surplus = {name for name, state in after.items() if state is LinkState.LEAVING}
    sent = {name: LinkState.SENT for name in missing if after[name] is LinkState.WANTED}
    forgotten: set[str] = set()
    written: dict[str, LinkState] = {}
    if surplus and not missing:  # a wave follows: from here on the ledger knows everything that has to stay
        written = dict.fromkeys(held - links.keys(), LinkState.FOUND)
        forgotten = {name for name, state in after.items() if state is LinkState.FOUND and name not in held}
    changed = {name: state for name, state in {**after, **sent, **written}.items() if state is not links.get(name)}
    return Step(changed, frozenset(missing), frozenset(surplus), marker, frozenset(forgotten))


def _seen(name: str, state: LinkState, held: Set[str], marker: str, *, after_wave: bool, blame: bool) -> LinkState:
    """The state of one link after a look. `blame`: a person may have taken off what is missing."""
    is_there, is_marker = name in held, name == marker
    match state:
        case LinkState.WANTED if is_there:
            return LinkState.PROVEN if is_marker else LinkState.FOUND
        case LinkState.SENT | LinkState.DELETED if is_there:
            return LinkState.PROVEN
        case LinkState.PROVEN if not is_there and not is_marker and marker in held and blame:
            return LinkState.REJECTED
        case LinkState.RETIRED if is_there:
            return LinkState.LEAVING
        case LinkState.RETIRED:
            return LinkState.REJECTED if blame and not is_marker and marker in held else LinkState.REMOVED
        case LinkState.LEAVING if not is_there:
            return LinkState.REMOVED
        case LinkState.FOUND if not is_there and after_wave:
            return LinkState.LOST
        case LinkState.LOST if is_there:
            return LinkState.FOUND
    return state
