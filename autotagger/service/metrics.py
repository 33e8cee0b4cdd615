"""The run's numbers in Prometheus' format, read off the last status whenever somebody asks."""

import os
import platform
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from autotagger import __version__
from autotagger.pipeline.ipc.stats import BOUNDS_MS, UNBOUNDED
from autotagger.pipeline.supervisor.status import RunStatus
from autotagger.service.observer import Observer

CONTENT_TYPE = CONTENT_TYPE_LATEST
_PREFIX = "autotagger_"
#: Counts of a run that are metrics of their own: the metric's name (less `_total`) and what it counts.
_COUNTERS = {
    "listed": ("assets_listed", "Assets seen in listings of the library, counted in each listing."),
    "inferred": ("pictures_scored", "Pictures scored by the model."),
    "tagged": ("assets_tagged", "Assets whose tag call Immich answered."),
    "tags": ("tags_assigned", "Tags added to assets, markers not counted."),
    "tag_calls": ("tag_calls", "Tag calls that Immich answered."),
    "read_back": ("assets_read_back", "Assets read back tag by tag."),
    "proven": ("assets_verified", "Assets verified to have their tags."),
    "repaired": ("repairs", "Assets tagged again because tags were missing."),
    "lost": ("assets_lost", "Assets that lost their tags again after all repairs."),
    "flattened": ("pictures_flattened", "Transparent pictures scored on black because asset.download is missing."),
    "restarts": ("restarts", "Processes that were replaced after they ended or hung."),
}
_DOWNLOADS = "_downloads"
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class RunCollector(Collector):
    """Asked by prometheus_client at every scrape."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._started = time.time()

    def collect(self) -> Iterator[Metric]:
        """The run at this moment; states and counts only once there was a first look at it."""
        health = self._observer.health
        yield _info("build", "Version of autotagger and its runtime.", _build())
        yield _gauge("start_time_seconds", "When the run began, Unix time.", self._started)
        yield _gauge("live", "1 while every process answers and makes progress.", health.live)
        yield _gauge("ready", "1 while the run is live, the model is loaded and Immich answers.", health.ready)
        yield _gauge("immich_reachable", "1 while Immich answers a ping.", self._observer.reachable)
        yield _gauge(
            "pictures_per_second",
            "Pictures scored per second over the last two minutes.",
            self._observer.pace.per_s,
        )
        if status := self._observer.status:
            yield from _state(status)
            yield from _counters(status.summary.counts)
            yield from _histograms(status.summary.counts)


def exposition(registry: CollectorRegistry) -> bytes:
    """The text that Prometheus scrapes."""
    return generate_latest(registry)


def registry_of(observer: Observer) -> CollectorRegistry:
    """A registry that holds nothing but the run."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(RunCollector(observer))
    return registry


def _state(status: RunStatus) -> Iterator[Metric]:
    summary = status.summary
    model = {"name": status.model, "identity": status.model_identity[:12], "device": summary.device}
    yield _info("model", "The model and its device.", model)
    yield _info("immich", "The server.", {"version": status.server_version})
    yield _gauges("assets", "Assets in the ledger.", "state", {str(k): v for k, v in summary.states.items()})
    yield _gauges("assets_failed", "Failed assets in the ledger.", "kind", summary.failures)
    yield _gauge("assets_unmarked", "Verified assets that have lost their marker in Immich.", summary.unmarked)
    yield _gauges("queue_depth", "Pictures in work.", "stage", status.jobs)
    slots = {"free": status.free_slots, "used": status.slots - status.free_slots}
    yield _gauges("slots", "Slots for pictures in shared memory.", "state", slots)
    yield _gauge("listing", "1 while the library is being listed.", status.listing)
    yield _gauge("paused", "1 while an outage of Immich holds new work.", status.paused)
    yield _gauge("resting", "1 while no new work starts: a pause, or outside the hours.", bool(status.idle_reason))
    processes = status.processes
    yield _gauges(
        "process_ready", "1 when the process has started.", "process", {p.name: p.ready for p in processes}
    )
    yield _gauges(
        "process_silent_seconds",
        "Seconds since the last heartbeat.",
        "process",
        {p.name: p.silent_s for p in processes},
    )
    pids = {"supervisor": os.getpid()} | {process.name: process.pid for process in processes}
    yield _gauges(
        "process_resident_bytes",
        "Memory in use, shared pages counted in each process.",
        "process",
        {name: resident_bytes(pid) for name, pid in pids.items()},
    )


