"""Where an asset, a tag on it and a collection can stand: known to processes that have no database, too."""

from enum import IntEnum, StrEnum


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


#: Links that we mean an asset to have.
MEANT = (LinkState.WANTED, LinkState.SENT, LinkState.PROVEN)


class Probe(StrEnum):
    """What the canary of a collection said."""

    UNTRIED = "untried"
    PROBING = "probing"
    OPEN = "open"
    CLOSED = "closed"
