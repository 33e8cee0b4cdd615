"""The dispatcher: which picture takes off, which worker gets it, and what becomes of a flight whose part is done.

It keeps the books (flights.py). A message only changes the books; `dispatch` acts on them.
"""

from collections.abc import Callable

from loguru import logger

from autotagger.ledger.store import Ledger
from autotagger.pipeline.child.spec import ChildSpec
from autotagger.pipeline.ipc import messages as m
from autotagger.pipeline.ipc.slots import SlotTable
from autotagger.pipeline.supervisor.in_flight import Flight, FlightBook, Stage
from autotagger.pipeline.supervisor.processes import Child, Crew
from autotagger.pipeline.supervisor.work_queue import WorkList

#: Flights that may wait for the ledger; beyond it nothing new takes off until the writer has caught up.
MOST_RECORDING = 200
#: Pause of all take-offs after Immich was unreachable for the retry budget.
OUTAGE_PAUSE_S = 30.0


class Dispatcher:
    """The flights of a run, between the ledger that says what is due and the crew that flies them. `limit`: so
    many assets and no more; `outage` is called with a message when one ended because Immich is unreachable.

    `book` and `slots` are there to be looked at; `inferred`: pictures scored so far.
    """

    def __init__(
        self,
        crew: Crew,
        ledger: Ledger,
        spec: ChildSpec,
        *,
        limit: int | None,
        outage: Callable[[str], None],
        clock: Callable[[], float],
    ) -> None:
        pipeline = spec.settings.pipeline
        self.slots = SlotTable(pipeline.slots)
        self.book = FlightBook(self.slots)
        self.inferred = 0
        self._crew = crew
        self._work = WorkList(
            self.book,
            ledger,
            accounts=[account.id for account in spec.accounts],
            model=spec.model.identity if spec.model else None,
            begun=spec.errand is not None,
            copy=self._have_copied,
        )
        self._patience_s = pipeline.hang_timeout_s
        self._limit = limit
        self._outage = outage
        self._clock = clock
        self._dispatched = 0
        self._paused_until_s = 0.0

    # -- handing out --------------------------------------------------------------------------------------

    def dispatch(self, *, begin: bool) -> None:
        """Start every flight that can start, unless nothing new is to `begin`; give every fetched picture to a
        worker."""
        while begin and self._may_take_off() and (flight := self._next_flight()):
            self._dispatched += 1
            self._crew.fetcher.flights.add(flight.id)
            assert flight.slot is not None
            self._crew.fetcher.send(m.Fetch(flight.id, flight.slot, flight.work))
        self._hand_to_workers()

    def _may_take_off(self) -> bool:
        return (
            bool(self._crew.workers)
            and self._crew.writer.ready
            and self._crew.fetcher.has_room
            and self.slots.free > 0
            and self.book.count(Stage.RECORDING) + self._work.copying < MOST_RECORDING
            and not self.paused
            and not self.book.flying_alone
            and not self._limit_reached()
        )

    def _next_flight(self) -> Flight | None:
        if self.book.suspects:
            # A suspect flies when the sky is empty, so that its worker's death says something.
            return None if len(self.book) else self.book.take_off(None, self._clock())
        work = self._work.next(self._limit_reached)
        return self.book.take_off(work, self._clock()) if work else None

    def _hand_to_workers(self) -> None:
        while flight := self.book.first(Stage.FETCHED):
            ready = [
                worker for worker in self._crew.workers if worker.ready and len(worker.flights) < worker.capacity
            ]
            if not ready:
                return
            worker = min(ready, key=lambda worker: len(worker.flights))
            worker.flights.add(flight.id)
            self.book.given_to_worker(flight, self._clock())
            assert flight.slot is not None
            worker.send(m.Infer(flight.id, flight.slot, flight.length, flight.spilled))

    def _have_copied(self, asset_id: str) -> None:
        self._dispatched += 1
        self._crew.writer.send(m.Copy(asset_id))

    def _limit_reached(self) -> bool:
        return self._limit is not None and self._dispatched >= self._limit

    # -- taking back --------------------------------------------------------------------------------------

    def fetched(self, child: Child, message: m.Fetched) -> None:
        """The picture is in its slot and waits for a worker."""
        child.flights.discard(message.flight)
        self._crew.served(child)
        if flight := self.book.get(message.flight):
            self.book.fetched(flight, message.length, spilled=message.spilled, now_s=self._clock())

    def scored(self, child: Child, message: m.Scored) -> None:
        """A worker is done with a picture: its scores go to the ledger."""
        if flight := self._given_back(child, message.flight):
            self.inferred += 1
            self._record(flight, message.packed)

    def failed(self, child: Child, message: m.Failed) -> None:
        """A flight ended in trouble. The ledger hears of it, unless the asset has no part in it."""
        flight, trouble = self._given_back(child, message.flight), message.trouble
        if flight is None:
            return
        if trouble.next in (m.Next.UNBLAMED, m.Next.PAUSED):
            self.book.drop(flight)
            if trouble.next is m.Next.UNBLAMED:
                self._outage(trouble.message)
            return
        logger.info("{}: {}", flight.work.file_name, trouble.message)
        self._record(flight, trouble)

    def recorded(self, child: Child, asset_ids: tuple[str, ...]) -> None:
        """The ledger has these assets: their flights are over."""
        self._crew.served(child)
        self._work.recorded(asset_ids, [work for work in map(self.book.land, asset_ids) if work])

    def lost(self, child: Child) -> None:
        """Do again, or give up, what a dead child held."""
        for flight in [flight for flight in map(self.book.get, child.flights) if flight]:
            if self.book.crash(flight):
                message = f"{flight.work.file_name} ended its {child.role} twice ({child.exit_description})"
                self._record(flight, m.Trouble(m.Next.NEVER, "killed-worker", message))

    def forget_unrecorded(self) -> None:
        """The writer is a new one: what a dead one had not recorded is done again."""
        while flight := self.book.first(Stage.RECORDING):
            self.book.drop(flight)
        self._work.forget_copies()

    def _given_back(self, child: Child, flight_id: int) -> Flight | None:
        child.flights.discard(flight_id)
        self._crew.served(child)
        return self.book.get(flight_id)

    def _record(self, flight: Flight, outcome: bytes | m.Trouble) -> None:
        self.book.scored(flight, self._clock())
        self._crew.writer.send(m.Record(flight.work.asset_id, outcome))

    # -- what is left -------------------------------------------------------------------------------------

    @property
    def idle(self) -> bool:
        """Whether nothing is under way."""
        if len(self.book) or self._work.copying:
            return False
        assert self.slots.free == self.slots.count, "a slot was lost"
        return True

    def is_finished(self) -> bool:
        """Whether nothing is left to take off, now or soon. Asks the ledger."""
        if not self._crew.workers or self._limit_reached():
            return True
        return not self.book.suspects and not self.paused and self._work.is_done()

    @property
    def paused(self) -> bool:
        """Whether nothing takes off because Immich was unreachable."""
        return self._clock() < self._paused_until_s

    def pause(self) -> None:
        """Immich is unreachable: nothing takes off for a while."""
        self._paused_until_s = self._clock() + OUTAGE_PAUSE_S

    def leave_account(self, account: int) -> None:
        """Nothing more takes off for this account."""
        self._work.leave_account(account)

    def silent_since(self, child: Child) -> float:
        """Since when, on our clock, a child is silent or owes us a picture: a worker's other threads go on saying
        that it lives."""
        # A film is many pictures: each that the child has, or queues behind, earns it the whole patience again.
        patience_s = self.book.films(child.flights) * self._patience_s
        owed_s = self.book.inferring_since(child.flights)
        return min([child.heard_s, *(since_s + patience_s for since_s in owed_s)])
