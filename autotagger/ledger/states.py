"""Where an asset, a tag on it and a collection can stand: known to processes that have no database, too.

`LIFE` is the one table of what an asset's state may become; the ledger's one `_move` (base.py) refuses the rest.
"""

from collections.abc import Mapping
from enum import IntEnum, StrEnum
from typing import NamedTuple


class State(StrEnum):
    """Where an asset stands.

    The path of a picture is pending -> scored -> planned -> applied -> verified. `planned` is written before
    the tag call and `applied` after its answer: a crash in between leaves `planned`, and the very same call is
    made again (which Immich ignores where it had arrived: no new link, no background job).

    Where an asset that had its call is to have other tags (another policy, another model, undo, repair) it is
    `stale`: read first, then planned with one change, applied, and after that proof stale again until it is as
    meant (docs/immich.md, law 1: one change at a time).
    """

    PENDING = "pending"
    SCORED = "scored"
    STALE = "stale"
    PLANNED = "planned"
    APPLIED = "applied"
    VERIFIED = "verified"
    WAITING = "waiting"
    FAILED = "failed"
    SKIPPED = "skipped"
    GONE = "gone"


#: To be fetched and scored when the time has come.
TO_FETCH = (State.PENDING, State.WAITING, State.FAILED)
#: Nothing is decided yet about its tags.
UNDECIDED = (*TO_FETCH, State.SCORED)
#: With a call under way: what it holds is not known before it has settled.
IN_FLIGHT = (State.PLANNED, State.APPLIED)
#: Being changed: what a listing says of it counts when it is at rest again.
CHANGING = (State.STALE, *IN_FLIGHT)
#: Work of a run is left, before its tags are in Immich.
TO_DO = (State.PENDING, State.SCORED, State.STALE, State.PLANNED)
#: Set aside with a reason, for a while or for good.
SET_ASIDE = (State.FAILED, State.WAITING, State.SKIPPED)


class Transition(NamedTuple):
    """From each of the states `before` an asset may go to `after`; `when`: what brings it about."""

    before: tuple[State, ...]
    after: State
    when: str


#: Everything that may become of an asset. A new one begins as pending, or as waiting where Immich is not done with
#: the upload. Staying where it is needs no line: a call that is to be made later is still planned.
LIFE = (
    Transition(TO_FETCH, State.SCORED, "it was scored, or an identical picture was"),
    Transition(
        (State.SCORED,), State.PLANNED, "its first tags are decided; they are written down before the call"
    ),
    Transition((State.SCORED,), State.STALE, "it has tags of ours: it is read before it gets others"),
    Transition((State.SCORED,), State.VERIFIED, "the tags decided are those that it has"),
    Transition((State.PLANNED,), State.APPLIED, "Immich answered the call"),
    Transition((State.APPLIED,), State.VERIFIED, "Immich holds what is meant"),
    Transition((State.STALE,), State.VERIFIED, "a look at it found what is meant"),
    Transition((State.STALE,), State.PLANNED, "a look at it told which change comes next"),
    Transition((State.APPLIED,), State.PLANNED, "the next change, or what the last call did not bring about"),
    Transition((State.VERIFIED,), State.PLANNED, "`verify --repair` found it not as meant"),
    Transition((State.VERIFIED,), State.SCORED, "another policy is to decide (`retag`)"),
    Transition(
        (*UNDECIDED, State.VERIFIED),
        State.PENDING,
        "another picture is behind it, or another model is to score it",
    ),
    Transition(
        (*UNDECIDED, State.VERIFIED, State.SKIPPED),
        State.STALE,
        "`undo` takes tags of ours off, or its file was imported anew",
    ),
    Transition(
        (State.STALE, State.APPLIED, State.VERIFIED), State.SKIPPED, "`undo` is done: nothing of ours is left"
    ),
    Transition(
        UNDECIDED,
        State.SKIPPED,
        "marked already, in a closed library, not in the selection, or dismissed by somebody",
    ),
    Transition(TO_FETCH, State.WAITING, "Immich has no preview of it yet"),
    Transition((*TO_FETCH, *CHANGING), State.FAILED, "something went wrong with it; tried again later, or not"),
    Transition(
        (State.FAILED, State.WAITING, State.SKIPPED),
        State.PENDING,
        "`retry`, or its library is open again, or it is selected",
    ),
    Transition((State.FAILED, State.WAITING, State.SKIPPED), State.SCORED, "the same, with good scores"),
    Transition((State.FAILED, State.WAITING), State.STALE, "the same, with a call made or planned before"),
    Transition(
        tuple(state for state in State if state is not State.GONE),
        State.GONE,
        "deleted in Immich, in its trash, or in the locked folder",
    ),
    Transition((State.GONE,), State.PENDING, "it is back"),
    Transition((State.GONE,), State.STALE, "it is back, with tags of ours: it is read first"),
    Transition((State.GONE,), State.SKIPPED, "it is back, and its tags had been undone"),
    Transition((State.PENDING, State.WAITING), State.VERIFIED, "`ledger rebuild` found its marker in Immich"),
)

