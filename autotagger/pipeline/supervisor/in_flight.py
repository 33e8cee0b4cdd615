"""The dispatcher's books: which asset is where, in which slot, and who is suspected of killing workers."""

from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum, auto

from autotagger.ledger.rows import Work
from autotagger.pipeline.ipc.slots import SlotTable

#: Deaths of its worker, each time alone in the whole pipeline, after which an asset is set aside. The first
#: death in company only makes a suspect, so that an innocent asset (kill -9, out of memory) is not convicted.
MOST_DEATHS_ALONE = 2


class Stage(Enum):
    FETCHING = auto()
    FETCHED = auto()
    INFERRING = auto()
    RECORDING = auto()


@dataclass(slots=True)
class Flight:
    """One asset on its way through the pipeline. `slot` is None once it is given back; `since_s`: when its stage
    began."""

    id: int
    work: Work
    slot: int | None
    alone: bool
    stage: Stage = Stage.FETCHING
    length: int = 0
    spilled: bool = False
    since_s: float = 0.0


class FlightBook:
    """Every flight from take-off to the ledger. An asset is in at most one flight."""

    def __init__(self, slots: SlotTable) -> None:
        self._slots = slots
        self._flights: dict[int, Flight] = {}
        # Asked for at every message: never by a look through all flights.
        self._by_stage: dict[Stage, dict[int, Flight]] = {stage: {} for stage in Stage}
        self._by_asset: dict[str, int] = {}
        self._checksums: Counter[str] = Counter()
        self._next_id = 1
        self._deaths_alone: Counter[str] = Counter()
        self._suspects: deque[Work] = deque()

    def __len__(self) -> int:
        return len(self._flights)

    def __iter__(self) -> Iterator[Flight]:
        return iter(list(self._flights.values()))

    def __contains__(self, asset_id: object) -> bool:
        return asset_id in self._by_asset

    @property
    def suspects(self) -> bool:
        """Whether assets wait to fly alone."""
        return bool(self._suspects)

    @property
    def flying_alone(self) -> bool:
        return any(flight.alone for flight in self._flights.values())

    def count(self, stage: Stage) -> int:
        return len(self._by_stage[stage])

    def first(self, stage: Stage) -> Flight | None:
        """The flight that reached this stage first of those still in it."""
        return next(iter(self._by_stage[stage].values()), None)

    def holds_twin_of(self, work: Work) -> bool:
        """Whether a picture that may be identical is on its way: what becomes of it will do for both."""
        return bool(work.checksum) and self._checksums[work.checksum] > 0

    def inferring_since(self, flight_ids: Iterable[int]) -> list[float]:
        """When each of these pictures that a worker has not given back was given to it."""
        flights = [flight for flight in map(self.get, flight_ids) if flight]
        return [flight.since_s for flight in flights if flight.stage is Stage.INFERRING]

    def films(self, flight_ids: Iterable[int]) -> int:
        """How many of these flights are no single picture."""
        return sum(flight.work.kind != "IMAGE" for flight in map(self.get, flight_ids) if flight)

    def is_suspect(self, asset_id: str) -> bool:
        return any(work.asset_id == asset_id for work in self._suspects)

    def take_off(self, work: Work | None, now_s: float) -> Flight:
        """Start a flight; `work` None takes the next suspect, alone."""
        alone = work is None
        work = work or self._suspects.popleft()
        flight = Flight(self._next_id, work, self._slots.take(), alone, since_s=now_s)
        self._next_id += 1
        self._flights[flight.id] = flight
        self._by_stage[flight.stage][flight.id] = flight
        self._by_asset[work.asset_id] = flight.id
        self._checksums[work.checksum] += 1
        return flight

    def get(self, flight_id: int) -> Flight | None:
        """The flight, or None when it was lost meanwhile with a process that has died."""
        return self._flights.get(flight_id)

    def fetched(self, flight: Flight, length: int, *, spilled: bool, now_s: float) -> None:
        """`length` bytes of the picture are in its slot, or `spilled` into a file."""
        flight.length, flight.spilled = length, spilled
        self._move(flight, Stage.FETCHED, now_s)

    def given_to_worker(self, flight: Flight, now_s: float) -> None:
        self._move(flight, Stage.INFERRING, now_s)

    def scored(self, flight: Flight, now_s: float) -> None:
        """The picture is not needed any more; the flight waits for the ledger."""
        self._move(flight, Stage.RECORDING, now_s)
        self._give_back(flight)

    def land(self, asset_id: str) -> Work | None:
        """The ledger has it. Returns the work that this ends, None for an asset that is in no flight."""
        flight_id = self._by_asset.get(asset_id)
        if flight_id is None:
            return None
        flight = self._flights[flight_id]
        self.drop(flight)
        self._deaths_alone.pop(asset_id, None)
        return flight.work

    def drop(self, flight: Flight) -> None:
        """Forget a flight that did not land: its asset is as it was before."""
        if self._flights.pop(flight.id, None):
            del self._by_stage[flight.stage][flight.id]
            self._by_asset.pop(flight.work.asset_id, None)
            self._checksums[flight.work.checksum] -= 1
        self._give_back(flight)

    def crash(self, flight: Flight) -> bool:
        """The process that held the flight died. Returns whether the asset is convicted of it; otherwise the
        flight is dropped and the asset flies again, alone."""
        if flight.alone:
            self._deaths_alone[flight.work.asset_id] += 1
            if self._deaths_alone[flight.work.asset_id] >= MOST_DEATHS_ALONE:
                return True
        self.drop(flight)
        self._suspects.append(flight.work)
        return False

    def _move(self, flight: Flight, stage: Stage, now_s: float) -> None:
        if flight.id in self._flights:
            del self._by_stage[flight.stage][flight.id]
            self._by_stage[stage][flight.id] = flight
        flight.stage, flight.since_s = stage, now_s

    def _give_back(self, flight: Flight) -> None:
        if flight.slot is not None:
            self._slots.give_back(flight.slot)
            flight.slot = None
