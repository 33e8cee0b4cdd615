"""An inferencer: decodes pictures on a few threads and scores them in one OpenVINO session on a few more.

Decoding is ahead of the session by a bounded queue, so that no stream waits for a picture.
"""

import io
import os
import queue
import threading
import time
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from loguru import logger
from numpy.typing import NDArray

from autotagger.errors import AssetFailed, Fatal, Retryable
from autotagger.memory import LARGEST_PICTURE_BYTES, PICTURE_BYTES, limit_growth
from autotagger.pipeline.child.base import CRASHED, HEARTBEAT_S, enter_child, name_thread, report_end, trouble_of
from autotagger.pipeline.child.spec import ChildSpec
from autotagger.pipeline.ipc.channel import Channel, ChannelClosed
from autotagger.pipeline.ipc.messages import Counts, Failed, Heartbeat, Infer, Ready, Scored
from autotagger.pipeline.ipc.payload import Payload, unpack_body
from autotagger.pipeline.ipc.slots import SlotMemory
from autotagger.pipeline.ipc.stats import Tally, timed
from autotagger.scores import pack
from autotagger.settings import VideoSettings
from autotagger.tagger.combine import combined, mean_rows
from autotagger.tagger.model import Model
from autotagger.tagger.preprocess import Decoding, prepare, prepare_image
from autotagger.topology import STREAM_BYTES, Topology, topology_for

if TYPE_CHECKING:
    from autotagger.tagger.engine.protocol import Session


#: A thread's stack and what the C library sets aside for it, counted whether or not it is used.
THREAD_BYTES = 64 << 20


def inferencer_main(channel: Channel, spec: ChildSpec, memory: SlotMemory) -> None:
    """Entry point of an inference process."""
    enter_child(channel, spec, "inferencer")
    # The supervisor imports this module too and has no use for the runtime's memory.
    from autotagger.tagger.engine.openvino import likely_device, open_session

    assert spec.model, "without a model there is nothing to infer"
    tally = Tally()
    _in_thread(
        "heartbeat", lambda: _heartbeat(channel, tally)
    )  # from now on: compiling a large model can take minutes
    try:
        device = spec.settings.model.device
        plan = topology_for(spec.settings, spec.model, on_cpu=likely_device(device) == "CPU")
        session = open_session(spec.model, device=device, streams=plan.streams, threads=plan.threads, proven=False)
        limit_growth(_memory_budget(plan))
        settings = spec.settings
        Inferencer(
            *(channel, memory, spec.model, session, plan), settings.model.decoding, settings.video, tally
        ).work()
    except ChannelClosed:
        os._exit(0)
    except (Fatal, OSError) as error:
        report_end(channel.send, error)


def _memory_budget(plan: Topology) -> int:
    """Bytes that decoding and inference may take beside the loaded model: the largest picture that there may be,
    while the other decoders have ordinary ones. What needs more gets the worker replaced and runs alone next time;
    a picture that needs more alone is set aside. OpenVINO takes its memory when it first infers."""
    pictures = LARGEST_PICTURE_BYTES + (plan.decoders - 1) * PICTURE_BYTES
    return pictures + plan.streams * (STREAM_BYTES + PICTURE_BYTES) + plan.threads * THREAD_BYTES


