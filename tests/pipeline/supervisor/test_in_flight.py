"""The books: no slot is ever lost, no asset flies twice at once, and only the guilty are convicted."""

import uuid

from hypothesis import given
from hypothesis import strategies as st

from autotagger.ledger.rows import Work
from autotagger.pipeline.ipc.slots import SlotTable
from autotagger.pipeline.supervisor.in_flight import Flight, FlightBook, Stage


def work() -> Work:
    return Work(str(uuid.uuid4()), "IMAGE", "image/png", "picture.png")


def test_a_suspect_flies_alone_and_is_convicted_only_of_deaths_alone() -> None:
    slots = SlotTable(4)
    book = FlightBook(slots)
    guilty, innocent = work(), work()
    flights = [book.take_off(asset, 0.0) for asset in (guilty, innocent)]
    assert [book.crash(flight) for flight in flights] == [False, False]
    assert (len(book), slots.free, book.suspects) == (0, 4, True)

    alone = book.take_off(None, 0.0)
    assert (alone.work, alone.alone) == (guilty, True)
    assert book.crash(alone) is False
    cleared = book.take_off(None, 0.0)
    assert cleared.work == innocent
    book.scored(cleared, 0.0)
    book.land(innocent.asset_id)

    again = book.take_off(None, 0.0)
    assert again.work == guilty
    assert book.crash(again) is True, "twice alone is proof"
    assert guilty.asset_id in book, "its failure has still to be recorded"
    book.scored(again, 0.0)
    book.land(guilty.asset_id)
    assert (len(book), slots.free, book.suspects) == (0, 4, False)


def test_an_asset_that_landed_starts_with_a_clean_record() -> None:
    book = FlightBook(SlotTable(2))
    asset = work()
    book.crash(book.take_off(asset, 0.0))
    book.crash(book.take_off(None, 0.0))
    book.take_off(None, 0.0)
    book.land(asset.asset_id)
    book.crash(book.take_off(asset, 0.0))
    assert book.crash(book.take_off(None, 0.0)) is False


@given(st.lists(st.sampled_from(["take", "fetch", "score", "land", "drop", "crash"]), max_size=80), st.randoms())
def test_slots_and_flights_always_add_up(steps: list[str], random: object) -> None:
    slots = SlotTable(5)
    book = FlightBook(slots)
    for step in steps:
        _step(book, slots, step)
        holding = [flight for flight in book if flight.slot is not None]
        assert len(holding) + slots.free == slots.count
        assert len({flight.slot for flight in holding}) == len(holding)
        assert all(flight.work.asset_id in book for flight in book)


def _step(book: FlightBook, slots: SlotTable, step: str) -> None:
    flights = list(book)
    if step == "take":
        if slots.free:
            book.take_off(None if book.suspects else work(), 0.0)
        return
    flight = _first(flights, step)
    if flight is None:
        return
    if step == "fetch":
        book.fetched(flight, 1, spilled=False, now_s=0.0)
    elif step == "score":
        book.scored(flight, 0.0)
    elif step == "land":
        book.land(flight.work.asset_id)
    elif step == "drop":
        book.drop(flight)
    elif book.crash(flight):
        book.scored(flight, 0.0)


def _first(flights: list[Flight], step: str) -> Flight | None:
    wanted = {"land": Stage.RECORDING, "fetch": Stage.FETCHING}.get(step)
    return next((f for f in flights if wanted is None or f.stage is wanted), None)
