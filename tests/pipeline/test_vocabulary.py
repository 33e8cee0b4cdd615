"""The vocabulary cap over a real ledger: counted from stored scores, kept from run to run."""

import asyncio
import random
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st

from autotagger.demo import StandIn, tiny_library
from autotagger.demo.drawing import THEMES
from autotagger.demo.files import jpeg
from autotagger.ledger.rows import ListedAsset
from autotagger.ledger.writer import LedgerWriter
from autotagger.pipeline.decider import TagDecider
from autotagger.pipeline.ipc.messages import Operation
from autotagger.pipeline.run import run_operation
from autotagger.policy.rules import TagPolicy
from autotagger.scores import pack
from autotagger.settings import PolicySettings, Settings
from autotagger.tagger.catalog import find_model
from autotagger.tagger.model import Model
from tests.pipeline.support import held_links, run_once, settings_for

MARKER = "auto:processed"
LABELS = [("general", "rating"), ("a", "general"), ("b", "general"), ("c", "general")]
POLICY = TagPolicy(LABELS, PolicySettings(), {"general": 0.5}, MARKER)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[LedgerWriter]:
    with LedgerWriter(tmp_path / "ledger.sqlite3") as ledger:
        yield ledger


def score(ledger: LedgerWriter, pictures: Sequence[str]) -> int:
    """One asset for each of `pictures`, scored with the labels that it spells."""
    assets = [ListedAsset(str(uuid.uuid4()), "me", "", "IMAGE", None, "x.png", "c", 1) for _ in pictures]
    ledger.add_listed(assets)
    model = ledger.model("m", "model", LABELS)
    rows = [np.array([1.0] + [float(name in spelt) for name in "abc"], np.float32) for spelt in pictures]
    packed = [pack(row, POLICY.always) for row in rows]
    ledger.record_scores(model, [(asset.asset_id, each) for asset, each in zip(assets, packed, strict=True)])
    for collection in ledger.collections():
        ledger.open_collection(collection.id, 1)
    return model


def plan(ledger: LedgerWriter, model: int, *, cap: int, at_once: int = 100) -> list[tuple[str, ...]]:
    """Name `at_once` scored assets in a run of its own, and record the plan."""
    return decide(ledger, decider_for(ledger, model, cap), at_once)


def decider_for(ledger: LedgerWriter, model: int, cap: int) -> TagDecider:
    settings = Settings(policy=PolicySettings(vocabulary=cap), state_dir=ledger.path.parent)
    decider = TagDecider(POLICY, settings, ledger=ledger, model=model)
    decider.origin = ledger.origin(model=model, policy="p", settings="{}", run=ledger.start_run("0", 1))
    return decider


def decide(ledger: LedgerWriter, decider: TagDecider, at_once: int = 100) -> list[tuple[str, ...]]:
    named = decider.tags(ledger.scored(at_once))
    ledger.record_plan([(asset.key, (*tags, MARKER), decider.origin) for asset, tags in named])
    return [tags for _, tags in named]


def test_the_frequent_ones_of_all_that_is_stored_get_in(ledger: LedgerWriter) -> None:
    model = score(ledger, ["ab", "bc", "bc", "c"])
    assert plan(ledger, model, cap=2, at_once=1) == [("rating:general", "b")], "a is rarer than what is to come"
    assert plan(ledger, model, cap=2) == [
        ("rating:general", "b", "c"),
        ("rating:general", "b", "c"),
        ("rating:general", "c"),
    ]


def test_what_is_planned_stays_admitted_in_the_next_run(ledger: LedgerWriter) -> None:
    model = score(ledger, ["a"])
    assert plan(ledger, model, cap=1) == [("rating:general", "a")]
    score(ledger, ["b", "b", "b", "ab"])
    assert plan(ledger, model, cap=1) == [("rating:general",)] * 3 + [("rating:general", "a")]
    assert set(ledger.tags_in_use()) == {"rating:general", "a", MARKER}


def test_without_a_cap_nothing_is_left_out(ledger: LedgerWriter) -> None:
    model = score(ledger, ["abc"])
    assert plan(ledger, model, cap=0) == [("rating:general", "a", "b", "c")]


def test_a_sample_of_the_scores_is_evenly_spread(ledger: LedgerWriter) -> None:
    model = score(ledger, ["a"] * 10)
    every = [key for key, _ in ledger.stored_scores(model)]
    assert [key for key, _ in ledger.stored_scores(model, limit=4)] == every[::3]
    assert [key for key, _ in ledger.stored_scores(model, limit=10)] == every


