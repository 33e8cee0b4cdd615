"""The slots and the dispatcher's books under any order of events: nothing is lost, held twice, or left behind."""

import tempfile
import uuid
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from autotagger.ledger.rows import Work
from autotagger.pipeline.ipc.slots import SlotMemory, SlotTable
from autotagger.pipeline.supervisor.in_flight import Flight, FlightBook, Stage

SLOTS, SLOT_BYTES = 3, 64
#: What is in flight of so many assets; the same one comes again and again, as it does after a crash.
ASSETS = [str(uuid.UUID(int=number)) for number in range(5)]
HOLDING = (Stage.FETCHING, Stage.FETCHED, Stage.INFERRING)


def work(number: int) -> Work:
    return Work(asset_id=ASSETS[number], kind="IMAGE", mime="image/jpeg", file_name=f"{number}.jpg")


class Books(RuleBasedStateMachine):
    """What the dispatcher does to its books, in an order that nobody would think of."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.slots = SlotTable(SLOTS)
        self.book = FlightBook(self.slots)
        self.memory = SlotMemory.create(SLOTS, SLOT_BYTES, Path(self.folder.name))
        self.bodies: dict[int, bytes] = {}
        self.deaths_alone: dict[str, int] = {}

    def teardown(self) -> None:
        self.memory.close()
        assert list(Path(self.folder.name).iterdir()) == [], "what nobody read is gone with the run"
        self.folder.cleanup()

    def pick(self, data: st.DataObject, *stages: Stage) -> Flight | None:
        flights = [flight for flight in self.book if flight.stage in stages]
        return data.draw(st.sampled_from(flights)) if flights else None

    @precondition(lambda self: self.slots.free and not self.book.suspects and not self.book.flying_alone)
    @rule(number=st.sampled_from(range(len(ASSETS))))
    def take_off(self, number: int) -> None:
        if ASSETS[number] in self.book:
            return
        flight = self.book.take_off(work(number), 0.0)
        assert not flight.alone

    @precondition(lambda self: self.book.suspects and not len(self.book))
    @rule()
    def take_off_alone(self) -> None:
        flight = self.book.take_off(None, 0.0)
        assert flight.alone
        assert self.book.flying_alone

    @rule(data=st.data(), body=st.binary(min_size=1, max_size=2 * SLOT_BYTES))
    def fetched(self, data: st.DataObject, body: bytes) -> None:
        if (flight := self.pick(data, Stage.FETCHING)) is None:
            return
        assert flight.slot is not None
        spilled = self.memory.write(flight.slot, body)
        self.book.fetched(flight, len(body), spilled=spilled, now_s=0.0)
        self.bodies[flight.id] = body

    @rule(data=st.data())
    def inferred(self, data: st.DataObject) -> None:
        if (flight := self.pick(data, Stage.FETCHED)) is None:
            return
        assert flight.slot is not None
        with self.memory.read(flight.slot, flight.length, spilled=flight.spilled) as body:
            assert bytes(body) == self.bodies[flight.id], "nobody wrote over it"
        self.book.given_to_worker(flight, 0.0)

    @rule(data=st.data())
    def scored_or_failed(self, data: st.DataObject) -> None:
        if flight := self.pick(data, *HOLDING):
            self.book.scored(flight, 0.0)
            assert flight.slot is None

    @rule(data=st.data())
    def landed(self, data: st.DataObject) -> None:
        if flight := self.pick(data, Stage.RECORDING):
            self.book.land(flight.work.asset_id)
            assert self.book.get(flight.id) is None
            self.deaths_alone.pop(flight.work.asset_id, None)

    @rule(data=st.data())
    def its_process_died(self, data: st.DataObject) -> None:
        if (flight := self.pick(data, *HOLDING)) is None:
            return
        asset_id, alone = flight.work.asset_id, flight.alone
        self.deaths_alone[asset_id] = self.deaths_alone.get(asset_id, 0) + alone
        guilty = self.book.crash(flight)
        assert guilty == (alone and self.deaths_alone[asset_id] >= 2), (
            "convicted after two deaths alone, never before"
        )
        if guilty:
            self.book.scored(flight, 0.0)
        else:
            assert self.book.is_suspect(asset_id)

    @rule()
    def the_writer_died(self) -> None:
        for flight in self.book:
            if flight.stage is Stage.RECORDING:
                self.book.drop(flight)

    @rule(number=st.integers(-1, 1 << 40), asset=st.sampled_from([*ASSETS, "never heard of"]))
    def news_of_a_flight_that_is_no_more(self, number: int, asset: str) -> None:
        if asset not in self.book:
            self.book.land(asset)
        if number not in {flight.id for flight in self.book}:
            assert self.book.get(number) is None

    @invariant()
    def every_slot_is_free_or_held_by_one(self) -> None:
        held = [flight.slot for flight in self.book if flight.slot is not None]
        assert len(held) == len(set(held)), "two flights never share a slot"
        assert self.slots.free + len(held) == SLOTS, "no slot is lost"
        assert all((flight.slot is not None) == (flight.stage in HOLDING) for flight in self.book)

    @invariant()
    def every_flight_is_in_its_stage(self) -> None:
        for stage in Stage:
            there = [flight for flight in self.book if flight.stage is stage]
            assert self.book.count(stage) == len(there)
            assert (self.book.first(stage) in there) if there else (self.book.first(stage) is None)

    @invariant()
    def an_asset_flies_once(self) -> None:
        flying = [flight.work.asset_id for flight in self.book]
        assert len(flying) == len(set(flying))
        assert all(asset_id in self.book for asset_id in flying)

    @invariant()
    def a_suspect_has_the_sky_to_itself(self) -> None:
        assert not self.book.flying_alone or len(self.book) == 1


Books.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestBooks = Books.TestCase
