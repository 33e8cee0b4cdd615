"""Each stage alone, in this process: what it costs a picture, in CPU-milliseconds.

`python -m tests.benchmarks.stages [--model NAME] [--tiny]`
"""

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from autotagger.bench.measure import bench_model
from autotagger.bench.pictures import preview_bodies
from autotagger.bench.server import library, served
from autotagger.config import api_key, load_settings
from autotagger.demo.library import Library
from autotagger.immich.client import ImmichClient
from autotagger.ledger.rows import ListedAsset
from autotagger.ledger.writer import LedgerWriter
from autotagger.pipeline.decider import TagDecider
from autotagger.pipeline.ipc.slots import SlotMemory
from autotagger.pipeline.writer.writer import RECORD_AT_ONCE
from autotagger.scores import pack, unpack
from autotagger.settings import Settings
from autotagger.tagger.model import Model
from autotagger.tagger.preprocess import Decoding, prepare

#: Labels that a picture of a real model scores on at 0.05 and above, and how many of them become tags.
_SCORING, _TAGS = 100, 30
_CLIENT_CONNECTIONS = 8


def stage_costs(settings: Settings, model: Model, *, tiny: bool) -> dict[str, float]:
    """CPU-milliseconds a picture of `decode`, `slots`, `policy`, `ledger`, `client`, by this process alone."""
    bodies = preview_bodies(8, tiny=tiny)
    assets = 200 if tiny else 1_000
    contents = library(assets, tiny=True)
    with tempfile.TemporaryDirectory(prefix="autotagger-bench-") as folder:
        return {
            "decode": _decode(model, settings.model.decoding, bodies),
            "slots": _slots(bodies, Path(folder)),
            "policy": _policy(model, settings),
            "ledger": _ledger(model, contents, Path(folder)),
            "client": _client(settings, assets, tiny=tiny),
        }


def _cpu_ms(count: int, work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return round((time.process_time() - started) * 1000 / count, 4)


def _decode(model: Model, decoding: Decoding, bodies: list[bytes]) -> float:
    rounds = 5
    prepare(bodies[0], model.manifest.input, decoding=decoding)

    def work() -> None:
        for body in bodies * rounds:
            prepare(body, model.manifest.input, decoding=decoding)

    return _cpu_ms(rounds * len(bodies), work)


def _slots(bodies: list[bytes], folder: Path) -> float:
    """Into shared memory and out again, as a decoder reads it."""
    memory = SlotMemory.create(len(bodies), 2 << 20, folder / "spill")
    rounds = 50

    def work() -> None:
        for _ in range(rounds):
            for slot, body in enumerate(bodies):
                memory.write(slot, body)
                with memory.read(slot, len(body), spilled=False) as view:
                    bytes(view)

    work()
    try:
        return _cpu_ms(rounds * len(bodies), work)
    finally:
        memory.close()


def _scores(model: Model, count: int) -> list[bytes]:
    """Packed scores with as many labels as a real picture's."""
    source = np.random.default_rng(3)
    packed = []
    for _ in range(count):
        scores = np.zeros(len(model.labels), np.float32)
        rows = source.permutation(len(scores))[:_SCORING]
        scores[rows] = source.uniform(0.05, 0.3, len(rows))
        scores[rows[:_TAGS]] = source.uniform(0.5, 1.0, len(rows[:_TAGS]))
        packed.append(pack(scores))
    return packed


def _policy(model: Model, settings: Settings) -> float:
    """From packed scores to tag names."""
    policy = TagDecider.of_model(model, settings).policy
    packed = _scores(model, 500)
    policy.tags(unpack(packed[0]))

    def work() -> None:
        for scores in packed:
            policy.tags(unpack(scores))

    return _cpu_ms(len(packed), work)


def _ledger(model: Model, contents: Library, folder: Path) -> float:
    """Listed, scored, planned, answered, verified: every row that a picture leaves, in the writer's batches."""
    labels = [(label.name, label.category) for label in model.labels]
    ids = [asset.id for asset in contents.assets]
    packed = _scores(model, len(ids))
    tags = [f"tag {number}" for number in range(500)]
    with LedgerWriter(folder / "ledger.sqlite3") as ledger:
        row = ledger.model("bench", "bench", labels)
        run = ledger.start_run("bench", 0)
        origin = ledger.origin(model=row, policy="bench", settings="{}", run=run)

        ledger.add_listed([_listed(ids[0])])
        ledger.open_collection(ledger.collections()[0].id, 0)  # what is scored waits for its library's canary

        def work() -> None:
            for start in range(0, len(ids), RECORD_AT_ONCE):
                part = ids[start : start + RECORD_AT_ONCE]
                with ledger.batch():
                    ledger.add_listed([_listed(asset_id) for asset_id in part])
                    ledger.record_scores(row, list(zip(part, packed[start:], strict=False)))
                found = ledger.scored(RECORD_AT_ONCE)
                ledger.record_plan(
                    (asset.key, tags[place * 7 % 400 :][:_TAGS], origin) for place, asset in enumerate(found)
                )
                keys = [asset.key for asset in ledger.planned(1, RECORD_AT_ONCE)]
                ledger.record_answer(keys, 1, 1)
                ledger.record_verified(keys)

        return _cpu_ms(len(ids), work)


def _listed(asset_id: str) -> ListedAsset:
    return ListedAsset(
        asset_id=asset_id,
        owner_id="bench",
        library_id="",
        kind="IMAGE",
        mime="image/jpeg",
        file_name=f"{asset_id}.jpg",
        checksum=asset_id,
        updated_ms=0,
    )


def _client(settings: Settings, assets: int, *, tiny: bool) -> float:
    """A preview downloaded and a tag call made for every asset, over loopback; the server's time is its own."""
    with served(assets, tiny=tiny) as server:
        immich = settings.immich.model_validate({"base_url": server.url, "api_key": server.api_key})
        ids = [asset.id for asset in library(assets, tiny=tiny).assets]
        return asyncio.run(_call(settings.model_copy(update={"immich": immich}), ids))


async def _call(settings: Settings, ids: list[str]) -> float:
    limit = asyncio.Semaphore(_CLIENT_CONNECTIONS)
    async with ImmichClient(settings.immich, api_key(settings.immich)) as client:
        tags = await client.upsert_tags([f"tag {number}" for number in range(_TAGS)])
        tag_ids = [tag.id for tag in tags.values()]

        async def one(asset_id: str) -> None:
            async with limit:
                await client.picture(asset_id, "preview")
                await client.tag_assets([asset_id], tag_ids)

        started = time.process_time()
        await asyncio.gather(*map(one, ids))
        return round((time.process_time() - started) * 1000 / len(ids), 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="instant", help="as for `autotagger bench`")
    parser.add_argument("--tiny", action="store_true", help="small pictures: does it work?")
    wish = parser.parse_args()
    settings = load_settings()
    costs = stage_costs(settings, bench_model(wish.model, settings, tiny=wish.tiny), tiny=wish.tiny)
    print(json.dumps({"stage_ms": costs}, indent=1))


if __name__ == "__main__":
    main()
