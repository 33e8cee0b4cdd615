"""How many waves and calls a change of tags takes, and taking all of them off (docs/immich.md, law 13).

`python -m tests.benchmarks.waves 5 30 60 [--assets 50]`: for each number of tags an asset, against the stand-in
with its tag-losing jobs, where removals come back as on a real server. The writer's own parts do the work.
"""

import argparse
import asyncio
import json
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from loguru import logger

from autotagger.config import api_key, load_settings
from autotagger.demo import StandIn, tiny_library
from autotagger.immich.client import ImmichClient
from autotagger.immich.types import Dialect, Server, ServerVersion
from autotagger.ledger.rows import ListedAsset, ScoredAsset, Selection
from autotagger.ledger.schema import Event
from autotagger.ledger.states import What
from autotagger.ledger.writer import LedgerWriter
from autotagger.pipeline.child.base import wall_ms
from autotagger.pipeline.writer.account_context import AccountContext
from autotagger.pipeline.writer.applier import Applier
from autotagger.pipeline.writer.database_clock import DatabaseClock
from autotagger.pipeline.writer.operations import Retag
from autotagger.pipeline.writer.rating_actions import RatingActions
from autotagger.pipeline.writer.tag_ids import TagIds
from autotagger.pipeline.writer.throttle import Pace, Queues
from autotagger.pipeline.writer.undo import Undo
from autotagger.pipeline.writer.verifier import Verifier

MARKER = "auto:processed"
#: Measured on 3.0.3: 95 of 1,000 removals came back after the first wave.
COME_BACK = 0.095
#: As often as the writer looks when it waits for nothing else.
LOOK_EVERY_S = 1.0


class Decider:
    """Gives every asset the same tags."""

    def __init__(self, ledger: LedgerWriter, model: int, run: int) -> None:
        self._ledger, self.model, self._run = ledger, model, run
        self.names: tuple[str, ...] = ()
        self.identity, self.origin = "", 0

    def decide(self, identity: str, names: Iterable[str]) -> None:
        """From now on, by a policy of this identity, these tags."""
        self.identity, self.names = identity, tuple(names)
        self.origin = self._ledger.origin(model=self.model, policy=identity, settings="{}", run=self._run)

    def tags(self, scored: Iterable[ScoredAsset]) -> list[tuple[ScoredAsset, tuple[str, ...]]]:
        """The same for each of them."""
        return [(asset, self.names) for asset in scored]

    def expect_recount(self) -> None:
        """There is no vocabulary."""

    async def recount(self) -> None:
        """There is no vocabulary."""


async def measure(tags: int, assets: int, folder: Path) -> list[dict[str, Any]]:
    """Tag, retag (half of the tags change) and undo; what each took."""
    async with StandIn(tiny_library(assets), removals_come_back=COME_BACK) as standin:
        flags: dict[str, Any] = {
            "state_dir": folder,
            "immich": {"base_url": standin.url, "api_key": standin.api_key},
        }
        settings = load_settings(flags=flags, environ={"AUTOTAGGER_CONFIG": "/dev/null"})
        server = Server(ServerVersion(3, 0, 3), Dialect.V3_0, frozenset({"all"}), None)
        with LedgerWriter(settings.ledger_path) as ledger:
            async with ImmichClient(settings.immich, api_key(settings.immich)) as client:
                return await _Bench(ledger, client, server, standin).all(tags)


class _Bench:
    def __init__(self, ledger: LedgerWriter, client: ImmichClient, server: Server, standin: StandIn) -> None:
        self._ledger, self._server, self._standin = ledger, server, standin
        tag_ids = TagIds(client)
        clock = DatabaseClock(tag_ids, MARKER)
        self._context = AccountContext(ledger, client, tag_ids, clock, MARKER, wall_ms, lambda _what, _by: None)
        run = ledger.run = ledger.start_run("bench", wall_ms())
        self._decider = Decider(ledger, ledger.model("bench", "bench", []), run)
        decider: Any = self._decider
        self._applier = Applier(
            self._context,
            decider,
            batch_size=50,
            max_attempts=3,
            pace=Pace(0, clock=time.monotonic),
            queues=Queues(client, server, limit=0, clock=time.monotonic),
        )
        self._verifier = Verifier(self._context, sample=0.0, actions=RatingActions(self._context, {}))

    async def all(self, tags: int) -> list[dict[str, Any]]:
        rows = self._standin.store.rows.values()
        specs = [(row.id, row.spec, row.updated_ms) for row in rows]
        self._ledger.add_listed(
            [
                ListedAsset(id_, spec.owner_id, "", "IMAGE", "image/jpeg", spec.file_name, id_, updated_ms)
                for id_, spec, updated_ms in specs
            ]
        )
        self._ledger.record_scores(self._decider.model, [(id_, b"scores") for id_, _, _ in specs])
        self._decider.decide("first", (f"tag {number}" for number in range(tags)))
        await self._work(None)
        found = []
        decider: Any = self._decider
        for name, operation in (("retag", Retag), ("undo", Undo)):
            self._decider.decide("second", (f"tag {number + tags // 2}" for number in range(tags)))
            before, events, began_s = self._standin.calls.copy(), self._events(), time.monotonic()
            made = (
                Retag(self._context, decider)
                if operation is Retag
                else Undo(self._context, self._server, Selection())
            )
            await self._work(made)
            calls, waves = self._standin.calls - before, self._events() - events
            meant, held = dict(self._ledger.links()), self._standin.links()
            found.append(
                {
                    "operation": name,
                    "tags": tags,
                    "assets": len(specs),
                    "seconds": round(time.monotonic() - began_s, 1),
                    "waves": max(waves.values(), default=0),
                    "waves_an_asset": round(waves.total() / len(specs), 2),
                    "calls": {one: calls[one] for one in ("tag_assets", "untag_assets", "asset", "upsert_tags")},
                    "wrong_links": sum(len(held[id_] ^ meant.get(id_, frozenset())) for id_, _, _ in specs),
                }
            )
        return found

    async def _work(self, operation: Retag | Undo | None) -> None:
        """What the writer's loop does, until nothing is left."""
        more, next_look_s = operation is not None, 0.0
        while True:
            if operation and more:
                more = await operation.step()
            applied = await self._applier.apply_batch()
            if time.monotonic() >= next_look_s:
                await self._verifier.look()
                next_look_s = time.monotonic() + LOOK_EVERY_S
            looked = await self._verifier.look_at_due()
            self._verifier.judge_canaries()
            left = more or applied or self._ledger.unfinished() or self._ledger.scored(1)
            if not left and all(row.state != "untried" for row in self._ledger.collections()):
                break
            if not (applied or looked):
                await asyncio.sleep(0.05)
        await self._standin.settle()

    def _events(self) -> Counter[int]:
        """How many calls took tags off each asset."""
        query = Event.select(Event.asset).where(Event.what == What.UNTAGGED)
        return Counter(key for (key,) in query.tuples())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tags", type=int, nargs="+", help="tags an asset, one number for each measurement")
    parser.add_argument("--assets", type=int, default=50)
    wish = parser.parse_args()
    logger.remove()
    rows: list[dict[str, Any]] = []
    for tags in wish.tags:
        with tempfile.TemporaryDirectory(prefix="autotagger-bench-") as folder:
            rows += asyncio.run(measure(tags, wish.assets, Path(folder)))
    print(json.dumps({"waves": rows}, indent=1))


if __name__ == "__main__":
    main()
