"""The ledger's tables as peewee models. migrations/ holds the SQL that makes them; a test holds both together."""

import uuid
import zlib
from collections.abc import Callable
from enum import IntEnum, StrEnum
from typing import Any, TypeVar

import peewee
from peewee import (
    BlobField,
    CompositeKey,
    ForeignKeyField,
    IntegerField,
    TextField,
)

from autotagger.errors import Malformed
from autotagger.ledger.states import LinkState, Probe, State, What

#: peewee's own annotations cannot say what a query yields; the dataclasses of rows.py do.
Table: Any = peewee.Model

Read = TypeVar("Read")


def read(convert: Callable[[Any], Read], stored: Any) -> Read:
    """What a stored value means. Raises Malformed where it means nothing: the file is damaged."""
    try:
        return convert(stored)
    except (ValueError, TypeError, zlib.error) as error:
        raise Malformed(f"malformed: {error}") from None


class AssetIdField(peewee.Field):
    """A UUID: 16 bytes in the file, its usual text in the code."""

    field_type = "BLOB"

    def db_value(self, value: str | None) -> bytes | None:
        return uuid.UUID(value).bytes if value is not None else None

    def python_value(self, value: bytes | None) -> str | None:
        return read(_uuid_text, value) if value is not None else None


def _uuid_text(value: bytes) -> str:
    return str(uuid.UUID(bytes=bytes(value)))


class ChoiceField(peewee.Field):
    """One of an enum's members: its value in the file, the member in the code."""

    field_type = "TEXT"  # said again by the migrations, which make the tables

    def __init__(self, choice: type[StrEnum] | type[IntEnum], **options: Any) -> None:
        self.choice = choice
        super().__init__(**options)

    def db_value(self, value: Any) -> Any:
        return value if value is None else self.choice(value).value

    def python_value(self, value: Any) -> Any:
        return value if value is None else read(self.choice, value)


class Account(Table):  # type: ignore[misc]
    name = TextField(unique=True)
    user_id = TextField(null=True)
    selection = TextField(null=True)
    left_out = IntegerField(null=True)
    contested_ms = IntegerField(null=True)


class Collection(Table):  # type: ignore[misc]
    """A library as a key sees it: its owner's uploads, or one external library of theirs; with its canary."""

    account = IntegerField(default=1)
    owner_id = TextField()
    library_id = TextField()
    state = ChoiceField(Probe, default=Probe.UNTRIED)
    canary = IntegerField(null=True)
    reason = TextField(null=True)
    decided_ms = IntegerField(null=True)


class Asset(Table):  # type: ignore[misc]
    """An asset, where it stands in its life (states.py), and what went wrong with it last."""

    key = IntegerField(primary_key=True)
    asset_id = AssetIdField(unique=True)
    collection = ForeignKeyField(Collection, column_name="collection")
    kind = TextField()
    mime = TextField(null=True)
    file_name = TextField()
    checksum = TextField()
    state = ChoiceField(State)
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
    selected = IntegerField(default=1)


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
    """A tag on an asset: what we mean, sent or were refused, and which policy decided it."""

    asset = ForeignKeyField(Asset, column_name="asset")
    tag = ForeignKeyField(Tag, column_name="tag")
    state = ChoiceField(LinkState)
    origin = ForeignKeyField(Origin, column_name="origin", null=True)

    class Meta:
        primary_key = CompositeKey("asset", "tag")
        without_rowid = True


class KnownTag(Table):  # type: ignore[misc]
    """A tag in an account's Immich. `ours`: not there before us; `listed`: the last asset looked at for it."""

    account = IntegerField()
    tag = ForeignKeyField(Tag, column_name="tag")
    listed = IntegerField()
    ours = IntegerField()
    immich_id = TextField(null=True)

    class Meta:
        table_name = "known_tag"
        primary_key = CompositeKey("account", "tag")
        without_rowid = True


class TagMeaning(Table):  # type: ignore[misc]
    tag = ForeignKeyField(Tag, column_name="tag")
    meaning = TextField()

    class Meta:
        table_name = "tag_meaning"
        primary_key = CompositeKey("tag", "meaning")
        without_rowid = True


class Event(Table):  # type: ignore[misc]
    """A line of an asset's history."""

    asset = ForeignKeyField(Asset, column_name="asset")
    at_ms = IntegerField()
    what = ChoiceField(What)
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
    TagMeaning,
    Event,
)
