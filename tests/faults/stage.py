"""One seed from its first run to the invariant: what no fault may change."""

import asyncio
import os
import random
import sys
from collections.abc import Mapping
from pathlib import Path

import psutil

from autotagger.config import Settings
from autotagger.demo import StandIn
from autotagger.demo.library import Library
from autotagger.ledger.schema import State
from autotagger.ledger.store import Ledger
from tests.faults.plot import Clock, Plot, Story, become, skies, states
from tests.pipeline.support import held_links, ledger_links, run_once, settings_for

Links = Mapping[str, frozenset[str]]

SHARED_MEMORY = Path("/dev/shm")
#: Undisturbed runs after the disturbed one: what was lost is found by the first and proven by the second.
MOST_RERUNS = 4
#: Patience that suits a test: a hung process is noticed, an outage outlasts the retries, within seconds.
SHORT = {
    "AUTOTAGGER_IMMICH_RETRY_BUDGET_S": "4",
    "AUTOTAGGER_IMMICH_READ_TIMEOUT_S": "3",
    "AUTOTAGGER_IMMICH_CONNECT_TIMEOUT_S": "2",
    "AUTOTAGGER_PIPELINE_HANG_TIMEOUT_S": "5",
    "AUTOTAGGER_PIPELINE_DRAIN_TIMEOUT_S": "3",
    "AUTOTAGGER_PIPELINE_MAX_ATTEMPTS": "50",
    "AUTOTAGGER_PIPELINE_SLOT_BYTES": "65536",
    "AUTOTAGGER_VERIFY_SETTLE_TIMEOUT_S": "1",
}
#: No run may take longer, whatever happens to it.
LONGEST_S = 120.0


async def start(server: StandIn, state_dir: Path, log: Path, **environ: str) -> asyncio.subprocess.Process:
    """`autotagger run --once` with everything it writes in `log`."""
    settings = {
        "AUTOTAGGER_CONFIG": "/dev/null",
        "AUTOTAGGER_STATE_DIR": str(state_dir),
        "AUTOTAGGER_MODEL": "palette",
        "AUTOTAGGER_MODEL_DEVICE": "CPU",
        "IMMICH_BASE_URL": server.url,
        "IMMICH_API_KEY": server.api_key,
    }
    with log.open("ab") as file:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "autotagger", "run", "--once"),
            env={**os.environ, **settings, **SHORT, **environ},
            stdout=file,
            stderr=file,
        )


async def perform(plot: Plot, library: Library, folder: Path, meant: Links) -> None:
    """Disturb a run as `plot` says, let further ones finish it, and check that nobody can tell."""
    shared_before = entries(SHARED_MEMORY)
    clock = Clock()
    async with StandIn(library, plot.before, clock=clock) as server:
        state_dir, log = folder / "state", folder / "log"
        key = server.api_key
        server.faults = skies(plot, server)
        run = await start(server, state_dir, log)
        story = Story(server, clock, state_dir, random.Random(f"acts of {plot.seed}"), run)
        if plot.spoils:
            story.endings |= {1, 4}  # an asset that failed several times in a row, and a call that always did
        try:
            async with asyncio.timeout(LONGEST_S):
                await _disturb(plot, story)
                ending = await run.wait()
            await gone(story)
        finally:
            await _sweep_up(story)
        text = log.read_text()
        assert ending in story.endings, f"{ending}: {text}"
        assert "Traceback" not in text, text
        assert key not in text
        server.faults = None
        become(server, plot.after)
        await _finish(story)
        await server.settle()
        assert_as_if_nothing_had_happened(story, meant)
    assert entries(state_dir / "spill") == set()
    assert entries(SHARED_MEMORY) <= shared_before


def entries(folder: Path) -> set[Path]:
    return set(folder.iterdir())


async def _disturb(plot: Plot, story: Story) -> None:
    for moment, act in plot.acts:
        await story.reached(moment)
        if story.run.returncode is None:
            await act(story)
            story.below()
    await story.run.wait()


async def gone(story: Story) -> None:
    """No process outlives its run, also when the supervisor was killed."""
    loop = asyncio.get_running_loop()
    _, alive = await loop.run_in_executor(None, psutil.wait_procs, list(story.seen.values()), 20)
    assert alive == []


async def _sweep_up(story: Story) -> None:
    """A failing test leaves nothing behind either."""
    left = story.below()
    if story.run.returncode is None:
        story.run.kill()
        await story.run.wait()
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
    for _ in range(MOST_RERUNS):
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
    with Ledger(settings.ledger_path, writable=True) as ledger, ledger.batch():
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
        assert ledger.get(asset_id) == meant[asset_id], asset_id
        found = held.get(asset_id, frozenset())
        if asset_id in story.must_have_it or not tag:
            assert found == meant[asset_id], asset_id
        else:  # what was there when its tag was deleted may do without it: a person's wish
            assert meant[asset_id] - tag <= found <= meant[asset_id], asset_id
    for asset_id in story.taken & held.keys():
        assert held[asset_id] | tag == meant[asset_id] | tag, asset_id
    assert held.keys() <= meant.keys(), "nothing was tagged that nobody asked for"
    ends = states(story.state_dir)
    assert {ends[asset_id] for asset_id in left} == {State.VERIFIED}
    assert {ends[asset_id] for asset_id in story.taken & ends.keys()} <= {State.VERIFIED, State.GONE}


def _reader(story: Story) -> Settings:
    return settings_for(story.server, story.state_dir)
