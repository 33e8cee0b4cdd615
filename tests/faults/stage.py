"""One seed from its first run to the invariant: what no fault may change."""

import asyncio
import random
from collections.abc import Iterable, Mapping
from pathlib import Path

import psutil

from autotagger.demo import StandIn, tiny_library
from autotagger.ledger.states import State
from autotagger.ledger.writer import LedgerWriter
from autotagger.settings import Settings
from tests.faults.belongings import LEFT, Belongings, entries, holds_something, processes_of
from tests.faults.plot import Plot, become, skies
from tests.faults.story import Clock, Story, set_clock, start, states
from tests.pipeline.support import held_links, ledger_links, run_once, settings_for

Links = Mapping[str, frozenset[str]]

#: Undisturbed runs after the disturbed one: what was lost is found by the first and proven by the second.
MAX_RERUNS = 4
LIBRARY = tiny_library(60)
#: Calls of an undisturbed run, from which the moments of a plot are drawn: about 75 to list and download, 30 to
#: tag, and to prove it 20 or more, as often as it has to look.
CALLS = 120
#: No run may take longer, whatever happens to it.
LONGEST_S = 120.0
#: The last words of a run that has done all and waited for Immich for as long as it may: the reruns prove it.
ONLY_WAITS = "sent and not verified: Immich has not finished its jobs"


async def undisturbed(state_dir: Path) -> Links:
    """What the server holds after a run that nothing disturbed."""
    async with StandIn(LIBRARY) as server:
        await run_once(settings_for(server, state_dir))
        await server.settle()
        assert server.calls.total() > 0.9 * CALLS
        return held_links(server)


async def perform(plot: Plot, folder: Path, meant: Links) -> None:
    """Disturb a run as `plot` says, let further ones finish it, and check that nobody can tell."""
    before = Belongings.now()
    state_dir, temporary = folder / "state", folder / "temporary"
    temporary.mkdir()
    await _tell(plot, state_dir, meant, {"TMPDIR": str(temporary), **set_clock(folder, 0.0)})
    assert entries(temporary) == set()
    assert {path.name for path in entries(state_dir)} <= LEFT
    assert entries(state_dir / "spill") == set()
    await ended(processes_of(state_dir))
    before.assert_given_back()


async def _tell(plot: Plot, state_dir: Path, meant: Links, environ: dict[str, str]) -> None:
    clock, log = Clock(), state_dir.parent / "log"
    async with StandIn(LIBRARY, plot.before, clock=clock) as server:
        server.faults = skies(plot, server)
        keys = [server.api_key]
        run = await start(server, state_dir, log, **environ)
        story = Story(server, clock, state_dir, random.Random(f"acts of {plot.seed}"), run, environ=environ)
        if plot.spoils:
            story.endings |= {1, 4}  # an asset that failed several times in a row, and a call that always did
        try:
            async with asyncio.timeout(LONGEST_S):
                await _disturb(plot, story)
                ending = await run.wait()
            await gone(story)
        finally:
            await _sweep_up(story)
        keys.append(server.api_key)
        _assert_said_nothing_wrong(story, ending, log, keys)
        server.faults = None
        become(server, plot.after)
        await _finish(story)
        await server.settle()
        assert_as_if_nothing_had_happened(story, meant)


def _assert_said_nothing_wrong(story: Story, ending: int, log: Path, keys: list[str]) -> None:
    """The first run's ending and words, and those of any that was started beside it."""
    told = [(ending, log.read_text(), story.endings)]
    for second, second_log in story.seconds:
        assert second.returncode is not None
        told.append((second.returncode, second_log.read_text(), story.endings | {3}))
    for code, text, endings in told:
        assert code in endings or (code == 1 and text.rstrip().endswith(ONLY_WAITS)), f"{code}: {text}"
        assert "Traceback" not in text or story.tracebacks, text
        assert not any(key in text for key in keys)
        assert code != 3 or "another autotagger" in text, text
    if ending >= 0:
        assert entries(story.state_dir / "spill") == set(), "a run that ends by itself tidies up"


