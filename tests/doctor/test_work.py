"""Model files, ledger, external libraries, and the hours."""

import io
import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from autotagger.demo import tiny_library
from autotagger.doctor.check_result import CheckResult, Level
from autotagger.doctor.facts import LedgerFacts, ServerFacts, SpeedFacts
from autotagger.doctor.ledger import look_at_ledger
from autotagger.doctor.model import look_at_model, open_model
from autotagger.doctor.speed import measure
from autotagger.doctor.work_checks import CHECKS
from autotagger.ledger.database import RESTORE, LedgerLock
from autotagger.ledger.rows import ListedAsset
from autotagger.ledger.writer import LedgerWriter
from tests.doctor.support import facts_with, settings_of


def judged(name: str, **changes: Any) -> CheckResult:
    return CHECKS[name](facts_with(**changes))


def filled_ledger(state_dir: Path, assets: int) -> Path:
    path = state_dir / "ledger.sqlite3"
    with LedgerWriter(path) as ledger:
        ledger.add_listed(
            [
                ListedAsset(spec.id, "me", "nas", "IMAGE", "image/jpeg", spec.file_name, "sum", 1)
                for spec in tiny_library(assets).assets
            ]
        )
    return path


# --- ledger ---


def test_a_ledger_that_is_not_there_yet_is_fine(tmp_path: Path) -> None:
    settings = settings_of(state_dir=tmp_path / "deep" / "state")
    result = judged("ledger.health", ledger=look_at_ledger(settings))
    assert result.level is Level.PASS
    assert not (tmp_path / "deep").exists()


def test_a_good_ledger_is_counted_and_not_changed(tmp_path: Path) -> None:
    path = filled_ledger(tmp_path, 20)
    before = path.read_bytes()
    found = look_at_ledger(settings_of(state_dir=tmp_path))
    assert judged("ledger.health", ledger=found).found == f"{path} is sound: 20 assets"
    assert judged("ledger.failures", ledger=found).level is Level.PASS
    assert judged("library.external", ledger=found).level is Level.PASS
    assert path.read_bytes() == before


def test_a_ledger_at_work_is_fine_and_names_the_process(tmp_path: Path) -> None:
    filled_ledger(tmp_path, 1)
    lock = LedgerLock(tmp_path / "ledger.sqlite3")
    lock.acquire()
    found = look_at_ledger(settings_of(state_dir=tmp_path))
    lock.release()
    assert found.holder == str(os.getpid())
    assert f"process {os.getpid()}" in judged("ledger.health", ledger=found).found
    assert look_at_ledger(settings_of(state_dir=tmp_path)).holder is None


