"""The ledger's tables as peewee models. migrations/ holds the SQL that makes them; a test holds both together."""

import uuid
from enum import IntEnum, StrEnum
from typing import Any

import peewee
from peewee import (
    BlobField,
    CompositeKey,
    ForeignKeyField,
    IntegerField,
    TextField,
)


class State(StrEnum):
    """Where an asset stands.

    The path of a picture is pending -> scored -> planned -> applied -> verified. `planned` is written before
    the tag call and `applied` after its answer: a crash in between leaves `planned`, and the very same call is
    made again (which Immich ignores where it had arrived: no new link, no background job).

    Where an asset that had its call is to have other tags (another policy, another model, undo, repair) it is
    `stale`: read first, then planned with one change, applied, and after that proof stale again until it is as
    meant (immich.md, law 1: one change at a time).
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


#: peewee's own annotations cannot say what a query yields; the dataclasses of store.py do.
Table: Any = peewee.Model


class AssetIdField(peewee.Field):
    """A UUID: 16 bytes in the file, its usual text in the code."""

    field_type = "BLOB"

    def db_value(self, value: str | None) -> bytes | None:
        return uuid.UUID(value).bytes if value is not None else None

    def python_value(self, value: bytes | None) -> str | None:
        return str(uuid.UUID(bytes=bytes(value))) if value is not None else None


class Account(Table):  # type: ignore[misc]
    name = TextField(unique=True)
    user_id = TextField(null=True)


class Collection(Table):  # type: ignore[misc]
    account = IntegerField(default=1)
    owner_id = TextField()
    library_id = TextField()
    state = TextField(default=Probe.UNTRIED)
    canary = IntegerField(null=True)
    reason = TextField(null=True)
    decided_ms = IntegerField(null=True)


class Asset(Table):  # type: ignore[misc]
    key = IntegerField(primary_key=True)
    asset_id = AssetIdField(unique=True)
    collection = ForeignKeyField(Collection, column_name="collection")
    kind = TextField()
    mime = TextField(null=True)
    file_name = TextField()
    checksum = TextField()
    state = TextField()
    updated_ms = IntegerField()
    answered_ms = IntegerField(null=True)
    due_ms = IntegerField(null=True)
    attempts = IntegerField(default=0)
    repairs = IntegerField(default=0)
    suspect = IntegerField(default=0)
    error_kind = TextField(null=True)
    error = TextField(null=True)
    account = IntegerField(default=1)
    thumbhash = TextField(null=True)
    seen = IntegerField(default=0)
    origin = IntegerField(null=True)
    removal = IntegerField(null=True)
    moved = TextField(null=True)


class TagModel(Table):  # type: ignore[misc]
    identity = TextField(unique=True)
    name = TextField()
    labels = BlobField()

    class Meta:
        table_name = "model"


class Score(Table):  # type: ignore[misc]
    asset = ForeignKeyField(Asset, primary_key=True, column_name="asset")
    model = ForeignKeyField(TagModel, column_name="model")
    packed = BlobField()


class Policy(Table):  # type: ignore[misc]
    identity = TextField(unique=True)
    settings = TextField()


class Run(Table):  # type: ignore[misc]
    started_ms = IntegerField()
    ended_ms = IntegerField(null=True)
    version = TextField()
    summary = TextField(null=True)


class Origin(Table):  # type: ignore[misc]
    model = ForeignKeyField(TagModel, column_name="model")
    policy = ForeignKeyField(Policy, column_name="policy")
    run = ForeignKeyField(Run, column_name="run")


class Tag(Table):  # type: ignore[misc]
    name = TextField(unique=True)


class Link(Table):  # type: ignore[misc]
    asset = ForeignKeyField(Asset, column_name="asset")
    tag = ForeignKeyField(Tag, column_name="tag")
    state = IntegerField()
    origin = ForeignKeyField(Origin, column_name="origin", null=True)

    class Meta:
        primary_key = CompositeKey("asset", "tag")
        without_rowid = True


class KnownTag(Table):  # type: ignore[misc]
    account = IntegerField()
    tag = ForeignKeyField(Tag, column_name="tag")
    listed = IntegerField()
    ours = IntegerField()

    class Meta:
        table_name = "known_tag"
        primary_key = CompositeKey("account", "tag")
        without_rowid = True


class Event(Table):  # type: ignore[misc]
    asset = ForeignKeyField(Asset, column_name="asset")
    at_ms = IntegerField()
    what = IntegerField()
    run = IntegerField(null=True)
    note = TextField(null=True)

    class Meta:
        primary_key = CompositeKey("asset", "at_ms", "what")
        without_rowid = True


TABLES: tuple[Any, ...] = (
    Account,
    Collection,
    Asset,
    TagModel,
    Score,
    Policy,
    Run,
    Origin,
    Tag,
    Link,
    KnownTag,
    Event,
)