#: By state, the states from which an asset may come there, itself among them.
MAY_BECOME: Mapping[State, frozenset[State]] = {
    after: frozenset({after}).union(*(line.before for line in LIFE if line.after is after)) for after in State
}


class ForbiddenMove(RuntimeError):
    """An asset was to go where `LIFE` does not let it: a bug, and nothing of the transaction is kept."""


class LinkState(IntEnum):
    """What the ledger knows of one tag on one asset. The numbers are in the file: 0 and 1 cost no byte there.

    `SENT` is proven as soon as its asset is verified; the row says `PROVEN` from the moment when the asset is no
    longer at rest. `REMOVED` and `REJECTED` are remembered for good: nobody puts a rejected tag back.
    """

    SENT = 0  # a call carries it, or did
    PROVEN = 1  # it was read back
    WANTED = 2  # to be put there; no call has carried it yet
    FOUND = 3  # somebody else put it there: never ours to remove
    LEAVING = 4  # ours, to be taken off
    REMOVED = 5  # ours, taken off by us
    REJECTED = 6  # ours, taken off by a person
    LOST = 7  # somebody else's, lost by a call of ours: to be put back
    RETIRED = 8  # ours, to be taken off; not looked at since: a person may have been faster
    DELETED = 9  # ours, gone with the tag itself, which somebody deleted: put back only when that is asked for


class What(IntEnum):
    """What a line of an asset's history says. The numbers are in the file, and order what happened at once."""

    FOUND = 0  # the ledger was rebuilt from Immich
    RETRIED = 1  # somebody asked to have it tried again
    REOPENED = 2  # another model or policy is to decide
    CHANGED = 3  # another picture is behind the asset
    SCORED = 4  # note: the ledger's id of the model
    LEAVING = 5  # undo: tags of ours are to be taken off
    TAGGED = 6  # a call was answered that put on all that is meant
    UNTAGGED = 7  # a call was answered that took one tag off; note: the tag
    REPAIRED = 8  # tags were lost in Immich, and a call is planned again
    REJECTED = 9  # a person took tags of ours off; note: the tags
    VERIFIED = 10  # Immich holds what is meant
    UNDONE = 11  # Immich holds nothing of ours, as meant
    DELAYED = 12  # a call or a look is to be made again; note, here and below: the class of trouble
    WAITING = 13
    FAILED = 14
    SKIPPED = 15
    GONE = 16
    ADOPTED = 19  # tags of ours were copied onto it from another asset; note: the tags
    TAG_DELETED = 17  # somebody deleted tags of ours in Immich's tag page; note: the tags
    TAKEN_OVER = 18  # the file was imported anew: what we know of the asset's tags comes from the one before


#: Links that we mean an asset to have.
MEANT = (LinkState.WANTED, LinkState.SENT, LinkState.PROVEN)
#: Links of ours that are to be taken off.
GOING = (LinkState.LEAVING, LinkState.RETIRED)
#: Links that a complete call carries: those, and what our own calls lost of somebody else's.
TO_BE_THERE = (*MEANT, LinkState.LOST)


class Probe(StrEnum):
    """What the canary of a collection said."""

    UNTRIED = "untried"
    PROBING = "probing"
    OPEN = "open"
    CLOSED = "closed"


#: So many assets at once are an event to be told, and no removals by a person, who takes a tag off single wrong
#: pictures. It is the number from which a tag that people removed is proposed for the blacklist, too.
MANY = 5


def are_many(count: int, of: int) -> bool:
    """Whether so many assets are more than a person's single removals: `MANY`, or half of the library, so that the
    loss of a small one is told too. A share alone would pass over 900 of 100,000."""
    return count >= MANY or 0 < of <= 2 * count