@pytest.mark.parametrize("damage", ["header", "pages"])
def test_a_damaged_ledger_keeps_a_run_from_starting(damage: str, tmp_path: Path) -> None:
    path = filled_ledger(tmp_path, 2_000)
    raw = bytearray(path.read_bytes())
    if damage == "header":
        raw[:4096] = os.urandom(4096)
    else:
        raw[len(raw) // 2 : len(raw) // 2 + 8192] = b"\xff" * 8192
    path.write_bytes(raw)
    result = judged("ledger.health", ledger=look_at_ledger(settings_of(state_dir=tmp_path)))
    assert (result.level, result.exit_code) == (Level.FAIL, 3)
    assert result.fix == RESTORE


def test_a_ledger_of_a_newer_version_asks_for_an_update(tmp_path: Path) -> None:
    import sqlite3

    path = filled_ledger(tmp_path, 1)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 9999")
    connection.close()
    result = judged("ledger.health", ledger=look_at_ledger(settings_of(state_dir=tmp_path)))
    assert (result.level, result.fix) == (Level.FAIL, "update autotagger")


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    found = LedgerFacts(tmp_path / "ledger.sqlite3", exists=False, writable=False)
    result = judged("ledger.health", ledger=found)
    assert (result.level, result.exit_code) == (Level.FAIL, 3)
    assert "chown" in result.fix
    in_a_file = settings_of(state_dir=filled_ledger(tmp_path, 1) / "state")
    assert not look_at_ledger(in_a_file).writable


def test_libraries_where_tags_do_not_stick_come_from_the_canaries(tmp_path: Path) -> None:
    path = filled_ledger(tmp_path, 3)
    with LedgerWriter(path) as ledger:
        (collection,) = ledger.collections()
        ledger.probe_collection(collection.id, 1)
        ledger.close_collection(collection.id, "Mount it read-write", 1)
    result = judged("library.external", ledger=look_at_ledger(settings_of(state_dir=tmp_path)))
    assert result.level is Level.WARN
    assert "Mount it read-write" in result.found
    assert ":ro" in result.fix


def test_failed_assets_are_pointed_out() -> None:
    found = LedgerFacts(Path("l"), exists=True, writable=True, assets=100, failed=3)
    result = judged("ledger.failures", ledger=found)
    assert (result.level, result.fix) == (Level.WARN, "autotagger status --problems shows the reasons")


# --- model ---


def drawn(colour: str) -> bytes:
    body = io.BytesIO()
    Image.new("RGB", (64, 48), colour).save(body, "PNG")
    return body.getvalue()


def test_a_model_that_is_here_opens_and_scores(tmp_path: Path) -> None:
    settings = settings_of(state_dir=tmp_path, model={"name": "palette", "device": "CPU"})
    facts, model = look_at_model(settings)
    assert (facts.labels, facts.device) == (28, None)
    assert model
    facts, session = open_model(facts, model, settings, streams=1, threads=1)
    assert (facts.device, facts.labels) == ("CPU", 28)
    assert judged("model.files", model=facts).level is Level.PASS
    assert session
    bodies = [drawn(colour) for colour in ("red", "white", "black")]
    speed = measure(model, session, [*bodies, b"no picture"], 2, "exact")
    assert speed
    assert speed.pictures == 3
    assert measure(model, session, [b"no picture"], 1, "exact") is None


def test_a_model_of_the_catalogue_is_fetched_by_the_run(tmp_path: Path) -> None:
    facts, model = look_at_model(settings_of(state_dir=tmp_path))
    assert model is None
    result = judged("model.files", model=facts)
    assert (result.level, result.fix) == (Level.WARN, "autotagger models pull wd-vit-tagger-v3")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(("name", "code"), [("pallete", 2), ("{}", 3)])
def test_a_model_that_is_missing_or_broken_keeps_a_run_from_starting(name: str, code: int, tmp_path: Path) -> None:
    name = name.format(tmp_path)
    facts, _ = look_at_model(settings_of(state_dir=tmp_path, model={"name": name}))
    result = judged("model.files", model=facts)
    assert (result.level, result.exit_code) == (Level.FAIL, code)


# --- hours ---


def test_the_hours_are_what_is_left_by_the_slowest_part() -> None:
    assert judged("library.hours").level is Level.SKIP
    found = judged(
        "library.hours", server=ServerFacts(total=73_000, marked=1_000), speed=SpeedFacts(20, 10.0)
    ).found
    assert found.startswith("2.00 pictures per second, limited by inference (20 of your pictures measured)")
    assert "72,000 assets left: 10.0 h if this machine does nothing else" in found
    assert "1.7 h to 4.0 h on 2 cores" in found

    paced = judged(
        "library.hours",
        settings=settings_of(immich={"pace": 0.5}),
        server=ServerFacts(total=1_800, marked=0),
        speed=SpeedFacts(20, 10.0),
    ).found
    assert "limited by pace in [immich]" in paced
    assert "1,800 assets left: 60 min" in paced

    partly = ServerFacts(total=20_000, marked=0, counted_up_to=20_000)
    assert "at least 2.8 h" in judged("library.hours", server=partly, speed=SpeedFacts(20, 10.0)).found


def test_a_run_at_work_spoils_the_measurement_and_that_is_said() -> None:
    busy = LedgerFacts(Path("l"), exists=True, writable=True, holder="7")
    server = ServerFacts(total=10, marked=0)
    found = judged("library.hours", ledger=busy, server=server, speed=SpeedFacts(20, 10.0)).found
    assert "a run is active now" in found