async def _disturb(plot: Plot, story: Story) -> None:
    for moment, act in plot.acts:
        await story.reached(moment)
        if story.run.returncode is None:
            await act(story)
            story.below()
    await story.run.wait()


async def gone(story: Story) -> None:
    """No process outlives its run, also when the supervisor was killed."""
    await ended(story.seen.values())


async def ended(processes: Iterable[psutil.Process]) -> None:
    """None of them stays. Python's own resource tracker ends some milliseconds after the run it belongs to."""
    loop = asyncio.get_running_loop()
    _, alive = await loop.run_in_executor(None, psutil.wait_procs, list(processes), 20)
    assert [process for process in alive if holds_something(process)] == []


async def _sweep_up(story: Story) -> None:
    """A failing test leaves nothing behind either."""
    left = story.below()
    for run in (story.run, *(second for second, _ in story.seconds)):
        if run.returncode is None:
            run.kill()
            await run.wait()
    for child in [*left, *story.seen.values()]:
        if child.is_running():
            child.kill()


async def _finish(story: Story) -> None:
    """Undisturbed runs until there is nothing left to do; what waits for its time is made due."""
    settings = settings_for(
        story.server,
        story.state_dir,
        immich={"api_key": story.server.api_key},
        verify={"settle_timeout_s": 5.0},
        pipeline={"max_attempts": 50},
    )
    for _ in range(MAX_RERUNS):
        await story.server.settle()
        if not _open(story):
            return
        make_due(settings)
        await run_once(settings)


def _open(story: Story) -> bool:
    """Whether a further run would have something to do."""
    ends = {State.VERIFIED, State.GONE, State.SKIPPED}
    known = states(story.state_dir)
    listed = {row.id for row in story.server.store.rows.values() if row.id not in story.taken}
    return not listed <= known.keys() or not set(known.values()) <= ends


def make_due(settings: Settings) -> None:
    """Let no time have to pass: what is to be tried or looked at later is due now."""
    if not settings.ledger_path.exists():
        return
    with LedgerWriter(settings.ledger_path) as ledger, ledger.batch():
        for problem in ledger.problems(1_000):
            if problem.due_ms is not None:
                ledger.record_problem(problem.asset_id, problem.state, kind="again", message="", due_ms=1)
        for asset in ledger.planned(1 << 60, 1_000):
            ledger.look_later(asset.key, 1)
        for applied in ledger.applied_due(1 << 60, 1_000):
            ledger.look_later(applied.key, 1)


def assert_as_if_nothing_had_happened(story: Story, meant: Links) -> None:
    held, ledger = held_links(story.server), ledger_links(_reader(story))
    left = {asset_id for asset_id in meant if asset_id not in story.taken}
    tag = {story.deleted_tag} - {""}
    for asset_id in left:
        found, known = held.get(asset_id, frozenset()), ledger.get(asset_id, frozenset())
        if asset_id in story.must_have_it or not tag:
            assert known == found == meant[asset_id], asset_id
        else:  # what was there when its tag was deleted may do without it: a person's wish, which the ledger knows
            assert meant[asset_id] - tag <= found <= meant[asset_id], asset_id
            assert meant[asset_id] - tag <= known <= meant[asset_id], asset_id
    for asset_id in story.taken & held.keys():
        assert held[asset_id] | tag == meant[asset_id] | tag, asset_id
    assert held.keys() <= meant.keys(), "nothing was tagged that nobody asked for"
    ends = states(story.state_dir)
    assert {ends[asset_id] for asset_id in left} == {State.VERIFIED}
    assert {ends[asset_id] for asset_id in story.taken & ends.keys()} <= {State.VERIFIED, State.GONE}


def _reader(story: Story) -> Settings:
    return settings_for(story.server, story.state_dir)
