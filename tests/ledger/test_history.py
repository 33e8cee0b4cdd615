"""An asset's history: the same trouble again is one line, whose time moves."""

from pathlib import Path

from autotagger.ledger.states import State, What
from tests.pipeline.unit import NOW_MS, asset_id, listed, open_ledger


def test_the_same_trouble_again_moves_its_line_and_another_one_is_added(tmp_path: Path) -> None:
    now_ms = NOW_MS
    with open_ledger(tmp_path, clock=lambda: now_ms) as ledger:
        ledger.add_listed([listed(1), listed(2)])
        key = ledger.known(asset_id(1)).key

        def trouble(kind: str, state: State = State.WAITING, number: int = 1) -> None:
            nonlocal now_ms
            now_ms += 1_000
            ledger.record_problem(asset_id(number), state, kind=kind, message="x", due_ms=now_ms)

        def lines() -> list[tuple[int, What, str | None]]:
            return [((deed.at_ms - NOW_MS) // 1_000, deed.what, deed.note) for deed in ledger.history(key)]

        for _ in range(3):
            trouble("preview-missing")
        assert lines() == [(3, What.WAITING, "preview-missing")]
        trouble("preview-missing", number=2)
        trouble("server-error", State.FAILED)
        trouble("preview-missing", State.FAILED)
        trouble("preview-missing")
        trouble("preview-missing")
        assert lines() == [
            (3, What.WAITING, "preview-missing"),
            (5, What.FAILED, "server-error"),
            (6, What.FAILED, "preview-missing"),
            (8, What.WAITING, "preview-missing"),
        ]
        assert len(ledger.history(ledger.known(asset_id(2)).key)) == 1, "another asset's history is its own"
        assert ledger.known(asset_id(1)).attempts == 7, "every try counts, told or not"