async def test_a_whole_run_keeps_to_the_cap_and_so_does_the_next_one(tmp_path: Path) -> None:
    async with StandIn(tiny_library(24)) as server:
        settings = settings_for(server, tmp_path, policy={"vocabulary": 2})
        await run_once(settings)
        await server.settle()
        first = {tag for tags in held_links(server).values() for tag in tags}
        ratings = {tag for tag in first if tag.startswith("rating:")}
        assert len(first - ratings - {MARKER}) == 2
        assert {tag.value for tag in server.world.store.tags.values()} == first, "no other tag was even made"
        assert all(MARKER in tags and tags & ratings for tags in held_links(server).values())

        server.upload(jpeg(3, (32, 32), THEMES[2]))
        await run_once(settings)
        await server.settle()
        assert {tag for tags in held_links(server).values() for tag in tags} == first


@settings_of_hypothesis(max_examples=30, deadline=None)
@given(
    cap=st.integers(1, 3),
    pictures=st.lists(st.sets(st.sampled_from("abcdef"), max_size=4), min_size=1, max_size=12),
    chance=st.randoms(use_true_random=False),
)
def test_the_same_library_in_any_order_has_the_same_tags_after_a_retag(
    cap: int, pictures: list[set[str]], chance: random.Random
) -> None:
    numbers = list(range(len(pictures)))
    first = retagged(cap, pictures, numbers, 1)
    assert first == retagged(cap, pictures, chance.sample(numbers, len(numbers)), chance.randint(1, 4))
    in_use = {tag for tags in first.values() for tag in tags if not tag.startswith("rating:")} - {MARKER}
    assert len(in_use) == min(cap, len(set().union(*pictures))), "no place is left empty"


def retagged(cap: int, pictures: list[set[str]], order: Sequence[int], at_once: int) -> dict[int, frozenset[str]]:
    """The tags by picture after runs in this order, `at_once` in each, and a retag."""
    palette = find_model("palette", Path("nowhere"), download=False)
    ids = [str(uuid.UUID(int=number + 1, version=4)) for number in range(len(pictures))]
    with TemporaryDirectory() as folder, LedgerWriter(Path(folder) / "ledger.sqlite3") as ledger:
        settings = Settings(policy=PolicySettings(vocabulary=cap), state_dir=Path(folder))

        def decider() -> TagDecider:
            return TagDecider.of_run(ledger, palette, settings, ledger.start_run("0", 1))

        for start in range(0, len(order), at_once):
            some = order[start : start + at_once]
            ledger.add_listed([ListedAsset(ids[one], "me", "", "IMAGE", None, "x.png", "c", 1) for one in some])
            for collection in ledger.collections():
                ledger.open_collection(collection.id, 1)
            model = decider().model
            ledger.record_scores(model, [(ids[one], spelt(palette, pictures[one])) for one in some])
            decide(ledger, decider())
            settle(ledger)
        retag = decider()
        retag.expect_recount()
        asyncio.run(retag.recount())
        ledger.reopen_outdated(retag.model, retag.identity, 100)
        decide(ledger, retag)
        assert not ledger.outdated(retag.model, retag.identity)
        held = dict(ledger.links())
        return {number: held[asset_id] for number, asset_id in enumerate(ids)}


def spelt(model: Model, picture: set[str]) -> bytes:
    """Scores of 1 for the general labels that the letters stand for, and for the first rating."""
    general = [row for row, label in enumerate(model.labels) if label.category == "general"]
    ratings = [row for row, label in enumerate(model.labels) if label.category == "rating"]
    row = np.zeros(len(model.labels), np.float32)
    row[[ratings[0], *(general["abcdef".index(letter)] for letter in picture)]] = 1.0
    return pack(row, np.array(ratings))


def settle(ledger: LedgerWriter) -> None:
    planned = [asset.key for asset in ledger.planned(10, 100)]
    ledger.record_answer(planned, 1, 1)
    ledger.record_verified(planned)


async def test_a_retag_keeps_to_the_vocabulary_and_a_second_one_finds_nothing_to_do(tmp_path: Path) -> None:
    ends = []
    for number, order in enumerate((1, -1)):
        place = tmp_path / str(number)
        async with StandIn(tiny_library(2)) as server:
            settings = settings_for(server, place, policy={"vocabulary": 3})
            await run_once(settings)
            ids = []
            for wave in [range(6), range(6, 12), range(12, 18)][::order]:
                ids += [
                    (theme, server.upload(jpeg(theme, (32, 32), THEMES[theme % len(THEMES)]))) for theme in wave
                ]
                await run_once(settings)
            await server.settle()
            await run_operation(settings, Operation("retag"))
            await server.settle()
            held = held_links(server)
            ends.append({theme: held[asset_id] for theme, asset_id in ids})
            before = dict(held)
            again = await run_operation(settings, Operation("retag"))
            await server.settle()
            assert held_links(server) == before
            assert not again.counts.get("tag_calls")
            assert not again.counts.get("untag_calls"), "a second retag finds nothing to do"
    assert ends[0] == ends[1]
    ours = {tag for tags in ends[0].values() for tag in tags if not tag.startswith("rating:")} - {MARKER}
    assert len(ours) <= 3