def _counters(counts: Mapping[str, int]) -> Iterator[Metric]:
    for name, (metric, help_text) in _COUNTERS.items():
        counter = CounterMetricFamily(_PREFIX + metric, help_text)
        counter.add_metric([], counts.get(name, 0))
        yield counter
    downloads = CounterMetricFamily(_PREFIX + "downloads", "Pictures downloaded.", labels=["size"])
    calls = CounterMetricFamily(
        _PREFIX + "immich_calls", "Attempts of calls to Immich.", labels=["call", "outcome"]
    )
    others = CounterMetricFamily(_PREFIX + "events", "Other counts of the run.", labels=["event"])
    for name, count in sorted(counts.items()):
        if name.startswith("calls/"):
            calls.add_metric(name.split("/")[1:], count)
        elif "/" in name or name in _COUNTERS:
            continue
        elif name.endswith(_DOWNLOADS):
            downloads.add_metric([name.removesuffix(_DOWNLOADS)], count)
        else:
            others.add_metric([name], count)
    yield from (downloads, calls, others)


def _histograms(counts: Mapping[str, int]) -> Iterator[Metric]:
    """From the times of pipeline/ipc/stats.py; a metric's buckets each count the smaller ones too."""
    places: dict[str, dict[str, int]] = defaultdict(dict)
    for name, count in counts.items():
        if name.startswith("le/"):
            _, what, bound = name.split("/")
            places[what][bound] = count
    immich = HistogramMetricFamily(
        _PREFIX + "immich_call_seconds", "Time of a try of a call to Immich.", labels=["call"]
    )
    decode = HistogramMetricFamily(_PREFIX + "decode_seconds", "Time to decode and scale a picture.")
    inference = HistogramMetricFamily(_PREFIX + "inference_seconds", "Time to score a picture.")
    for what, found in sorted(places.items()):
        buckets, seconds = _buckets(found), counts.get(f"ms/{what}", 0) / 1_000
        if what.startswith("immich."):
            immich.add_metric([what.removeprefix("immich.")], buckets, seconds)
        else:
            (decode if what == "decode" else inference).add_metric([], buckets, seconds)
    yield from (immich, decode, inference)


def _buckets(found: Mapping[str, int]) -> list[tuple[str, float]]:
    total, buckets = 0, []
    for bound in (*map(str, BOUNDS_MS), UNBOUNDED):
        total += found.get(bound, 0)
        buckets.append(("+Inf" if bound == UNBOUNDED else str(int(bound) / 1_000), float(total)))
    return buckets


def resident_bytes(pid: int) -> int:
    """Memory of a process in use (statm, proc(5)); 0 when it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES
    except OSError:
        return 0


def _build() -> dict[str, str]:
    return {
        "version": __version__,
        "python": platform.python_version(),
        "onnxruntime": version("onnxruntime-openvino"),
    }


def _info(name: str, help_text: str, value: dict[str, str]) -> Metric:
    return InfoMetricFamily(_PREFIX + name, help_text, value=value)


def _gauge(name: str, help_text: str, value: float) -> Metric:
    return GaugeMetricFamily(_PREFIX + name, help_text, value=float(value))


def _gauges(name: str, help_text: str, label: str, values: Mapping[str, float]) -> Metric:
    gauge = GaugeMetricFamily(_PREFIX + name, help_text, labels=[label])
    for key, value in values.items():
        gauge.add_metric([key], float(value))
    return gauge
