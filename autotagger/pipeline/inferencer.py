"""An inferencer: decodes pictures on a few threads and scores them in one OpenVINO session on a few more.

Decoding is ahead of the session by a bounded queue, so that no stream waits for a picture.
"""

import os
import queue
import threading
import time
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from autotagger.errors import AssetFailed, Fatal, Retryable
from autotagger.pipeline.channel import Channel, ChannelClosed
from autotagger.pipeline.child import BEAT_S, ChildSpec, enter_child, report_end, trouble_of
from autotagger.pipeline.figures import Tally, timed
from autotagger.pipeline.messages import Beat, Counts, Failed, Infer, Ready, Scored
from autotagger.pipeline.slots import SlotMemory
from autotagger.scores import pack
from autotagger.tagger.catalog import Model
from autotagger.tagger.cores import allowed_cores
from autotagger.tagger.preprocess import prepare

if TYPE_CHECKING:
    from autotagger.tagger.session import Session

#: EX_SOFTWARE of sysexits.h.
CRASHED = 70


def inferencer_main(channel: Channel, spec: ChildSpec, memory: SlotMemory) -> None:
    """Entry point of an inference process."""
    enter_child(channel, spec)
    # The supervisor imports this module too and has no use for the runtime's memory.
    from autotagger.tagger.session import open_session

    assert spec.model, "without a model there is nothing to infer"
    tally = Tally()
    _in_thread(lambda: _beat(channel, tally))  # from now on: compiling a large model can take minutes
    try:
        streams = stream_count(spec)
        session = open_session(spec.model, device=spec.settings.model.device, streams=streams, threads=streams)
        Inferencer(channel, memory, spec.model, session, streams, tally).work()
    except ChannelClosed:
        os._exit(0)
    except (Fatal, OSError) as error:
        report_end(channel.send, error)


def stream_count(spec: ChildSpec) -> int:
    """Streams of one worker: workers x streams = the cores we may use (speed.md)."""
    if spec.settings.model.streams:
        return spec.settings.model.streams
    return max(1, allowed_cores() // max(1, spec.settings.pipeline.workers))


class Inferencer:
    """`streams` threads decode, `streams` threads infer; the main thread reads the channel."""

    def __init__(
        self,
        channel: Channel,
        memory: SlotMemory,
        model: Model,
        session: "Session",
        streams: int,
        tally: Tally,
    ) -> None:
        self._channel = channel
        self._memory = memory
        self._model = model
        self._session = session
        self._streams = streams
        self._tally = tally
        self._orders: queue.SimpleQueue[Infer] = queue.SimpleQueue()
        self._prepared: queue.Queue[tuple[int, NDArray[np.float32]]] = queue.Queue(maxsize=streams)
        self._ratings = np.array(
            [row for row, label in enumerate(model.labels) if label.category == "rating"], dtype=np.intp
        )

    def work(self) -> None:
        """Take orders until the supervisor is gone."""
        for _ in range(self._streams):
            _in_thread(self._decode)
            _in_thread(self._infer)
        # One picture in each thread, the prepared queue full, and one order waiting for each decoder.
        self._send(Ready(capacity=4 * self._streams, device=self._session.device))
        while True:
            message = self._channel.receive()
            if isinstance(message, Infer):
                self._orders.put(message)

    def _decode(self) -> None:
        while True:
            order = self._orders.get()
            try:
                begun = time.monotonic()
                with self._memory.read(order.slot, order.length, spilled=order.spilled) as body:
                    prepared = prepare(body, self._model.manifest.input)
                self._tally.add(timed("decode", time.monotonic() - begun))
            except (Retryable, AssetFailed) as error:
                self._send(Failed(order.flight, trouble_of(error)))
            else:
                self._prepared.put((order.flight, prepared))

    def _infer(self) -> None:
        while True:
            flight, picture = self._prepared.get()
            try:
                begun = time.monotonic()
                scores = self._session.scores(picture[np.newaxis])[0]
                self._tally.add(timed("inference", time.monotonic() - begun))
            except (Retryable, AssetFailed) as error:
                self._send(Failed(flight, trouble_of(error)))
            else:
                self._send(Scored(flight, pack(scores, self._ratings)))

    def _send(self, message: object) -> None:
        _send(self._channel, message)


def _beat(channel: Channel, tally: Tally) -> None:
    pause = threading.Event()
    while True:
        if figures := tally.take():
            _send(channel, Counts(figures))
        _send(channel, Beat())
        pause.wait(BEAT_S)


def _send(channel: Channel, message: object) -> None:
    try:
        channel.send(message)
    except ChannelClosed:
        os._exit(0)


def _in_thread(target: Callable[[], None]) -> None:
    """Run `target` for ever. A thread that died unseen would keep its picture; a process that dies is replaced."""

    def run() -> None:
        try:
            target()
        except BaseException:
            traceback.print_exc()
            os._exit(CRASHED)

    threading.Thread(target=run, daemon=True).start()
