"""What happens to one run: the disturbances of a seed."""

import random
from collections import Counter
from dataclasses import dataclass

from aiohttp import web

from autotagger.demo import StandIn
from autotagger.demo.faults import Call, Faults
from autotagger.demo.search import Searcher
from autotagger.demo.wire import Dialect
from tests.faults import acts, machine, weather
from tests.faults.story import Act

DIALECTS = ("2.7", "3.0", "3.2")
#: How often each comes up among a hundred.
ACTS: dict[Act, int] = {
    acts.kill_one: 12,
    acts.kill_workers: 5,
    acts.kill_supervisor: 6,
    acts.kill_everything: 7,
    acts.hang_one: 4,
    acts.stop_gracefully: 6,
    acts.refuse_for_a_moment: 8,
    acts.be_down_too_long: 5,
    acts.revoke_the_key: 5,
    acts.take_assets_away: 8,
    acts.delete_a_tag: 8,
    acts.set_the_clock: 6,
    machine.kill_the_largest: 4,
    machine.refuse_memory: 4,
    machine.slow_the_disk: 3,
    machine.hold_the_ledger: 3,
    machine.set_our_clock: 4,
    machine.start_it_twice: 2,
}


@dataclass(frozen=True, slots=True)
class Plot:
    """A seed's story, as far as it is told in advance. `moments`: so many calls after the start."""

    seed: int
    before: str
    after: str
    acts: tuple[tuple[int, Act], ...]
    spoils: weather.Weather | None
    lost_answers: int

    def __str__(self) -> str:
        told = [f"seed {self.seed}: Immich {self.before}, then {self.after}"]
        told += [f"after {moment} calls {act.__name__}" for moment, act in self.acts]
        if self.spoils:
            told.append(str(self.spoils))
        if self.lost_answers:
            told.append(f"{self.lost_answers} tag calls applied and their answers lost")
        return "; ".join(told)


def plot(seed: int, calls: int) -> Plot:
    """The disturbances of `seed` for a run that makes about so many calls."""
    draw = random.Random(seed)
    before, after = draw.choice(DIALECTS), draw.choice(DIALECTS)
    chosen = draw.choices(list(ACTS), weights=list(ACTS.values()), k=draw.choice((0, 1, 1, 1, 2, 2, 3)))
    moments = sorted(draw.randrange(calls) for _ in chosen)
    stormy = draw.random() < 0.5 or not chosen
    spoils = None
    if stormy:
        kinds = draw.sample(weather.KINDS, draw.randint(1, 4))
        share, most = draw.choice((0.05, 0.15, 0.4)), draw.choice((3, 10, 30))
        spoils = weather.Weather(f"{seed}", kinds=kinds, share=share, most=most)
    lost = draw.choice((0, 0, 1, 3))
    return Plot(seed, before, after, tuple(zip(moments, chosen, strict=True)), spoils, lost)


def skies(plot: Plot, server: StandIn) -> Faults:
    """Everything that goes wrong with calls in a plot."""
    lost: Counter[str] = Counter()

    async def spoil(call: Call) -> web.StreamResponse | None:
        if call.name == "tag_assets" and call.number % 2 and lost["answers"] < plot.lost_answers:
            lost["answers"] += 1
            return await weather.applied_and_lost(server, call, random.Random(f"{plot.seed}/{call.number}"))
        return await plot.spoils(call) if plot.spoils else None

    return spoil


def become(server: StandIn, dialect: str) -> None:
    """Update (or restore a backup of) the server between two runs."""
    server.dialect = server.world.dialect = Dialect.named(dialect)
    server.world.searcher = Searcher(server.store, server.dialect)
