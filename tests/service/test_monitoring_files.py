"""Dashboard, alert rules and page name metrics: each must exist, and each that exists must be on the page."""

import json
import os
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from autotagger.pipeline.ipc.stats import exchanged, timed
from autotagger.service.metrics import exposition, registry_of
from autotagger.service.notify import Notifier
from autotagger.service.observer import Observer
from autotagger.settings import Settings
from tests.service.support import process, run_status, summary

DOCS = Path(__file__).parents[2] / "docs"
FOLDER = DOCS / "monitoring"
_METRIC = re.compile(r"\bautotagger_[a-z_]+\b")
promtool = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(not promtool, reason="Debian: in the package prometheus")


def page() -> str:
    """All that a run can show: something of everything has happened in it."""
    counts = Counter({"preview_downloads": 1, "new": 1})
    counts += timed("decode", 0.1) + timed("inference", 0.1) + exchanged("search", "ok", 0.1)
    observer = Observer(Notifier(), 300.0)
    observer.observe(run_status(process("writer", pid=os.getpid()), summary=summary(states=None, **counts)))
    return exposition(registry_of(observer)).decode()


def families() -> set[str]:
    """Names of metrics as a page writes them: histograms without their endings."""
    found = set()
    for family in text_string_to_metric_families(page()):
        ending = {"counter": "_total", "info": "_info"}.get(family.type, "")
        found.add(family.name if family.name.endswith(ending) else family.name + ending)
    return found


def samples() -> set[str]:
    return {sample.name for family in text_string_to_metric_families(page()) for sample in family.samples}


def expressions() -> list[str]:
    dashboard: dict[str, Any] = json.loads((FOLDER / "grafana-dashboard.json").read_text())
    return [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]


def test_the_dashboard_and_the_alerts_name_metrics_that_exist() -> None:
    alerts = (FOLDER / "alerts.yml").read_text()
    rules = "\n".join(re.findall(r"expr: (.*?)\n +(?:for|labels):", alerts, re.DOTALL))
    assert rules.count("autotagger") >= alerts.count("- alert:") - 1
    for text in (rules, "\n".join(expressions())):
        named = set(_METRIC.findall(text))
        assert named
        assert named <= samples() | families()  # a family may have no sample yet


def test_the_page_names_every_metric_and_no_other() -> None:
    table = (DOCS / "monitoring.md").read_text().split("## Metrics")[1].split("## Logs")[0]
    assert set(_METRIC.findall(table)) == families()


def test_the_page_names_the_port_that_is_set() -> None:
    service = Settings().service
    place = f"{service.listen_host}:{service.listen_port}"
    assert place in (DOCS / "monitoring.md").read_text()
    assert place in (FOLDER / "prometheus.yml").read_text()


@needs_promtool
def test_promtool_agrees_with_alerts_dashboard_and_metrics(tmp_path: Path) -> None:
    def ask(*arguments: str, given: str = "") -> None:
        done = subprocess.run(
            [str(promtool), *arguments], input=given, cwd=FOLDER, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

    ask("check", "config", "prometheus.yml")
    ask("test", "rules", "alerts_test.yml")
    ask("check", "metrics", given=page())
    rules = [
        {"record": f"panel:{n}", "expr": expr.replace("$instance", ".*")} for n, expr in enumerate(expressions())
    ]
    (tmp_path / "panels.yml").write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    ask("check", "rules", str(tmp_path / "panels.yml"))
