"""Facts of a machine where all is well, and settings from nothing but what a test says."""

from pathlib import Path
from typing import Any

from autotagger.config import load_settings
from autotagger.doctor.facts import Facts, LedgerFacts, MachineFacts, ModelFacts, ServerFacts
from autotagger.settings import Settings
from autotagger.topology import Topology

GB = 1_000_000_000


def settings_of(**flags: Any) -> Settings:
    return load_settings(flags=flags, environ={"AUTOTAGGER_CONFIG": "/dev/null"})


def machine_with(**changes: Any) -> MachineFacts:
    facts: dict[str, Any] = {
        "cpu": "Intel(R) N100",
        "cpu_flags": frozenset({"avx2", "avx_vnni"}),
        "cores": 4,
        "allowed_cores": 4,
        "memory_bytes": 8 * GB,
        "disk_bytes": 100 * GB,
        "render_nodes": (),
        "has_opencl_driver": False,
        "in_container": False,
        "devices": frozenset({"CPU"}),
        "imaging": "Pillow 13.0.0",
        "formats_missing": (),
        "runtimes": ("onnxruntime-openvino",),
    }
    return MachineFacts(**{**facts, **changes})


def facts_with(**changes: Any) -> Facts:
    facts: dict[str, Any] = {
        "settings": settings_of(),
        "plan": Topology(workers=1, streams=4, threads=4, decoders=4),
        "open_files": (),
        "old_keys": (),
        "server": ServerFacts(),
        "machine": machine_with(),
        "model": ModelFacts("wd-vit-tagger-v3", labels=10_861, device="CPU", memory_bytes=1_200_000_000),
        "ledger": LedgerFacts(Path("/state/ledger.sqlite3"), exists=False, writable=True),
    }
    return Facts(**{**facts, **changes})
