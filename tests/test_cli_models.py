"""`autotagger models`, as a user meets it."""

import csv
import io
import json
import re
from pathlib import Path

import pytest

from autotagger.tagger.catalog import catalogue
from autotagger.tagger.manifest import parse_manifest
from tests.tagger.support import model_folder
from tests.test_cli import Run, run  # noqa: F401  (a fixture)


def test_list_has_every_model_in_every_format(run: Run) -> None:  # noqa: F811
    rows = json.loads(run("models", "list", "--json").out)
    assert [row["name"] for row in rows] == list(catalogue())
    vit = next(row for row in rows if row["name"] == "wd-vit-tagger-v3")
    assert vit == {
        "name": "wd-vit-tagger-v3", "labels": 10861, "input": "448 NHWC BGR", "mb": 379, "license": "Apache-2.0",
        "here": "no",
    }  # fmt: skip
    assert next(row["here"] for row in rows if row["name"] == "palette") == "shipped"
    assert len(list(csv.DictReader(io.StringIO(run("models", "list", "--format", "csv").out)))) == len(rows)
    assert all(name in run("models", "list").out for name in catalogue())


def test_list_shows_what_is_here(tmp_path: Path, run: Run) -> None:  # noqa: F811
    folder = tmp_path / ".local/state/autotagger/models/joytag"
    folder.mkdir(parents=True)
    for name in ("model.onnx", "top_tags.txt"):
        (folder / name).write_text("")
    rows = json.loads(run("models", "list", "--format", "json").out)
    assert [row["name"] for row in rows if row["here"] == "yes"] == ["joytag"]


def test_check_of_a_model_that_works(run: Run) -> None:  # noqa: F811
    outcome = run("models", "check", "palette", "--device", "CPU", "--json")
    assert (outcome.code, outcome.err) == (0, "")
    report = json.loads(outcome.out)
    assert (report["name"], report["labels"], report["problems"], report["fallback"]) == ("palette", 28, [], False)
    assert [device["device"] for device in report["devices"]] == ["CPU"]
    assert len(report["identity"]) == 64
    table = run("models", "check", "palette", "--device", "CPU").out
    assert all(word in table for word in ("inference_ms", "memory_mb", "CPU", "28"))
    (row,) = csv.DictReader(io.StringIO(run("models", "check", "palette", "--format", "csv").out))
    assert row["device"] == "CPU"


def test_check_writes_the_manifest_of_a_model_that_has_none(tmp_path: Path, run: Run) -> None:  # noqa: F811
    folder = model_folder(tmp_path / "mine", manifest=None, shape=("n", 96, 96, 3))
    told = run("models", "check", folder, "--device", "CPU")
    assert (told.code, (folder / "manifest.toml").exists()) == (3, False)
    assert "models check --write" in told.err
    written = run("models", "check", folder, "--write", "--device", "CPU", "--json")
    assert (written.code, json.loads(written.out)["labels"]) == (0, 3)
    assert f"wrote {folder}/manifest.toml" in written.err
    again = run("models", "check", folder, "--write")
    assert (again.code, "exists already: --write does not replace it" in again.err) == (2, True)


def test_check_of_a_model_that_does_not_work(tmp_path: Path, run: Run) -> None:  # noqa: F811
    outcome = run("models", "check", model_folder(tmp_path / "mine"), "--device", "CPU")
    assert outcome.code == 3
    assert "autotagger: the model tiny does not work as it is: CPU: every picture gets the same" in outcome.err
    assert outcome.err.count("\n") == 1


def test_check_prints_the_manifest_that_a_folder_lacks(tmp_path: Path, run: Run) -> None:  # noqa: F811
    folder = model_folder(tmp_path / "mine", manifest=None, shape=("n", 3, 64, 64), last="Identity")
    outcome = run("models", "check", folder)
    assert outcome.code == 3
    assert "has no manifest.toml" in outcome.err
    assert 'channels = "RGB"  # or "BGR"' in outcome.out
    (folder / "manifest.toml").write_text(outcome.out)
    assert "has no manifest" not in run("models", "check", folder).err
    assert run("models", "check", folder, "--json").code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (["pull", "pallete"], 2, "no model pallete: did you mean palette?"),
        (["pull", "."], 2, "no model .:"),
        (["check", "joytag"], 3, "models pull, or copy it there"),
        (["check", "palette", "--device", "TPU"], 2, "device"),
        (["pull", "joytag"], 3, "HF_HUB_OFFLINE forbids it"),
    ],
)
def test_what_cannot_be_done_says_why(run: Run, arguments: list[str], code: int, reason: str) -> None:  # noqa: F811
    outcome = run("models", *arguments, HF_HUB_OFFLINE="1")
    assert (outcome.code, outcome.out) == (code, "")
    assert reason in outcome.err


def test_pull_of_what_is_shipped_has_nothing_to_do(run: Run) -> None:  # noqa: F811
    assert json.loads(run("models", "pull", "palette", "--json").out)["name"] == "palette"
    assert "palette" in run("models", "pull", "palette").out


def test_the_table_in_the_readme_is_the_catalogue() -> None:
    page = (Path(__file__).parents[1] / "README.md").read_text()
    rows = re.findall(r"^\| `([^`]+)`(?: \(default\))? \| (\d+) \|[^|]*\| (\S+) \|", page, re.MULTILINE)
    expected = [(name, str(manifest.label_count), manifest.license) for name, manifest in catalogue().items()]
    assert sorted(rows) == sorted(expected)


def test_the_manifest_in_the_documentation_is_one() -> None:
    page = (Path(__file__).parents[1] / "docs/models.md").read_text()
    example = page.partition("```toml\n")[2].partition("```")[0]
    assert parse_manifest(example, Path("docs")).input.shape == (3, 448, 448)


def test_hashes_that_are_not_known_are_named_in_the_documentation() -> None:
    page = (Path(__file__).parents[1] / "docs/models.md").read_text()
    hashes = page.partition("**Hashes.**")[2].partition("- **Models behind")[0]
    for name, manifest in catalogue().items():
        files = manifest.source.files.values() if manifest.source else []
        assert (f"`{name}`" in hashes) == any(file.sha256 is None for file in files)
