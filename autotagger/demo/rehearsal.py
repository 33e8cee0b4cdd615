"""The main job on the stand-in, from an empty ledger to the proof: what `autotagger demo` runs."""

import asyncio
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from autotagger.config import api_key, load_settings
from autotagger.demo.serve import DemoLibrary, served
from autotagger.errors import AssetGone
from autotagger.immich.client import ImmichClient
from autotagger.ledger.reader import LedgerReader
from autotagger.ledger.rows import Problem
from autotagger.ledger.states import State
from autotagger.pipeline.run import run_pipeline
from autotagger.pipeline.supervisor.summary import Summary
from autotagger.settings import Settings

#: More problems than this are not listed; the demo's own library has a dozen.
PROBLEMS = 1_000
EXAMPLES = 8


@dataclass(frozen=True, slots=True)
class Outcome:
    """`links_expected`: links the ledger stands for; `links_present`: those of them that the server holds after it
    settled. `again`: a second run over the same library. `examples`: some assets' file names and tags."""

    first: Summary
    again: Summary
    links_expected: int
    links_present: int
    problems: list[Problem]
    examples: list[tuple[str, list[str]]]
    seconds: float

    @property
    def complete(self) -> bool:
        """Every link is there, nothing is left undone, and the second run found nothing to do."""
        idle = not self.again.counts.get("preview_downloads") and not self.again.counts.get("tag_calls")
        undone = sum(
            self.first.states[state] for state in (State.PENDING, State.SCORED, State.PLANNED, State.APPLIED)
        )
        return self.links_expected == self.links_present > 0 and idle and not undone

    def as_dict(self) -> dict[str, Any]:
        """For `demo --json`: counts of the first run, of the second, and what went wrong with which file."""
        states = self.first.states
        counts = self.first.counts
        return {
            "assets": sum(states.values()),
            "tagged": states[State.APPLIED] + states[State.VERIFIED],
            "failed": states[State.FAILED],
            "waiting": states[State.WAITING],
            "skipped": states[State.SKIPPED],
            "tag_calls": counts.get("tag_calls", 0),
            "preview_downloads": counts.get("preview_downloads", 0),
            "links_expected": self.links_expected,
            "links_present": self.links_present,
            "seconds": round(self.seconds, 3),
            "complete": self.complete,
            "second_run": {
                "tag_calls": self.again.counts.get("tag_calls", 0),
                "preview_downloads": self.again.counts.get("preview_downloads", 0),
            },
            "run": self.first.as_dict(),
            "problems": [
                {"file": row.file_name, "state": str(row.state), "kind": row.kind, "reason": row.message}
                for row in self.problems
            ],
        }


async def rehearse(library: DemoLibrary, report: Callable[[Summary], None] = lambda _: None) -> Outcome:
    """Serve `library`, tag it, read everything back, run again."""
    with tempfile.TemporaryDirectory(prefix="autotagger-demo-") as folder:
        async with served(library) as (url, key):
            settings = demo_settings(Path(folder), url, key)
            first = await run_pipeline(settings, once=True, report=report)
            await _settled(url)
            with LedgerReader(settings.ledger_path) as ledger:
                expected = dict(ledger.links())
                problems = ledger.problems(PROBLEMS)
            held = await _read_back(settings, list(expected))
            again = await run_pipeline(settings, once=True)
    return Outcome(
        first=first,
        again=again,
        links_expected=sum(len(names) for names in expected.values()),
        links_present=sum(len(names & held[asset_id][1]) for asset_id, names in expected.items()),
        problems=problems,
        examples=[
            (name, sorted(tags & expected[asset_id] - {settings.marker}))
            for asset_id, (name, tags) in list(held.items())[:EXAMPLES]
        ],
        seconds=first.seconds,
    )


def demo_settings(folder: Path, url: str, key: str) -> Settings:
    """Settings of a demo run: its own ledger, the embedded model, nothing of the person's configuration."""
    flags = {
        "state_dir": folder,
        "immich": {"base_url": url, "api_key": key},
        "model": {"name": "palette", "device": "CPU"},
    }
    return load_settings(flags=flags, environ={"AUTOTAGGER_CONFIG": "/dev/null"})


async def _settled(url: str) -> None:
    """Wait for the stand-in's background jobs."""
    async with aiohttp.ClientSession() as session:
        while True:
            async with session.get(f"{url}/demo/settled") as answer:
                if orjson.loads(await answer.read())["settled"]:
                    return
            await asyncio.sleep(0.05)


async def _read_back(settings: Settings, asset_ids: list[str]) -> dict[str, tuple[str, frozenset[str]]]:
    """File name and tags of every asset, as the server holds them now; nothing for an asset it does not have."""
    async with ImmichClient(settings.immich, api_key(settings.immich)) as client:

        async def read(asset_id: str) -> tuple[str, frozenset[str]]:
            try:
                held = await client.asset(asset_id)
            except AssetGone:
                return "", frozenset()
            return held.asset.file_name, held.tags

        found = await asyncio.gather(*map(read, asset_ids))
    return dict(zip(asset_ids, found, strict=True))
