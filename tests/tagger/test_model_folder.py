"""Manifests, labels and folders: what a user may hand us, and what we say when it does not fit."""

import json
from pathlib import Path
from typing import Any

import pytest

from autotagger.errors import BadConfig, StartupFailed
from autotagger.tagger import model as model_module
from autotagger.tagger.catalog import catalogue, find_model
from autotagger.tagger.guess import draft_manifest
from autotagger.tagger.labels import Label, read_label_file
from autotagger.tagger.manifest import LabelSpec, read_manifest
from tests.tagger.support import WD_CSV, model_folder

WD_LABELS = Path(__file__).parents[3] / "shared" / "data" / "wd-v3-selected_tags.csv"


WD_V3 = ["wd-convnext-tagger-v3", "wd-eva02-large-tagger-v3", "wd-swinv2-tagger-v3", "wd-vit-large-tagger-v3",
         "wd-vit-tagger-v3"]  # fmt: skip


def test_the_catalogue_is_whole() -> None:
    known = catalogue()
    assert sorted(known) == list(known)
    assert set(known) == {
        *WD_V3, "palette", "caformer_b36.dbv4-full", "camie-tagger-v2", "cl-tagger-1.02",
        "deepdanbooru-v3-20211112", "eva02_large_patch14_448.dbv4-full", "joytag", "pixai-tagger-v0.9",
        "swinv2_base_window8_256.dbv4-full", "wd-v1-4-convnext-tagger-v2", "wd-v1-4-convnextv2-tagger-v2",
        "wd-v1-4-moat-tagger-v2", "wd-v1-4-swinv2-tagger-v2", "wd-v1-4-vit-tagger-v2",
    }  # fmt: skip
    for name in WD_V3:
        source = known[name].source
        assert source is not None
        assert source.repo == f"SmilingWolf/{name}"
        assert len(source.revision) == 40
        assert all(file.sha256 and file.bytes for file in source.files.values())
        assert known[name].thresholds == {"general": 0.35, "character": 0.85}
    published = [known[name].published_threshold for name in WD_V3]
    assert published == [0.2682, 0.5296, 0.2653, 0.2606, 0.2614]


@pytest.mark.skipif(not WD_LABELS.is_file(), reason="the real label file is not here")
def test_the_real_labels() -> None:
    labels = read_label_file(WD_LABELS, LabelSpec()).labels
    assert len(labels) == 10_861
    assert [label.name for label in labels[:4]] == ["general", "sensitive", "questionable", "explicit"]
    by_category = {category: sum(label.category == category for label in labels) for category in
                   ("rating", "general", "character")}  # fmt: skip
    assert by_category == {"rating": 4, "general": 8106, "character": 2751}
    assert Label('don\'t_say_"lazy"', "general") in labels
    assert labels[8110].category == labels[-1].category == "character"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "the first line must name the columns"),
        ("1,general,9\n", "the first line must name the columns"),
        ("name,category\n", "holds no label"),
        ("name,category\na,0\n,0\n", "line 3: the label has no name"),
        (
            "name,category\na,7\n",
            r"line 2: category '7' is not among the manifest's labels.categories \(0, 4, 9\)",
        ),
        ("name,category\na\n", "line 2: category None"),
        ("name,category\na,0\na,0\n", "the general label 'a' is there twice"),
        ('name,category\n"a"x,0\n', "is not CSV"),
    ],
)
def test_label_files_that_do_not_fit(tmp_path: Path, content: str, reason: str) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(content)
    with pytest.raises(StartupFailed, match=reason) as caught:
        read_label_file(path, LabelSpec())
    assert str(path) in caught.value.message


def test_label_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(StartupFailed, match="No such file"):
        read_label_file(tmp_path / "none.csv", LabelSpec())
    (tmp_path / "latin.csv").write_bytes(b"name,category\n\xff,0\n")
    with pytest.raises(StartupFailed, match="not UTF-8"):
        read_label_file(tmp_path / "latin.csv", LabelSpec())


def test_a_byte_order_mark_and_windows_lines_do_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes(b"\xef\xbb\xbfname,category\r\na,0\r\n")
    assert read_label_file(path, LabelSpec()).labels == (Label("a", "general"),)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "name: Field required"),
        ("name = ", "is not TOML"),
        ('name = "a/b"', "name: String should match"),
        ('name = "a"\nsize = 448', "size: Extra inputs are not permitted"),
        ('name = "a"\n[input]\nsize = 0', "input.size: Input should be greater"),
        ('name = "a"\n[input]\nlayout = "HWC"', "input.layout: Input should be 'NHWC' or 'NCHW'"),
        ('name = "a"\n[input]\nstd = [1, 0, 1]', "input.std: must not be 0"),
        ('name = "a"\nmodel = "../model.onnx"', "model: String should match"),
        ('name = "a"\n[thresholds]\ngeneral = 35', "thresholds.general: Input should be less"),
        (
            'name = "a"\n[source]\nrepo = "a/b"\nrevision = "c"\n[source.files]',
            r"must list model.onnx and selected",
        ),
        ('name = "a"\n[input]\npad = "edge"', 'input: pad = "edge" is done after resizing'),
        ('name = "a"\n[labels]\nformat = "xml"', "labels.format: Input should be 'wd-csv', 'lines'"),
        (
            'name = "a"\n[source]\nrepo = "a/b"\nrevision = "c"\n[source.files."m"]\npath = "../m"',
            "source.files.m.path: must be a path inside",
        ),
    ],
)
def test_manifests_that_are_wrong_name_file_and_field(tmp_path: Path, content: str, reason: str) -> None:
    path = tmp_path / "manifest.toml"
    path.write_text(content)
    with pytest.raises(StartupFailed, match=reason) as caught:
        read_manifest(path)
    assert caught.value.message.startswith(str(path))
    assert "\n" not in caught.value.message


