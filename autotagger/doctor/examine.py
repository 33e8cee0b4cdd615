"""From settings to findings: look at everything, then judge it, check by check."""

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autotagger.config import files_open_to_all, old_keys_in_use
from autotagger.doctor.check_result import Finding, Level
from autotagger.doctor.facts import Facts, MachineFacts
from autotagger.doctor.ledger import look_at_ledger
from autotagger.doctor.machine import look_at_machine
from autotagger.doctor.model import look_at_model, open_model
from autotagger.doctor.registry import CHECKS
from autotagger.doctor.rules import look_at_policy, look_at_port
from autotagger.doctor.server import look_at_server
from autotagger.doctor.speed import measure
from autotagger.settings import Settings
from autotagger.tagger.engine.openvino import likely_device
from autotagger.topology import Topology, choose


@dataclass(frozen=True, slots=True)
class Report:
    """All findings. `exit_code`: the one that `autotagger run` would end with at its start; 0: it would start.

    `open_question`: what could not be tried; empty where all was."""

    findings: tuple[Finding, ...]
    open_question: str = ""

    @property
    def exit_code(self) -> int:
        failed = [one.result.exit_code for one in self.findings if one.result.level is Level.FAIL]
        return failed[0] if failed else 0

    @property
    def ending(self) -> str:
        """What all of it comes to, in a sentence."""
        if self.exit_code:
            return "`autotagger run` would not start."
        if self.open_question:
            return f"`autotagger run` would start, but {self.open_question}."
        return "Everything is ready. `autotagger run` would start."

    def as_dict(self) -> Mapping[str, Any]:
        """For `doctor --json`: the checks in order, `fix` None where nothing is to be done."""
        return {
            "would_start": self.exit_code == 0,
            "exit_code": self.exit_code,
            "checks": [
                {
                    "check": one.check,
                    "result": str(one.result.level),
                    "found": one.result.found,
                    "fix": one.result.fix or None,
                }
                for one in self.findings
            ],
        }


def examine(settings: Settings, config: Path | None = None, *, quick: bool = False) -> Report:
    """Look and judge. `config`: the file the settings came from; `quick`: the model is not opened, no speed."""
    facts = look(settings, config, quick=quick)
    return Report(tuple(Finding(name, check(facts)) for name, check in CHECKS.items()), _open_question(facts))


def _open_question(facts: Facts) -> str:
    if facts.ledger.holder is not None:
        return f"a run (process {facts.ledger.holder}) is at work with this state_dir: stop that one first"
    if facts.model.to_download:
        return "the model must be downloaded first, and was not tried"
    if facts.model.device is None:
        return "the model was not tried"
    return ""


def look(settings: Settings, config: Path | None = None, *, quick: bool = False) -> Facts:
    """Every fact. A few seconds, and as long as the model takes for 20 pictures."""
    machine = look_at_machine(settings.state_dir)
    server = asyncio.run(look_at_server(settings))
    found, model = look_at_model(settings)
    plan = _plan(settings, machine, model.path.stat().st_size if model else found.download_bytes or 0)
    # all workers' streams in one session: the same cores do the same work
    streams = plan.workers * plan.streams
    speed = None
    if model and not quick:
        threads = min(plan.workers * plan.threads, machine.allowed_cores)
        found, session = open_model(found, model, settings, streams=streams, threads=threads)
        if session and server.sample:
            speed = measure(model, session, server.sample.bodies, streams, settings.model.decoding)
    ledger = look_at_ledger(settings)
    return Facts(
        settings=settings,
        plan=plan,
        open_files=tuple(str(path) for path in files_open_to_all(settings, config)),
        old_keys=tuple(old_keys_in_use(config, os.environ)),
        server=server,
        machine=machine,
        model=found,
        ledger=ledger,
        speed=speed,
        policy_trouble=look_at_policy(settings, model),
        # a run at work has it already
        port_trouble=None if ledger.holder else look_at_port(settings.service),
    )


def _plan(settings: Settings, machine: MachineFacts, model_bytes: int) -> Topology:
    """What a run would choose here."""
    return choose(
        settings,
        cores=machine.allowed_cores,
        memory_bytes=machine.memory_bytes,
        model_bytes=model_bytes,
        on_cpu=likely_device(settings.model.device) == "CPU",
    )
