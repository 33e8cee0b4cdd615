"""What a picture costs does not depend on the library around it: counted in the instructions of SQLite's machine,
which are the same on every computer."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from autotagger.ledger.rows import ListedAsset
from autotagger.ledger.states import State
from autotagger.ledger.writer import LedgerWriter
from tests.ledger.test_store import NOW, a_model, an_origin, opened

TAGS = ("sky", "1girl", "auto:processed")
SMALL, LARGE = 300, 3_000
#: Instructions between two ticks of SQLite's progress handler.
PER_TICK = 5


def listed(first: int, count: int) -> list[ListedAsset]:
    ids = [str(uuid.uuid5(uuid.NAMESPACE_OID, str(number))) for number in range(first, first + count)]
    return [ListedAsset(one, "me", "", "IMAGE", "image/png", "a.png", f"checksum of {one}", NOW) for one in ids]


class Costs:
    """Instructions of each named step."""

    def __init__(self, ledger: LedgerWriter) -> None:
        self._ticks = 0
        self.of: dict[str, int] = {}
        ledger._db.connection().set_progress_handler(self._tick, PER_TICK)

    def _tick(self) -> int:
        self._ticks += 1
        return 0

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        before = self._ticks
        yield
        self.of[name] = (self._ticks - before) * PER_TICK


def costs(path: Path, size: int) -> dict[str, int]:
    """What 20 assets cost amid `size` pending and `size` verified ones."""
    with LedgerWriter(path) as ledger:
        model, origin = a_model(ledger), an_origin(ledger)
        ledger.add_listed(listed(0, 2 * size))
        opened(ledger)
        ledger.record_scores(model, [(asset.asset_id, b"scores") for asset in listed(0, size)])
        old = [row.key for row in ledger.scored(size)]
        ledger.record_plan((key, TAGS, origin) for key in old)
        ledger.record_answer(old, NOW, NOW + 1)
        ledger.record_verified(old)

        assets, cost = listed(size + 50, 20), Costs(ledger)
        ids = [asset.asset_id for asset in assets]
        with cost.step("due"):
            assert len(ledger.due(NOW, 20)) == 20
        with cost.step("listed again"):
            ledger.add_listed(assets)
            ledger.note_listed(assets, sweep=1)
        with cost.step("marked"):
            ledger.add_marked([listed(size + 30, 1)[0].asset_id])
        with cost.step("twins"):
            assert not ledger.twin_scores(ids, model)
        with cost.step("recorded"):
            ledger.record_scores(model, [(asset_id, b"scores") for asset_id in ids])
        with cost.step("scored"):
            keys = [row.key for row in ledger.scored(20)]
        assert len(keys) == 20
        with cost.step("decided"):
            ledger.record_plan((key, TAGS, origin) for key in keys)
        with cost.step("planned"):
            assert len(ledger.planned(NOW, 20)) == 20
        with cost.step("answered"):
            ledger.record_answer(keys, NOW, NOW + 1)
        with cost.step("looked for"):
            assert ledger.oldest_answer_ms() == NOW
            assert len(ledger.applied_due(NOW + 1, 20)) == 20
            assert len(ledger.applied(ids)) == 20
        with cost.step("proven"):
            ledger.record_verified(keys)
        with cost.step("troubled"):
            other = listed(size + 10, 1)[0].asset_id
            ledger.record_problem(other, State.FAILED, kind="timeout", message="slow", due_ms=NOW)
        with cost.step("another model at work"):
            ledger.rescore_others(model)
        with cost.step("verified once more"):
            assert [row.key for row in ledger.resting(old[99], 20)] == old[100:120]
        with cost.step("retagged"):
            assert ledger.reopen_outdated(model, "p2", 20, after=old[99]) == old[100:120]
            assert ledger.outdated_in_flight(model, "p2") == 0
        with cost.step("unfinished"):
            assert ledger.unfinished() == 0
        return cost.of


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, int], dict[str, int]]:
    folder = tmp_path_factory.mktemp("growth")
    return costs(folder / "small.sqlite3", SMALL), costs(folder / "large.sqlite3", LARGE)


def test_a_step_costs_the_same_in_a_library_ten_times_as_large(
    both: tuple[dict[str, int], dict[str, int]],
) -> None:
    small, large = both
    assert min(small.values()) > 0
    # An index grows by a level now and then; whatever reads the library itself costs ten times as much.
    grown = {name: (cost, large[name]) for name, cost in small.items() if large[name] > 1.3 * cost + 20}
    assert not grown
