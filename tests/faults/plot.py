"""What happens to one run: a seed's disturbances, and the hands that cause them."""

import asyncio
import random
import signal
import sqlite3
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from aiohttp import web

from autotagger.demo import StandIn
from autotagger.demo.faults import Call, Faults
from autotagger.demo.search import Searcher
from autotagger.demo.wire import Dialect
from autotagger.ledger.schema import State
from tests.faults import weather
from tests.pipeline.support import MARKER

DIALECTS = ("2.7", "3.0", "3.2")
#: No asset of these has a tag call behind it: whatever vanishes now, their calls must still bring everything.
NOT_SENT = (State.PENDING, State.WAITING, State.SCORED)


class Clock:
    """The server's clock, which an admin may set."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead_s


@dataclass
class Story:
    """One disturbed run as it goes on: who takes part, and what it allows the end to differ in."""

    server: StandIn
    clock: Clock
    state_dir: Path
    draw: random.Random
    run: asyncio.subprocess.Process
    #: Assets that are no longer ours to tag, whatever had become of them before.
    taken: set[str] = field(default_factory=set)
    #: A tag that somebody deleted, and the assets that must have it all the same.
    deleted_tag: str = ""
    must_have_it: frozenset[str] = frozenset()
    endings: set[int] = field(default_factory=lambda: {0})
    seen: dict[int, psutil.Process] = field(default_factory=dict)

    async def reached(self, calls: int) -> None:
        """Wait until the server has had so many calls, or the run is over."""
        while self.server.calls.total() < calls and self.run.returncode is None:  # noqa: ASYNC110 - no event
            await asyncio.sleep(0.002)

    def below(self) -> list[psutil.Process]:
        """The pipeline's processes of the run, without the resource tracker that Python adds."""
        if self.run.returncode is not None:
            return []
        try:
            children = psutil.Process(self.run.pid).children()
            ours = [child for child in children if "--multiprocessing-fork" in child.cmdline()]
        except psutil.Error:
            return []
        self.seen |= {child.pid: child for child in ours}
        return ours


Act = Callable[[Story], Awaitable[None]]


async def kill_one(story: Story) -> None:
    if children := story.below():
        story.draw.choice(children).kill()


async def kill_workers(story: Story) -> None:
    """All of them but the supervisor."""
    for child in story.below():
        child.kill()


async def kill_supervisor(story: Story) -> None:
    story.endings.add(-signal.SIGKILL)
    story.below()
    if story.run.returncode is None:
        story.run.kill()


async def kill_everything(story: Story) -> None:
    story.endings.add(-signal.SIGKILL)
    victims = story.below()
    story.draw.shuffle(victims)
    if story.run.returncode is None:
        story.run.kill()
    for victim in victims:
        victim.kill()


async def hang_one(story: Story) -> None:
    """SIGSTOP: it lives, holds what it holds, and says nothing."""
    if children := story.below():
        story.draw.choice(children).suspend()


async def stop_gracefully(story: Story) -> None:
    story.endings.add(-signal.SIGTERM)  # before it had begun
    if story.run.returncode is None:
        story.run.send_signal(signal.SIGTERM)


async def refuse_for_a_moment(story: Story) -> None:
    await story.server.go_down()
    await asyncio.sleep(0.2)
    await story.server.come_up()


async def be_down_too_long(story: Story) -> None:
    """Longer than the whole retry budget: the run ends and says so."""
    story.endings.add(4)
    await story.server.go_down()
    await story.run.wait()
    await story.server.come_up()


async def revoke_the_key(story: Story) -> None:
    story.endings.add(4)
    for secret in list(story.server.world.keys):
        story.server.revoke_key(secret)
    story.server.api_key = story.server.add_key(["all", str(story.draw.random())])


async def take_assets_away(story: Story) -> None:
    """Delete, trash or lock a few, anywhere between listing and proof."""
    rows = sorted(story.server.store.rows)
    for asset_id in story.draw.sample(rows, min(6, len(rows))):
        story.taken.add(asset_id)
        match story.draw.randrange(3):
            case 0:
                story.server.remove(asset_id)
            case 1:
                story.server.trash(asset_id)
            case _:
                story.server.set_visibility(asset_id, "locked")


async def delete_a_tag(story: Story) -> None:
    """The marker or another one, as a person or Immich's clean-up may at any time (law 2)."""
    there = sorted(story.server.store.tags_by_value)
    if not there or story.deleted_tag:
        return
    story.deleted_tag = MARKER if story.draw.random() < 0.5 and MARKER in there else story.draw.choice(there)
    # No await from here on: between the look and the deed the server must not serve a call.
    story.must_have_it = frozenset(states(story.state_dir, NOT_SENT))
    story.server.delete_tag(story.deleted_tag)


async def set_the_clock(story: Story) -> None:
    story.clock.ahead_s += story.draw.choice((-7200.0, -30.0, 30.0, 86_400.0))


#: How often each comes up among a hundred.
ACTS: dict[Act, int] = {
    kill_one: 20,
    kill_workers: 6,
    kill_supervisor: 6,
    kill_everything: 8,
    hang_one: 4,
    stop_gracefully: 6,
    refuse_for_a_moment: 10,
    be_down_too_long: 6,
    revoke_the_key: 6,
    take_assets_away: 10,
    delete_a_tag: 10,
    set_the_clock: 8,
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


def states(state_dir: Path, wanted: tuple[State, ...] = tuple(State)) -> dict[str, State]:
    """The ledger's assets in these states, read without the ledger's own code; none where there is no ledger."""
    path = state_dir / "ledger.sqlite3"
    if not path.exists():
        return {}
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        try:
            rows = connection.execute("select asset_id, state from asset").fetchall()
        except sqlite3.OperationalError:  # no table yet: killed while it was made
            return {}
    found = {str(uuid.UUID(bytes=asset_id)): State(state) for asset_id, state in rows}
    return {asset_id: state for asset_id, state in found.items() if state in wanted}
