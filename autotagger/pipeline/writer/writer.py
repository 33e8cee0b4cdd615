"""The writer: the only process that writes the ledger and the only one that changes anything in Immich.

Three loops on one event loop: record what the jobs brought, apply it, verify it.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from loguru import logger

from autotagger import __version__
from autotagger.errors import Retryable, ServerRefused
from autotagger.immich.client import ImmichClient
from autotagger.ledger.database import DATABASE_ERRORS, plainly
from autotagger.ledger.writer import LedgerWriter
from autotagger.pipeline.child.base import wall_ms
from autotagger.pipeline.child.event_loop import AsyncChild, first, run_async_child
from autotagger.pipeline.child.spec import ChildSpec
from autotagger.pipeline.clients import clients_of, is_account_s_own
from autotagger.pipeline.control.mailbox import Request
from autotagger.pipeline.decider import TagDecider
from autotagger.pipeline.ipc.channel import Channel
from autotagger.pipeline.ipc.messages import (
    Asked,
    Copy,
    Drain,
    Drained,
    Finish,
    Hold,
    Listed,
    LookedAround,
    Noted,
    OperationDone,
    Outage,
    Ready,
    Record,
    Recorded,
    Refused,
    Settled,
    Swept,
    Trouble,
)
from autotagger.pipeline.writer.account_worker import AccountWorker, account_workers, together
from autotagger.pipeline.writer.operations import Retag
from autotagger.pipeline.writer.retry_policy import retry_policy

T = TypeVar("T")

#: Records written in one transaction, and how long the first of them waits for more: a row
#: costs 0.5 ms in a commit of its own and 0.14 ms among a hundred.
RECORD_AT_ONCE = 100
RECORD_WITHIN_S = 0.2
#: Pause after Immich was unreachable, before the next call.
OUTAGE_PAUSE_S = 15.0


def writer_main(channel: Channel, spec: ChildSpec) -> None:
    """Entry point of the writer process."""

    async def main(channel: Channel, spec: ChildSpec) -> None:
        path = spec.settings.ledger_path
        try:
            with LedgerWriter(path) as ledger:
                async with clients_of(spec.settings.immich, spec.accounts) as clients:
                    await Writer(channel, spec, ledger, clients).run()
        except* DATABASE_ERRORS as group:
            raise plainly(path, first(group)) from None

    run_async_child(channel, spec, "writer", main)


class _Patience:
    """How long a drain waits for Immich to settle, from whatever got further last."""

    def __init__(self, ledger: LedgerWriter) -> None:
        self._ledger = ledger
        self._unsettled = 0
        self.begin_again()

    def begin_again(self) -> None:
        self._from_s = time.monotonic()

    def is_over(self, settle_s: float) -> bool:
        """Whether nothing got further for so long. What has settled may have its next call now."""
        before, self._unsettled = self._unsettled, self._ledger.unsettled()
        if self._unsettled < before:
            self.begin_again()
        return time.monotonic() - self._from_s >= settle_s


class Writer:
    """Runs until `Finish`. `clients`: by the ledger's ids of the accounts."""

    def __init__(
        self, channel: Channel, spec: ChildSpec, ledger: LedgerWriter, clients: Mapping[int, ImmichClient]
    ) -> None:
        self._spec = spec
        self._ledger = ledger
        self._child = AsyncChild(channel, self._handle)
        for client in clients.values():
            client.exchanged = self._child.exchanged
        self._inbox: asyncio.Queue[Record | Listed | Copy] = asyncio.Queue()
        self._something = asyncio.Event()
        self._held = False
        self._drain: Drain | None = None
        self._swept = False
        self._finished = asyncio.Event()

        settings = spec.settings
        self._run = spec.run if spec.run is not None else ledger.start_run(__version__, wall_ms())
        ledger.run = self._run
        decider = TagDecider.of_run(ledger, spec.model, settings, self._run) if spec.model else None
        self._model = decider.model if decider else None
        if decider and not spec.operation:
            ledger.rescore_others(decider.model)
        self._accounts = account_workers(spec, ledger, clients, decider, wall_ms, self._child.count)
        self._operation_told = spec.operation is None
        self._decider = decider
        self._asked: str | None = None  # the request that the operation carries out

    async def run(self) -> None:
        """Work until told to finish."""
        for account_worker in self._accounts.values():
            account_worker.verifier.retry_closed()
        self._child.send(Ready(run=self._run))
        async with asyncio.TaskGroup() as tasks:
            loops = [tasks.create_task(loop) for loop in (self._child.heartbeat(), self._record(), self._work())]
            await self._finished.wait()
            for loop in loops:
                loop.cancel()

    def _handle(self, message: object) -> None:
        match message:
            case Record() | Listed() | Copy():
                self._inbox.put_nowait(message)
            case Refused(account):
                self._accounts.pop(account, None)
            case Hold(on):
                self._held = on
                self._something.set()
            case Swept(number=number, left_out=left_out):
                for account_id, account_worker in self._accounts.items():
                    account_worker.expect(number, left_out.get(account_id))
                self._swept = True
                self._something.set()
            case Asked(request):
                self._carry_out(request)
                self._something.set()
            case Drain():
                self._drain = message
                self._something.set()
            case Finish(summary):
                self._ledger.end_run(self._run, summary, wall_ms())
                self._finished.set()

    def _carry_out(self, request: Request) -> None:
        """Do what a command left in the mailbox; done twice it changes nothing more."""
        match request:
            case Request(kind="retry", wish={"kind": kind, "asset_id": asset_id}):
                count = self._ledger.retry(kind, asset_id)
                logger.info("retry: {} assets are retried, as requested", count)
            case Request(kind="dismiss", wish={"kind": kind, "asset_id": asset_id}):
                count = self._ledger.dismiss(kind, asset_id)
                logger.info("dismiss: {} assets are set aside for good, as requested", count)
            case Request(kind="retag", wish=wish):
                if self._begin_retag(wish):
                    self._asked = request.id
                    return
            case _:
                logger.warning("unknown request {}: this version does not support it", request.kind)
        self._child.send(Settled(request.id))

    def _begin_retag(self, wish: Mapping[str, Any]) -> bool:
        """Begin an operation beside the other work, unless it is meant for other rules than those of this run."""
        decider, model = self._decider, self._spec.model
        if not decider or not model or wish != {"model": model.identity, "policy": decider.policy.identity}:
            logger.warning("retag was requested with another model or policy than this run's: it is ignored")
            return False
        for account_worker in self._accounts.values():
            account_worker.operation, account_worker.result = Retag(account_worker.context, decider), None
        self._operation_told = False
        return True

    # -- record -------------------------------------------------------------------------------------------

    async def _record(self) -> None:
        while True:
            messages = [await self._inbox.get()]
            deadline = time.monotonic() + RECORD_WITHIN_S
            while len(messages) < RECORD_AT_ONCE and (left := deadline - time.monotonic()) > 0:
                if isinstance(messages[-1], Listed):
                    break  # the fetcher waits for it before it sends more
                try:
                    messages.append(await asyncio.wait_for(self._inbox.get(), left))
                except TimeoutError:
                    break
            self._record_batch(messages)
            self._something.set()

    def _record_batch(self, messages: list[Record | Listed | Copy]) -> None:
        records = [message for message in messages if isinstance(message, Record)]
        copies = [message.asset_id for message in messages if isinstance(message, Copy)]
        with self._ledger.batch():
            for part in (message for message in messages if isinstance(message, Listed)):
                mine = self._ledger.of_account(part.account)
                mine.add_listed(part.assets)
                mine.note_selected((*part.assets, *part.marked))
                mine.note_unselected(part.unselected, sweep=part.sweep)
                self._ledger.note_listed((*part.assets, *part.marked), sweep=part.sweep)
                if part.sweep:
                    self._ledger.note_markers(
                        [asset.asset_id for asset in part.marked], [asset.asset_id for asset in part.assets]
                    )
                mine.add_marked([asset.asset_id for asset in part.marked], part.marked)
            scored = [(r.asset_id, r.outcome) for r in records if isinstance(r.outcome, bytes)]
            troubles = [(r.asset_id, r.outcome) for r in records if isinstance(r.outcome, Trouble)]
            if scored and self._model is not None:
                self._ledger.record_scores(self._model, scored)
            if copies and self._model is not None:
                self._copy_scores(self._model, copies)
            if troubles:
                self._record_troubles(troubles)
        for message in messages:
            if isinstance(message, Listed):
                self._child.send(Noted())
        if records or copies:
            self._child.send(Recorded((*(record.asset_id for record in records), *copies)))

    def _copy_scores(self, model: int, asset_ids: list[str]) -> None:
        """Scores for assets with an identical picture; where those are gone, the asset is fetched after all."""
        found = self._ledger.twin_scores(asset_ids, model)
        self._ledger.record_scores(model, list(found.items()))
        self._child.count("copied", len(found))

    def _record_troubles(self, troubles: list[tuple[str, Trouble]]) -> None:
        attempts = self._ledger.attempts([asset_id for asset_id, _ in troubles])
        now_ms, most = wall_ms(), self._spec.settings.pipeline.max_attempts
        for asset_id, trouble in troubles:
            found = retry_policy(trouble, attempts.get(asset_id, 0), now_ms, most)
            self._ledger.record_problem(
                asset_id,
                found.state,
                kind=trouble.kind,
                message=trouble.message,
                due_ms=found.due_ms,
                scoring=True,
            )

    # -- apply and verify ---------------------------------------------------------------------------------

    async def _work(self) -> None:
        """Apply whatever is there, look at what may have settled, until drained."""
        interval_s = self._spec.settings.verify.interval_s
        next_look = time.monotonic() + interval_s
        draining, patience = False, _Patience(self._ledger)
        while True:
            self._something.clear()
            drain = self._drain
            if drain and not draining:
                # From here on nothing else is coming: look often, and count the patience from now.
                draining, interval_s, next_look = True, 0.25, 0.0
                patience.begin_again()
            if drain and not drain.complete:
                break
            try:
                # Before anything is read for a change: what left many assets at once is no person's removal.
                swept = self._swept
                looked_for = any(await self._each(lambda account_worker: account_worker.look_around()))
                if swept and not looked_for:
                    self._swept = False
                    self._child.flush()
                    self._child.send(LookedAround())
                stepped = await self._step()
                applied = not (self._held or self._spec.scoring_only) and await self._apply()
                # While there is always more to apply, too: what no listing has named for long is read one by one.
                look = time.monotonic() >= next_look and not (applied and draining)
                looked, judged = await self._verify(look=look)
                next_look = time.monotonic() + interval_s if look else next_look
            except Retryable as error:
                await self._wait_out(error)
                continue
            if applied or judged or stepped or looked_for:
                patience.begin_again()
                continue
            if drain:
                if self._idle() or patience.is_over(drain.settle_s):
                    break
                interval_s = min(interval_s * 1.5, 10.0)
            if not looked:
                await self._wait_for_something(min(1.0, interval_s))
        self._child.flush()
        self._child.send(Drained(unsettled=self._ledger.unsettled()))

    async def _step(self) -> bool:
        """Take the operation a step further for every account; returns whether that changed anything."""
        if self._operation_told:
            return False
        stepped = await self._each(lambda account_worker: account_worker.step())
        results = [
            account_worker.result
            for account_worker in self._accounts.values()
            if account_worker.result is not None
        ]
        if len(results) == len(self._accounts):
            self._end_operation(together(results))
        return any(stepped)

    async def _apply(self) -> bool:
        return any(await self._each(lambda account_worker: account_worker.applier.apply_batch()))

    def _end_operation(self, result: dict[str, Any]) -> None:
        self._operation_told = True
        self._child.send(OperationDone(result))
        if self._asked is not None:
            logger.info("retag, as requested: {} assets were decided again", result["reopened"])
            self._child.send(Settled(self._asked))
            self._asked = None

    async def _verify(self, *, look: bool) -> tuple[bool, bool]:
        """Whether there was an asset to look at, and whether a canary was decided."""
        ends = await self._each(lambda account_worker: account_worker.verify(look=look))
        return any(looked for looked, _ in ends), any(judged for _, judged in ends)

    async def _each(self, work: Callable[[AccountWorker], Awaitable[T]]) -> list[T]:
        """Do one kind of work for every account, one after the other. An account whose key is refused is left
        alone as long as there is another."""
        ends: list[T] = []
        for account, account_worker in list(self._accounts.items()):
            try:
                ends.append(await work(account_worker))
            except ServerRefused as error:
                if not is_account_s_own(error) or self._accounts.keys() <= {account}:
                    raise
                if self._accounts.pop(account, None):
                    self._child.send(Refused(account, error.message, error.kind, error.exit_code))
        return ends

    def _idle(self) -> bool:
        if self._spec.scoring_only:
            return self._operation_told
        operation_only = self._spec.operation is not None
        return all(
            account_worker.is_idle(operation_only=operation_only) for account_worker in self._accounts.values()
        )

    async def _wait_out(self, error: Retryable) -> None:
        logger.warning("{}; nothing is lost; continuing in {:.0f} s", error.message, OUTAGE_PAUSE_S)
        self._child.flush()
        self._child.send(Outage(error.message))
        await asyncio.sleep(OUTAGE_PAUSE_S)

    async def _wait_for_something(self, max_s: float) -> None:
        try:
            await asyncio.wait_for(self._something.wait(), max_s)
        except TimeoutError:
            return
