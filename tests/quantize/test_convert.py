"""What goes to NNCF and what comes back; NNCF itself where its environment is there."""

import tomllib
from pathlib import Path

import numpy as np
import pytest

from autotagger.bench.pictures import preview_bodies
from autotagger.bench.workload import workload
from autotagger.demo import StandIn, draw_library
from autotagger.errors import BadConfig, StartupFailed
from autotagger.quantize.convert import ENVIRONMENT, check_requirements, convert, manifest_toml, save_tensors
from autotagger.quantize.sample import from_folder, from_library
from autotagger.settings import Settings
from autotagger.tagger.catalog import CATALOGUE, find_model
from autotagger.tagger.engine.openvino import open_session
from autotagger.tagger.manifest import parse_manifest, read_manifest
from autotagger.tagger.preprocess import prepare


@pytest.mark.parametrize("path", sorted(CATALOGUE.glob("*.toml")), ids=lambda path: path.stem)
def test_a_twin_s_manifest_says_what_the_original_s_says(path: Path) -> None:
    manifest = read_manifest(path)
    twin = parse_manifest(manifest_toml(manifest), path)
    assert (twin.input, twin.output, twin.labels) == (manifest.input, manifest.output, manifest.labels)
    assert twin.thresholds == manifest.thresholds
    assert twin.source is None
    assert "sha256" not in tomllib.loads(manifest_toml(manifest))


def test_tensors_are_what_the_model_takes_and_broken_pictures_are_left_out(tmp_path: Path) -> None:
    model = find_model(str(workload("wd-vit", tmp_path, tiny=True)), tmp_path, download=False)
    bodies = preview_bodies(3, tiny=True)
    assert save_tensors(model, [bodies[0], b"broken", *bodies[1:]], tmp_path / "tensors.npy") == 3
    tensors = np.load(tmp_path / "tensors.npy")
    assert tensors.shape == (3, 448, 448, 3)
    assert np.array_equal(tensors[1], prepare(bodies[1], model.manifest.input))


def test_missing_requirements_are_said_before_anything_is_downloaded(tmp_path: Path) -> None:
    model = find_model("palette", tmp_path, download=False)
    with pytest.raises(StartupFailed, match="setup-quantize"):
        check_requirements(model, tmp_path)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").touch()
    with pytest.raises(StartupFailed, match=r"needs about 2\.0 GB.*1\.0 GB are free"):
        check_requirements(model, tmp_path, 1_000_000_000)
    assert check_requirements(model, tmp_path, 3_000_000_000) == tmp_path / "bin" / "python"


def test_a_job_that_fails_says_why(tmp_path: Path) -> None:
    model = find_model("palette", tmp_path, download=False)
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho what went wrong >&2\nexit 3\n")
    python.chmod(0o700)
    with pytest.raises(StartupFailed, match="what went wrong"):
        convert(model, python, tmp_path / "none.npy", tmp_path / "int8", plain=False, say=print)


def test_a_folder_gives_different_pictures(tmp_path: Path) -> None:
    (tmp_path / "deeper").mkdir()
    for number in range(6):
        (tmp_path / ("deeper" if number % 2 else ".") / f"{number}.JPG").write_bytes(bytes([number]))
    (tmp_path / "notes.txt").write_text("no picture")
    found = from_folder(tmp_path, 4)
    assert len({body for _, body in found}) == 4
    assert from_folder(tmp_path, 4) == found
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadConfig, match="no picture"):
        from_folder(tmp_path / "empty", 4)


async def test_a_library_gives_previews_of_different_pictures(tmp_path: Path) -> None:
    library = draw_library(40)
    async with StandIn(library) as server:
        immich = {"base_url": server.url, "api_key": server.api_key}
        found = await from_library(Settings(state_dir=tmp_path, immich=immich), 12, print)
        assert server.calls["random"] >= 1
        assert not server.calls["tag_assets"]
    names = {asset.file_name for asset in library.assets if asset.visibility == "timeline"}
    assert len(found) == len({name for name, _ in found}) > 6
    assert {name for name, _ in found} <= names


@pytest.mark.slow
@pytest.mark.skipif(
    not (ENVIRONMENT / "bin" / "python").exists(), reason="scripts/setup-quantize has not been run"
)
def test_nncf_makes_a_model_that_runs_and_scores_alike(tmp_path: Path) -> None:
    model = find_model(str(workload("wd-vit", tmp_path, tiny=True)), tmp_path, download=False)
    python = check_requirements(model, ENVIRONMENT)
    save_tensors(model, preview_bodies(12, tiny=True), tmp_path / "tensors.npy")
    convert(model, python, tmp_path / "tensors.npy", tmp_path / "int8", plain=False, say=print)
    twin = find_model(str(tmp_path / "int8"), tmp_path, download=False)
    assert twin.labels == model.labels
    pictures = np.load(tmp_path / "tensors.npy")[:4]
    before, after = (open_session(one, device="CPU", streams=1).scores(pictures) for one in (model, twin))
    assert 0.0 < np.abs(before - after).max() < 0.1
