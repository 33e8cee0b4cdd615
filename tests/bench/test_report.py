"""From looks at a run to numbers, and from numbers to what is printed."""

import pytest

from autotagger.bench.pipeline import Whole
from autotagger.bench.processes import Usage
from autotagger.bench.report import Machine, Report, Round, cost_rows, rows
from autotagger.bench.watch import Watch
from autotagger.ledger.states import State
from autotagger.pipeline.supervisor.summary import Summary
from autotagger.tagger.engine.speed import Bare
from autotagger.topology import Topology

US, SERVER = 1, 2


def run_of(watch: Watch, monkeypatch: pytest.MonkeyPatch, pictures: int) -> None:
    """Five pictures a second after a slow second; 10 ms of decoding and 20 ms of inference each, and 4 of the
    supervisor, of whose time a look takes 3 ms."""
    now = [0.0]
    looks_s = iter(number * 0.003 for half in range(1_000) for number in (half, half + 1))
    monkeypatch.setattr("autotagger.bench.watch.time.thread_time", lambda: next(looks_s))
    monkeypatch.setattr("autotagger.bench.watch.time.monotonic", lambda: now[0])

    def usages(pid: int) -> list[Usage]:
        if pid == SERVER:
            return [Usage(SERVER, "python", {"main": now[0] * 0.01}, 40.0, 30.0)]
        done = max(0.0, now[0] - 1.0) * 5
        threads = {"main": 3.0 + done * 0.001, "decode": done * 0.01, "ov-pool": done * 0.02}
        return [
            Usage(US, "python", {"main": 1.0 + done * 0.004 + len(watch.looks) * 0.003}, 50.0, 20.0),
            Usage(3, "autotag-inferen", threads, 200.0, max(150.0 - done, 100.0)),
            Usage(4, "autotag-inferen", {"main": 0.0}, 100.0, 70.0),
            Usage(5, "autotag-writer", {"main": done * 0.002}, 60.0, 40.0),
        ]

    monkeypatch.setattr("autotagger.bench.watch.usages", usages)
    while (inferred := int(max(0.0, now[0] - 1.0) * 5)) <= pictures:
        watch.look(Summary(dict.fromkeys(State, 0), {"inferred": inferred}, {}, now[0], "CPU", 0))
        now[0] += 0.5


def test_speed_and_costs_are_those_of_full_swing(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch(US, SERVER)
    run_of(watch, monkeypatch, 100)
    assert watch.speed(100) == pytest.approx(5.0, rel=0.03)
    costs = watch.cpu_ms(*watch.window(100))
    assert costs == pytest.approx(
        {"decode": 10, "inference": 20, "inferencer": 1, "stand_in": 2, "supervisor": 4, "writer": 2}, rel=0.05
    )
    assert watch.peak_mb() == {"inferencer": 300.0, "supervisor": 50.0, "writer": 60.0}
    assert watch.held_mb() == 280.0


def whole(ips: float) -> Whole:
    costs = {"decode": 10.0, "inference": 85.0, "writer": 5.0, "stand_in": 900.0}
    return Whole(ips, costs, {"inferencer": 300.0, "writer": 60.5}, 280.0, 4.0, 30.0, 100, 100)


def test_what_was_measured_before_and_after_counts_the_same() -> None:
    assert Bare(2.0, 1000.0, 900.0, "CPU").mean(Bare(3.0, 800.0, 950.0, "CPU")) == Bare(2.5, 900.0, 950.0, "CPU")


def test_the_server_s_time_is_not_our_overhead() -> None:
    assert whole(1.0).overhead == pytest.approx(0.05)


def test_the_report_holds_medians_and_spread() -> None:
    rounds = [
        Round(Bare(bare, 1000.0, 900.0, "CPU"), whole(ips), whole(80.0), 100.0, None)
        for bare, ips in ((2.0, 1.9), (1.0, 0.98), (4.0, 3.6))
    ]
    machine = Machine("a processor", 2, 8000.0, 0.5)
    report = Report("wd-vit", machine, Topology(1, 2, 2, 2), "exact", rounds, 36_000, True)
    numbers = report.as_dict()
    wanted = {"session_ips", "pipeline_ips", "ratio", "instant_ips", "decode_ips", "rss_mb", "cpu_ms"}
    assert wanted <= numbers.keys()
    assert numbers["session_ips"] == 2.0
    assert numbers["ratio"] == 0.95
    assert numbers["ratio_spread"] == [0.9, 0.98]
    assert numbers["instant_ratio"] == 0.8
    assert numbers["rss_mb"] == 360.5
    assert numbers["held_mb"] == 280.0
    assert numbers["cpu_ms"]["inference"] == 85.0
    assert numbers["hours"] == pytest.approx(36_000 / 1.9 / 3600, abs=0.01)
    assert numbers["benchmark_app_ips"] is None
    assert [row["median"] for row in rows(numbers)][:3] == ["2", "1.9", "0.95"]
    assert {row["stage"]: row["in the run"] for row in cost_rows(numbers)}["inference"] == "85"
