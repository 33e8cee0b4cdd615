"""What a bench found: numbers of every round, their medians and spreads, as JSON and as tables."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from autotagger.bench.pipeline import Whole
from autotagger.tagger.engine.speed import Bare
from autotagger.topology import Topology

#: The library that is reckoned with where the ledger knows of none.
ASSUMED_LIBRARY = 100_000


@dataclass(frozen=True, slots=True)
class Machine:
    """`processor`: its name by /proc/cpuinfo; `cores`: those we may use; `load`: others' at the beginning."""

    processor: str
    cores: int
    memory_mb: float
    load: float


@dataclass(frozen=True, slots=True)
class Round:
    """One turn through all measurements. `ceiling_ips`: by benchmark_app, where it is installed."""

    bare: Bare
    whole: Whole
    instant: Whole
    decode_ips: float
    ceiling_ips: float | None


@dataclass(frozen=True, slots=True)
class Report:
    """`library`: assets to reckon hours with; `known`: the user's."""

    model: str
    machine: Machine
    topology: Topology
    decoding: str
    rounds: Sequence[Round]
    library: int
    known: bool

    def as_dict(self) -> dict[str, Any]:
        """For --json. Of every rate: the median, `*_spread` being the lowest and the highest round."""
        rates = {
            "session_ips": [one.bare.ips for one in self.rounds],
            "pipeline_ips": [one.whole.ips for one in self.rounds],
            "ratio": [one.whole.ips / one.bare.ips for one in self.rounds],
            "instant_ips": [one.instant.ips for one in self.rounds],
            "decode_ips": [one.decode_ips for one in self.rounds],
            "instant_ratio": [one.instant.ips / one.decode_ips for one in self.rounds],
            "benchmark_app_ips": [one.ceiling_ips for one in self.rounds if one.ceiling_ips],
            "overhead": [one.whole.overhead for one in self.rounds],
            "first_tag_s": [one.whole.first_tag_s for one in self.rounds],
            "session_cpu_ms": [one.bare.cpu_ms for one in self.rounds],
        }
        numbers: dict[str, Any] = {}
        for name, values in rates.items():
            numbers[name] = round(statistics.median(values), 4) if values else None
            numbers[f"{name}_spread"] = [round(min(values), 4), round(max(values), 4)] if values else None
        processes = _medians(one.whole.peak_mb for one in self.rounds)
        return {
            "model": self.model,
            "device": self.rounds[0].bare.device,
            **numbers,
            "cpu_ms": _medians(one.whole.cpu_ms for one in self.rounds),
            "instant_cpu_ms": _medians(one.instant.cpu_ms for one in self.rounds),
            "rss_mb": round(sum(processes.values()), 1),
            "rss_mb_by_process": processes,
            "held_mb": round(statistics.median(one.whole.held_mb for one in self.rounds), 1),
            "session_rss_mb": round(max(one.bare.peak_mb for one in self.rounds), 1),
            "library": self.library,
            "library_is_yours": self.known,
            "hours": round(self.library / numbers["pipeline_ips"] / 3600, 2) if numbers["pipeline_ips"] else None,
            "topology": {
                "workers": self.topology.workers,
                "streams": self.topology.streams,
                "threads": self.topology.threads,
                "decoders": self.topology.decoders,
            },
            "decoding": self.decoding,
            "rounds": len(self.rounds),
            "machine": {
                "processor": self.machine.processor,
                "cores": self.machine.cores,
                "memory_mb": round(self.machine.memory_mb),
                "load": self.machine.load,
            },
        }


def rows(numbers: dict[str, Any]) -> list[dict[str, object]]:
    """The rates of `Report.as_dict`, a row each, for a table: what, median, lowest, highest."""
    named = {
        "session_ips": "bare session, pictures/s",
        "benchmark_app_ips": "OpenVINO's benchmark_app, pictures/s",
        "pipeline_ips": "whole pipeline, pictures/s",
        "ratio": "whole pipeline / bare session",
        "decode_ips": "decoding alone, all cores, pictures/s",
        "instant_ips": "whole pipeline, instant model, pictures/s",
        "instant_ratio": "instant model / decoding alone",
        "overhead": "share of CPU outside inference and decoding",
        "first_tag_s": "start to first tag, s",
    }
    return [
        {
            "what": text,
            "median": _short(numbers[name]),
            "lowest": _short(numbers[f"{name}_spread"][0]),
            "highest": _short(numbers[f"{name}_spread"][1]),
        }
        for name, text in named.items()
        if numbers[name] is not None
    ]


def cost_rows(numbers: dict[str, Any]) -> list[dict[str, object]]:
    """CPU-milliseconds a picture by stage: in the run, and with the instant model."""
    stages = sorted({*numbers["cpu_ms"], *numbers["instant_cpu_ms"]})
    return [
        {
            "stage": stage,
            "in the run": _short(numbers["cpu_ms"].get(stage)),
            "instant model": _short(numbers["instant_cpu_ms"].get(stage)),
            "peak MB": _short(numbers["rss_mb_by_process"].get(stage)),
        }
        for stage in stages
    ]


def _medians(of: Iterable[dict[str, float]]) -> dict[str, float]:
    found = list(of)
    names = sorted({name for one in found for name in one})
    return {name: round(statistics.median(one.get(name, 0.0) for one in found), 3) for name in names}


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}" if value < 1000 else f"{value:,.0f}"
