"""`autotagger policy`, as a user meets it: on a file, on an asset of the ledger, on the whole ledger."""

import csv
import io
import json
import uuid
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from autotagger import cli
from autotagger.demo.files import encoded_video
from autotagger.errors import AssetFailed, AutotaggerError, BadConfig
from autotagger.ledger.rows import ListedAsset
from autotagger.ledger.writer import LedgerWriter
from autotagger.scores import pack

ASSETS = [str(uuid.UUID(int=number + 1, version=4)) for number in range(3)]
LABELS = [("general", "rating"), ("explicit", "rating"), ("sky", "general"), ("red_theme", "general")]
SCORES = [(0.9, 0.1, 0.8, 0.36), (0.7, 0.3, 0.2, 0.33), (0.6, 0.4, 0.01, 0.9)]


@pytest.fixture(autouse=True)
def _environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "STATE_DIR": str(tmp_path),
        "MODEL": "palette",
        "POLICY_THRESHOLD_GENERAL": "0.35",
    }.items():
        monkeypatch.setenv(f"AUTOTAGGER_{name}", value)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def ledger(tmp_path: Path) -> None:
    with LedgerWriter(tmp_path / "ledger.sqlite3") as ledger:
        ledger.add_listed([ListedAsset(asset_id, "me", "", "IMAGE", None, "a.png", "c", 1) for asset_id in ASSETS])
        model = ledger.model("m", "palette", LABELS)
        packed = [pack(np.array(row, np.float32), np.array([0, 1])) for row in SCORES]
        ledger.record_scores(model, list(zip(ASSETS, packed, strict=True)))


def invoke(*arguments: str) -> Result:
    done = CliRunner().invoke(cli.app, ["policy", *arguments])
    if isinstance(done.exception, AutotaggerError):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done


def test_a_picture_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOTAGGER_POLICY_BLACKLIST", "*_background")
    file = tmp_path / "blue.png"
    Image.new("RGB", (60, 40), (20, 40, 200)).save(file)
    found = json.loads(invoke("test", str(file), "--format", "json").stdout)
    assert "blue theme" in found["tags"]
    by_label = {line["label"]: line for line in found["labels"]}
    assert by_label["blue_theme"]["rule"] == "at or above the threshold"
    assert (by_label["blue_background"]["kept"], by_label["blue_background"]["rule"]) == (False, "blacklisted")
    assert [tag for line in found["labels"] for tag in line["tags"]] == found["tags"]
    assert "blue theme" in invoke("test", str(file)).stdout.splitlines()[-1]


def test_of_a_video_the_frames_that_a_label_was_seen_in_are_told(tmp_path: Path) -> None:
    scenes = [Image.new("RGB", (64, 64), color) for color in ("blue", "white")]
    (tmp_path / "clip.mp4").write_bytes(encoded_video(scenes, 4))
    found = json.loads(invoke("test", str(tmp_path / "clip.mp4"), "--format", "json").stdout)
    frames = {line["label"]: line["frames"] for line in found["labels"]}
    assert frames["blue_background"] == "1/2"
    assert frames["simple_background"] == "2/2"


@pytest.mark.usefixtures("ledger")
def test_an_asset_is_explained_from_its_stored_scores() -> None:
    rows = list(csv.DictReader(io.StringIO(invoke("test", ASSETS[1], "--format", "csv").stdout)))
    assert [(row["label"], row["score"], row["threshold"], row["kept"], row["tags"]) for row in rows] == [
        ("general", "0.7", "0.0", "yes", "rating:general"),
        ("red_theme", "0.33", "0.35", "no", ""),
        ("explicit", "0.3", "0.0", "no", ""),
        ("sky", "0.2", "0.35", "no", ""),
    ]


@pytest.mark.usefixtures("ledger")
def test_what_is_no_picture_of_ours_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="x is neither an existing file nor an asset id"):
        invoke("test", "x")
    with pytest.raises(AssetFailed, match="has no scores of asset"):
        invoke("test", str(uuid.uuid4()))
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(AssetFailed, match=r"text\.png: "):
        invoke("test", str(tmp_path / "text.png"))


@pytest.mark.usefixtures("ledger")
def test_the_whole_ledger_is_counted() -> None:
    found = json.loads(invoke("stats", "--format", "json").stdout)
    assert (found["assets"], found["tags on assets"], found["different tags"]) == (3, 6, 3)
    assert found["tags"][0] == {"tag": "rating:general", "assets": 3, "just in": 0, "just out": 0}
    assert {"tag": "red theme", "assets": 2, "just in": 1, "just out": 1} in found["tags"]
    assert len(json.loads(invoke("stats", "--format", "json", "--top", "1").stdout)["tags"]) == 1


@pytest.mark.usefixtures("ledger")
def test_another_threshold_is_compared() -> None:
    found = json.loads(invoke("stats", "--threshold", "general=0.3", "--format", "json").stdout)
    assert (found["assets that would change"], found["tags gained"], found["tags lost"]) == (1, 1, 0)
    assert found["tags"][0]["tag"] == "red theme", "what changes most goes first"
    rows = list(
        csv.DictReader(io.StringIO(invoke("stats", "--threshold", "general=0.85", "--format", "csv").stdout))
    )
    assert {row["tag"]: row["lost"] for row in rows} == {"red theme": "1", "sky": "1", "rating:general": "0"}
    assert "assets that would change" in invoke("stats", "--threshold", "general=0.3").stdout
    for wrong, says in (
        ("general", "write it as"),
        ("general=x", "threshold"),
        ("genral=0.3", "did you mean general"),
    ):
        with pytest.raises(BadConfig, match=says):
            invoke("stats", "--threshold", wrong)


def test_a_ledger_without_scores(tmp_path: Path) -> None:
    LedgerWriter(tmp_path / "ledger.sqlite3").close()
    with pytest.raises(AssetFailed, match="no scores yet"):
        invoke("stats")


@pytest.mark.usefixtures("ledger")
def test_what_the_vocabulary_withholds_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOTAGGER_POLICY_VOCABULARY", "1")
    found = json.loads(invoke("test", ASSETS[0], "--format", "json").stdout)
    by_label = {line["label"]: line for line in found["labels"]}
    assert (by_label["sky"]["kept"], by_label["sky"]["rule"]) == (False, "withheld by the vocabulary")
    assert by_label["red_theme"]["kept"], "it is on two assets, sky on one"
    assert found["tags"] == ["rating:general", "red theme"]


@pytest.mark.usefixtures("ledger")
def test_status_says_what_the_vocabulary_withholds(monkeypatch: pytest.MonkeyPatch) -> None:
    def status(*arguments: str) -> str:
        done = CliRunner().invoke(cli.app, ["status", *arguments])
        assert done.exit_code == 0, done.output
        return done.stdout

    assert json.loads(status("--json"))["withheld"] is None
    monkeypatch.setenv("AUTOTAGGER_POLICY_VOCABULARY", "1")
    assert json.loads(status("--json"))["withheld"] == {
        "vocabulary": 1,
        "different_tags": 1,
        "tags_on_assets": 1,
        "most_frequent": [{"tag": "sky", "assets": 1}],
    }
    assert "withheld by the vocabulary of 1: 1 tags" in status()
