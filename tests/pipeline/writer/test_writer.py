"""The writer's recorder: batches of their size, answers only for what is in the ledger, the fetcher's pace."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from autotagger.errors import ServerRefused
from autotagger.ledger.writer import LedgerWriter
from autotagger.pipeline.child.spec import ChildSpec
from autotagger.pipeline.control.mailbox import Request
from autotagger.pipeline.ipc.channel import Channel
from autotagger.pipeline.ipc.messages import (
    Asked,
    Copy,
    Drain,
    Finish,
    Hold,
    Listed,
    Next,
    Noted,
    Record,
    Recorded,
    Refused,
    Settled,
    Trouble,
)
from autotagger.pipeline.writer import writer as writing
from autotagger.pipeline.writer.writer import Writer
from tests.pipeline.unit import Clock, a_model, asset_id, listed, open_ledger, settings_of

TROUBLE = Trouble(Next.NEVER, "broken-picture", "cannot be read")


class Recorder:
    """A writer of which only the recorder works; `said`: what it has told the supervisor since the last look."""

    def __init__(self, ledger: LedgerWriter, folder: Path, ends: tuple[Channel, Channel]) -> None:
        ours, self._theirs = ends
        self.it = Writer(ours, ChildSpec(settings_of(folder), (), None), ledger, {})
        self.it._model = a_model(ledger)
        self._task = asyncio.ensure_future(self.it._record())

    def hear(self, *messages: object) -> None:
        for message in messages:
            self.it._handle(message)

    async def said(self) -> list[Any]:
        for _ in range(10):
            await asyncio.sleep(0)
        said = []
        while (message := self._theirs.try_receive()) is not None:
            said.append(message)
        return said

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self.it._child.channel.close()


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[LedgerWriter]:
    with open_ledger(tmp_path) as ledger:
        yield ledger


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of 3, which wait for more for an hour."""
    monkeypatch.setattr(writing, "RECORD_AT_ONCE", 3)
    monkeypatch.setattr(writing, "RECORD_WITHIN_S", 3_600.0)


@pytest.mark.usefixtures("patient")
async def test_a_batch_is_recorded_when_it_has_its_size(
    ledger: LedgerWriter, tmp_path: Path, ends: tuple[Channel, Channel]
) -> None:
    ledger.add_listed([listed(number) for number in range(4)])
    run = Recorder(ledger, tmp_path, ends)
    run.hear(*(Record(asset_id(number), b"x") for number in range(2)))
    assert await run.said() == []
    assert ledger.counts()["scored"] == 0  # type: ignore[index]
    run.hear(*(Record(asset_id(number), b"x") for number in (2, 3)))
    assert await run.said() == [Recorded((asset_id(0), asset_id(1), asset_id(2)))], "the fourth waits for more"
    assert [str(ledger.known(asset_id(n)).state) for n in range(4)] == ["scored"] * 3 + ["pending"]
    assert run.it._something.is_set()
    await run.stop()


@pytest.mark.usefixtures("patient")
async def test_a_listing_is_noted_at_once_with_what_came_before_it(
    ledger: LedgerWriter, tmp_path: Path, ends: tuple[Channel, Channel]
) -> None:
    ledger.add_listed([listed(0)])
    run = Recorder(ledger, tmp_path, ends)
    run.hear(Record(asset_id(0), b"x"), Listed((listed(1),), (listed(2),), sweep=0))
    assert await run.said() == [Noted(), Recorded((asset_id(0),))], "the fetcher waits: nobody waits for more"
    assert ledger.find(asset_id(1)) is not None
    run.hear(Listed((listed(3),), ()))
    assert await run.said() == [Noted()]
    await run.stop()