def test_a_manifest_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(StartupFailed, match="cannot read the model's manifest"):
        read_manifest(tmp_path)


def test_a_folder_of_the_users_own(tmp_path: Path) -> None:
    model = find_model(str(model_folder(tmp_path / "mine")), tmp_path, download=False)
    assert (model.name, model.folder, len(model.labels)) == ("tiny", tmp_path / "mine", 3)


def test_a_folder_without_a_manifest_that_is_a_wd_model(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "my wd", manifest=None)
    model = find_model(str(folder), tmp_path, download=False)
    assert model.name == "my_wd"
    assert model.manifest.input.channels == "BGR"


@pytest.mark.parametrize("shape", [("n", 224, 224, 3), ("n", 3, 448, 448), ("n", "h", "w", 3)])
def test_a_folder_without_a_manifest_that_is_something_else(tmp_path: Path, shape: tuple[str | int, ...]) -> None:
    folder = model_folder(tmp_path / "other", manifest=None, shape=shape)
    with pytest.raises(
        StartupFailed, match=r"has no manifest.toml and is no WD v3 model, .*: write one there, filled in"
    ):
        find_model(str(folder), tmp_path, download=False)


def test_the_manifest_that_is_asked_for_has_what_the_files_say(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "other", manifest=None, shape=("n", 3, 96, 96))
    (folder / "model.onnx").rename(folder / "net.onnx")
    (folder / "selected_tags.csv").rename(folder / "top_tags.txt")
    with pytest.raises(StartupFailed) as caught:
        find_model(str(folder), tmp_path, download=False)
    for said in (
        'model = "net.onnx"',
        "size = 96",
        'layout = "NCHW"',
        'file = "top_tags.txt"',
        'format = "lines"',
    ):
        assert said in caught.value.message
    assert "\n" not in caught.value.message
    (folder / "manifest.toml").write_text(draft_manifest(folder))
    assert read_manifest(folder / "manifest.toml").input.shape == (3, 96, 96)


def test_a_folder_with_its_authors_preprocess_json_needs_no_manifest(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "timm", manifest=None, shape=("n", 3, 96, 96), output="prediction")
    square: list[dict[str, Any]] = [{"type": "resize", "size": [96, 96]}, {"type": "maybe_to_tensor"}]
    (folder / "preprocess.json").write_text(json.dumps({"test": square}))
    (folder / "thresholds.csv").write_text("category,name,threshold\n0,general,0.41\n4,character,0.59\n")
    model = find_model(str(folder), tmp_path, download=False)
    assert model.manifest.input.shape == (3, 96, 96)
    assert model.manifest.output.name == "prediction"
    assert model.manifest.thresholds == {"general": 0.41, "character": 0.59}
    before = model.identity
    square[0]["size"] = [96, 96]
    square[0]["interpolation"] = "bicubic"
    (folder / "preprocess.json").write_text(json.dumps({"test": square}))
    assert find_model(str(folder), tmp_path, download=False).identity != before


def test_folders_with_something_missing(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(StartupFailed, match="has no manifest"):
        find_model(str(tmp_path / "empty"), tmp_path, download=False)
    folder = model_folder(tmp_path / "mine")
    (folder / "model.onnx").unlink()
    with pytest.raises(StartupFailed, match=r"model\.onnx is missing"):
        find_model(str(folder), tmp_path, download=False)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("wd-vit-tager-v3", "did you mean wd-vit-tagger-v3"),
        ("xyz", "known are caformer_b36.dbv4-full, .*palette, "),
        ("/no/such/folder", "or give a folder"),
    ],
)
def test_a_name_that_is_not_known(tmp_path: Path, name: str, hint: str) -> None:
    with pytest.raises(BadConfig, match=hint):
        find_model(name, tmp_path, download=True)


def test_a_catalogue_model_that_was_never_fetched(tmp_path: Path) -> None:
    with pytest.raises(StartupFailed, match="models pull, or copy it there"):
        find_model("wd-vit-tagger-v3", tmp_path, download=False)


def test_identity_changes_when_the_scores_would(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def identity(folder: str) -> str:
        return find_model(str(tmp_path / folder), tmp_path, download=False).identity

    model_folder(tmp_path / "a")
    model_folder(tmp_path / "same", manifest='name = "tiny"\nlicense = "MIT"\n[thresholds]\ngeneral = 0.5')
    model_folder(tmp_path / "input", manifest='name = "tiny"\n[input]\nchannels = "RGB"')
    model_folder(tmp_path / "weights", opset=12)
    model_folder(tmp_path / "labels", csv=WD_CSV.replace("long", "short"))
    (model_folder(tmp_path / "external") / "model.onnx.data").write_bytes(b"weights")
    assert identity("a") == identity("same")
    assert len({identity(name) for name in ("a", "input", "weights", "labels", "external")}) == 5
    before = identity("a")
    monkeypatch.setattr(model_module, "PREPROCESSING_VERSION", 99)
    assert identity("a") != before
