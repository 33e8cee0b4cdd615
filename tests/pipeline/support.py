"""A real run against the stand-in, and the truth it is held against."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from aiohttp import web

from autotagger.config import load_settings
from autotagger.demo import Fate, StandIn
from autotagger.demo.faults import Call, Faults
from autotagger.ledger.reader import LedgerReader
from autotagger.pipeline.run import run_pipeline
from autotagger.pipeline.supervisor.summary import Summary
from autotagger.settings import Settings

MARKER = "auto:processed"


def settings_for(server: StandIn, state_dir: Path, **sections: dict[str, Any]) -> Settings:
    """Settings of a run against `server` with the palette model; `sections` as in the TOML file."""
    flags: dict[str, Any] = {
        "state_dir": state_dir,
        "immich": {"base_url": server.url, "api_key": server.api_key, "retry_budget_s": 20.0},
        "model": {"name": "palette", "device": "CPU"},
    }
    for name, section in sections.items():
        flags[name] = {**flags.get(name, {}), **section}
    return load_settings(flags=flags, environ={"AUTOTAGGER_CONFIG": "/dev/null"})


async def run_once(settings: Settings, limit: int | None = None) -> Summary:
    return await run_pipeline(settings, once=True, limit=limit)


def ledger_links(settings: Settings) -> dict[str, frozenset[str]]:
    with LedgerReader(settings.ledger_path) as ledger:
        return dict(ledger.links())


def held_links(server: StandIn) -> dict[str, frozenset[str]]:
    """What the server holds, without the assets that have no tag."""
    return {asset_id: tags for asset_id, tags in server.links().items() if tags}


def expected_marked(server: StandIn) -> frozenset[str]:
    return server.library.expected[Fate.GOOD]


class TagCalls:
    """Counts how often each asset is in a tag call, and lets every call through."""

    def __init__(self, then: Faults | None = None) -> None:
        self.per_asset: Counter[str] = Counter()
        self.pairs: list[int] = []
        self._then = then

    async def __call__(self, call: Call) -> web.StreamResponse | None:
        if call.name == "tag_assets":
            body = json.loads(await call.request.read())
            self.per_asset.update(body["assetIds"])
            self.pairs.append(len(body["assetIds"]) * len(body["tagIds"]))
        return await self._then(call) if self._then else None