async def test_nothing_is_answered_before_it_is_in_the_ledger(
    ledger: LedgerWriter, tmp_path: Path, ends: tuple[Channel, Channel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "RECORD_WITHIN_S", 0.0)
    run = Recorder(ledger, tmp_path, ends)
    order: list[str] = []
    add, send = LedgerWriter.add_listed, run.it._child.send

    def added(self: LedgerWriter, assets: Any) -> int:
        order.append("ledger")
        return add(self, assets)

    def sent(message: object) -> None:
        order.append(type(message).__name__)
        assert not ledger._db.in_transaction()
        send(message)

    monkeypatch.setattr(LedgerWriter, "add_listed", added)
    monkeypatch.setattr(run.it._child, "send", sent)
    run.hear(Listed((listed(1),), ()))
    await run.said()
    assert order == ["ledger", "Noted"]
    await run.stop()


async def test_trouble_counts_its_attempts_and_a_copy_has_its_twin_s_scores(
    ledger: LedgerWriter, tmp_path: Path, ends: tuple[Channel, Channel]
) -> None:
    ledger.add_listed([listed(0, checksum="same"), listed(1, checksum="same"), listed(2), listed(3)])
    run = Recorder(ledger, tmp_path, ends)
    run.it._record_batch([Record(asset_id(0), b"scores"), Record(asset_id(2), TROUBLE)])
    run.it._record_batch([Copy(asset_id(1)), Copy(asset_id(3))])
    assert await run.said() == [
        Recorded((asset_id(0), asset_id(2))),
        Recorded((asset_id(1), asset_id(3))),
    ]
    found = ledger.scores_of(asset_id(1))
    assert found
    assert found.packed == b"scores"
    assert str(ledger.known(asset_id(3)).state) == "pending", "whose twin is gone is fetched after all"
    failed = ledger.known(asset_id(2))
    assert (str(failed.state), failed.error_kind, failed.attempts) == ("failed", "broken-picture", 1)
    await run.stop()


async def test_retries_are_counted_up_to_the_last(
    ledger: LedgerWriter, tmp_path: Path, ends: tuple[Channel, Channel]
) -> None:
    ledger.add_listed([listed(0)])
    run = Recorder(ledger, tmp_path, ends)
    most = settings_of(tmp_path).pipeline.max_attempts
    for attempt in range(1, most + 1):
        run.it._record_batch([Record(asset_id(0), Trouble(Next.RETRY, "server-error", "busy"))])
        row = ledger.known(asset_id(0))
        assert (row.attempts, row.due_ms is None) == (attempt, attempt == most)
    await run.stop()


async def test_what_else_it_is_told(ledger: LedgerWriter, tmp_path: Path, ends: tuple[Channel, Channel]) -> None:
    ledger.add_listed([listed(0)])
    run = Recorder(ledger, tmp_path, ends)
    run.hear(Hold(on=True))
    assert run.it._held
    run.hear(Drain(complete=True, settle_s=1.0))
    assert run.it._drain == Drain(complete=True, settle_s=1.0)
    run.it._record_batch([Record(asset_id(0), TROUBLE)])
    await run.said()
    run.hear(Asked(Request("r1", "retry", {"kind": None, "asset_id": None})))
    assert str(ledger.known(asset_id(0)).state) == "pending"
    run.hear(Asked(Request("r2", "unheard-of", {})))
    assert await run.said() == [Settled("r1"), Settled("r2")], "what is not known is not asked for ever"
    run.hear(Finish({"listed": 1}))
    assert run.it._finished.is_set()
    last = ledger.last_run()
    assert last
    assert last[2] == {"listed": 1}
    await run.stop()


# -- accounts, patience ---------------------------------------------------------------------------------------


REFUSED = ServerRefused("the key is not accepted", kind="immich-key")


def worker(*, idle: bool = True) -> Any:
    return type("Worker", (), {"is_idle": lambda self, *, operation_only: idle})()


async def test_an_account_whose_key_is_refused_is_left_as_long_as_there_is_another(
    ledger: LedgerWriter, tmp_path: Path, ends: tuple[Channel, Channel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "is_account_s_own", lambda error: error is REFUSED)
    run = Recorder(ledger, tmp_path, ends)
    run.it._accounts = {1: worker(), 2: worker()}
    first = run.it._accounts[1]

    async def work(each: Any) -> int:
        if each is first:
            raise REFUSED
        return 7

    assert await run.it._each(work) == [7]
    assert await run.said() == [Refused(1, REFUSED.message, REFUSED.kind, REFUSED.exit_code)]
    assert run.it._accounts.keys() == {2}
    run.it._accounts = {1: first}
    with pytest.raises(ServerRefused):
        await run.it._each(work)
    run.it._accounts = {1: first, 2: worker()}
    monkeypatch.setattr(writing, "is_account_s_own", lambda error: False)
    with pytest.raises(ServerRefused):
        await run.it._each(work)
    assert await run.said() == []
    run.hear(Refused(2, "x", "y", 4))
    assert run.it._accounts.keys() == {1}, "the fetcher was refused"
    await run.stop()


async def test_it_is_idle_when_every_account_is(
    ledger: LedgerWriter, tmp_path: Path, ends: tuple[Channel, Channel]
) -> None:
    run = Recorder(ledger, tmp_path, ends)
    for idle in (True, False):
        run.it._accounts = {1: worker(), 2: worker(idle=idle)}
        assert run.it._idle() is idle
    await run.stop()


def test_patience_counts_from_whatever_got_further_last(
    ledger: LedgerWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr("time.monotonic", clock)
    unsettled = [3, 3, 2, 2, 2]
    monkeypatch.setattr(ledger, "unsettled", lambda: unsettled.pop(0))
    patience = writing._Patience(ledger)
    clock.now_s += 9.9
    assert not patience.is_over(10.0)
    clock.now_s += 0.1
    assert patience.is_over(10.0)
    assert not patience.is_over(10.0), "one has settled"
    clock.now_s += 10.0
    assert patience.is_over(10.0)
    patience.begin_again()
    assert not patience.is_over(10.0)