class Inferencer:
    """`decoders` threads decode, `streams` threads infer; the main thread reads the channel."""

    def __init__(
        self,
        channel: Channel,
        memory: SlotMemory,
        model: Model,
        session: "Session",
        plan: Topology,
        decoding: Decoding,
        video: VideoSettings,
        tally: Tally,
    ) -> None:
        self._channel = channel
        self._memory = memory
        self._model = model
        self._session = session
        self._plan = plan
        self._decoding: Decoding = decoding
        self._video = video
        self._averaged = mean_rows([label.category for label in model.labels], video.combine)
        self._tally = tally
        self._proven = threading.Event()
        self._orders: queue.SimpleQueue[Infer] = queue.SimpleQueue()
        self._prepared: queue.Queue[tuple[int, list[NDArray[np.float32]]]] = queue.Queue(maxsize=plan.streams)
        self._ratings = np.array(
            [row for row, label in enumerate(model.labels) if label.category == "rating"], dtype=np.intp
        )

    def work(self) -> None:
        """Take orders until the supervisor is gone."""
        for _ in range(self._plan.decoders):
            _in_thread("decode", self._decode)
        for _ in range(self._plan.streams):
            _in_thread("infer", self._infer)
        _in_thread("prove", self._prove)
        # One picture in each thread, the prepared queue full, and one order waiting for each decoder.
        capacity = 2 * self._plan.decoders + 2 * self._plan.streams
        self._send(Ready(capacity=capacity, device=self._session.device))
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
                    prepared = self._prepare(unpack_body(body))
                self._tally.add(timed("decode", time.monotonic() - begun))
            except (Retryable, AssetFailed) as error:
                self._send(Failed(order.job, trouble_of(error)))
            else:
                self._prepared.put((order.job, prepared))

    def _prepare(self, payload: Payload) -> list[NDArray[np.float32]]:
        """The tensor of a picture, or those of a video's frames."""
        spec = self._model.manifest.input
        if payload.original is not None:
            return [self._prepare_original(payload, payload.original)]
        if payload.video is None:
            return [prepare(payload.still, spec, decoding=self._decoding)]
        # Where no video comes, nobody pays for ffmpeg's memory.
        from autotagger.tagger.video import frames_of

        try:
            frames = frames_of(
                io.BytesIO(payload.video.body),
                self._video.frames,
                every=payload.video.excerpt,
                timeout_s=self._video.timeout_s,
            )
            logger.debug("{}: {} different frames", payload.name, len(frames))
            return [prepare_image(frame, spec) for frame in frames]
        except AssetFailed as error:
            logger.warning("{}: {}; its still frame is tagged instead", payload.name, error.message)
            return [prepare(payload.still, spec, decoding=self._decoding)]

    def _prepare_original(self, payload: Payload, original: memoryview) -> NDArray[np.float32]:
        """The tensor of an original, or of its preview."""
        spec = self._model.manifest.input
        try:
            return prepare(original, spec, decoding=self._decoding)
        except AssetFailed as error:
            logger.warning("{}: {}; its preview is tagged instead", payload.name, error.message)
            return prepare(payload.still, spec, decoding=self._decoding)

    def _prove(self) -> None:
        """While the first pictures are scored: with a large model that brings the first tag a second earlier."""
        try:
            self._session.prove()
        except Fatal as error:
            report_end(self._send, error)
        else:
            self._proven.set()

    def _infer(self) -> None:
        while True:
            job, pictures = self._prepared.get()
            try:
                frames = self._scores(pictures)
            except (Retryable, AssetFailed) as error:
                self._send(Failed(job, trouble_of(error)))
            else:
                scores, seen = combined(frames, self._averaged)
                self._send(Scored(job, pack(scores, self._ratings, frames=len(frames), seen=seen)))

    def _scores(self, pictures: list[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        """The scores of each. Raises AssetFailed and Retryable; nothing comes of a model that is not proven."""
        try:
            frames = []
            for picture in pictures:
                begun = time.monotonic()
                frames.append(self._session.scores(picture[np.newaxis])[0])
                self._tally.add(timed("inference", time.monotonic() - begun))
            return frames
        finally:
            self._proven.wait()

    def _send(self, message: object) -> None:
        _send(self._channel, message)


def _heartbeat(channel: Channel, tally: Tally) -> None:
    pause = threading.Event()
    while True:
        if stats := tally.take():
            _send(channel, Counts(stats))
        _send(channel, Heartbeat())
        pause.wait(HEARTBEAT_S)


def _send(channel: Channel, message: object) -> None:
    try:
        channel.send(message)
    except ChannelClosed:
        os._exit(0)


def _in_thread(name: str, target: Callable[[], None]) -> None:
    """Run `target` for ever. A thread that died unseen would keep its picture; a process that dies is replaced."""

    def run() -> None:
        name_thread(name)
        try:
            target()
        except BaseException:
            traceback.print_exc()
            os._exit(CRASHED)

    threading.Thread(target=run, daemon=True).start()
