"""A run ends checkpointed: a copy of the ledger's file alone is complete, whatever the run was for."""

import shutil
from pathlib import Path

from autotagger.demo import StandIn, tiny_library
from autotagger.ledger.care import inspect
from autotagger.ledger.reader import LedgerReader
from autotagger.pipeline.ipc.messages import Operation
from autotagger.pipeline.run import run_operation
from tests.pipeline.support import run_once, settings_for

RUNS = (None, Operation("verify", sample=1.0), Operation("retag"), Operation("undo"))


async def test_a_copy_of_the_file_alone_is_complete_after_every_kind_of_run(tmp_path: Path) -> None:
    state = tmp_path / "state"
    async with StandIn(tiny_library(12)) as server:
        settings = settings_for(server, state)
        for number, operation in enumerate(RUNS):
            if operation is None:
                await run_once(settings)
            else:
                await run_operation(settings, operation)
            assert [path for path in state.glob("*-wal") if path.stat().st_size] == [], operation
            copy = tmp_path / f"copy-{number}" / "ledger.sqlite3"
            copy.parent.mkdir()
            shutil.copy(settings.ledger_path, copy)
            assert inspect(copy) == []
            with LedgerReader(copy) as ledger:
                copied = ledger.counts(), dict(ledger.links()), ledger.last_run()
            with LedgerReader(settings.ledger_path) as ledger:
                assert copied == (ledger.counts(), dict(ledger.links()), ledger.last_run())
            last = copied[2]
            assert last is not None
            assert last[1] is not None, "the end of the run is in it, too"
