"""From the description of some assets to conditions of a query."""

from collections.abc import Iterator
from typing import Any

from peewee import SQL, fn

from autotagger.ledger.rows import AssetFilter
from autotagger.ledger.schema import Asset, Link, Origin, Score, Tag, TagModel
from autotagger.ledger.states import LinkState


def conditions(chosen: AssetFilter) -> Iterator[Any]:
    """What is true of every asset that `chosen` describes, whatever else the query joins."""
    equal = (
        (Asset.asset_id, chosen.asset_id),
        (Asset.error_kind, chosen.error),
        (Asset.account, chosen.account),
        (Asset.collection, chosen.collection),
    )
    yield from (column == value for column, value in equal if value is not None)
    if chosen.model is not None:
        models = TagModel.select(TagModel.id).where(TagModel.name == chosen.model)
        scored = Score.select(SQL("1")).where((Score.asset == Asset.key) & Score.model.in_(models))
        yield fn.EXISTS(scored)
    if chosen.run is not None:
        yield Asset.origin.in_(Origin.select(Origin.id).where(Origin.run == chosen.run))
    if chosen.after:
        yield Asset.key > chosen.after
    if chosen.states:
        yield Asset.state.in_(chosen.states)
    if chosen.name is not None:
        yield Asset.file_name % chosen.name  # GLOB, in SQLite
    if chosen.tag is not None:
        holds = Link.select(SQL("1")).join(Tag, on=Link.tag == Tag.id)
        ours = Link.state.not_in((LinkState.REMOVED, LinkState.REJECTED, LinkState.DELETED))
        yield fn.EXISTS(holds.where((Link.asset == Asset.key) & (Tag.name == chosen.tag) & ours))
