"""Label files of every format and the author's files of a model, right and wrong."""

import json
from pathlib import Path

import pytest

from autotagger.errors import StartupFailed
from autotagger.tagger.author_files import read_preprocess, read_thresholds
from autotagger.tagger.labels import Label, read_label_file
from autotagger.tagger.manifest import InputSpec, LabelSpec, PadToSize, Resize

LINES = LabelSpec(format="lines", categories={"rating:": "rating", "": "general"})
MAPPING = LabelSpec(format="tag-mapping", categories={"General": "general", "Rating": "rating"})
CAMIE = LabelSpec(
    format="camie", categories={"general": "general", "rating": "rating"}, strip={"rating": "rating_"}
)
PIXAI = LabelSpec(series="ips")


def written(tmp_path: Path, content: str) -> Path:
    path = tmp_path / "labels"
    path.write_text(content, encoding="utf-8")
    return path


def test_lines_tell_ratings_by_their_beginning(tmp_path: Path) -> None:
    path = written(tmp_path, "1girl\r\n:/\r\nrating:safe\r\nrating_error\r\n\r\n")
    assert read_label_file(path, LINES).labels == (
        Label("1girl", "general"), Label(":/", "general"), Label("safe", "rating"),
        Label("rating_error", "general"),
    )  # fmt: skip


def test_an_empty_line_among_the_labels_is_not_skipped(tmp_path: Path) -> None:
    with pytest.raises(StartupFailed, match="line 2: the label has no name"):
        read_label_file(written(tmp_path, "a\n\nb\n"), LINES)


def test_columns_may_stand_anywhere_among_others(tmp_path: Path) -> None:
    path = written(tmp_path, "count,category,id,name\n5,0,9,long_hair\n5,9,8,general\n")
    assert read_label_file(path, LabelSpec()).labels == (Label("long_hair", "general"), Label("general", "rating"))


def test_series_of_characters(tmp_path: Path) -> None:
    content = 'name,category,ips\nsolo,0,[]\nrem,4,"[""re:zero"", ""isekai_quartet""]"\nmiku,4,\n'
    table = read_label_file(written(tmp_path, content), PIXAI)
    assert table.series == {"rem": ("re:zero", "isekai_quartet")}
    assert len(table.labels) == 3


def mapping(**entries: object) -> str:
    return json.dumps(entries)


@pytest.mark.parametrize(
    ("spec", "content", "reason"),
    [
        (PIXAI, "name,category\na,0\n", "name and category and ips"),
        (PIXAI, "name,category,ips\na,4,{\n", "line 2: the series must be a JSON list"),
        (PIXAI, "name,category,ips\na,4,[1]\n", "line 2: the series must be a JSON list"),
        (MAPPING, "[]", "is not a JSON object"),
        (MAPPING, "{", "is not JSON"),
        (MAPPING, "{}", "holds no label"),
        (MAPPING, mapping(**{"1": {"tag": "a", "category": "General"}}), "of 1 entries, number 0 is missing"),
        (MAPPING, mapping(**{"0": "a"}), "entry 0 must hold tag and category"),
        (
            MAPPING,
            mapping(**{"0": {"tag": "a", "category": "Artist"}}),
            r"entry 0: category 'Artist' is not among",
        ),
        (MAPPING, mapping(**{"0": {"tag": "a"}}), "entry 0: category None"),
        (CAMIE, "{}", "idx_to_tag or tag_to_category is missing"),
        (CAMIE, mapping(dataset_info=[]), "idx_to_tag or tag_to_category is missing"),
        (CAMIE, mapping(idx_to_tag={"0": "a"}, tag_to_category={}), "entry 0: category None"),
        (CAMIE, mapping(idx_to_tag={"0": "a", "2": "b"}, tag_to_category={}), "number 1 is missing"),
    ],
)
def test_what_does_not_fit_says_where(tmp_path: Path, spec: LabelSpec, content: str, reason: str) -> None:
    with pytest.raises(StartupFailed, match=reason) as caught:
        read_label_file(written(tmp_path, content), spec)
    assert caught.value.kind == "model-labels"
    assert "\n" not in caught.value.message


def test_categories_in_any_letter_case_and_the_mapping_at_the_top(tmp_path: Path) -> None:
    path = written(tmp_path, mapping(**{"0": {"tag": "solo", "category": "general"}}))
    assert read_label_file(path, MAPPING).labels == (Label("solo", "general"),)
    top = mapping(idx_to_tag={"0": "rating_safe"}, tag_to_category={"rating_safe": "rating"})
    assert read_label_file(written(tmp_path, top), CAMIE).labels == (Label("safe", "rating"),)


# --- preprocess.json ---

TENSOR = {"type": "to_tensor"}
SQUARE = {"type": "resize", "size": [448, 448]}


def stages(tmp_path: Path, *listed: object, under: str = "test") -> InputSpec:
    path = tmp_path / "preprocess.json"
    path.write_text(json.dumps({under: listed, "val": []}))
    return read_preprocess(path, InputSpec(layout="NCHW", color=(1, 2, 3)))


@pytest.mark.parametrize("under", ["test", "stages"])
def test_a_preprocess_json_becomes_an_input(tmp_path: Path, under: str) -> None:
    spec = stages(
        tmp_path, {"type": "pad_to_size", "size": [640, 640], "background_color": "black"}, SQUARE, TENSOR,
        {"type": "normalize", "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}, under=under,
    )  # fmt: skip
    assert (spec.shape, spec.channels, spec.scale, spec.color) == ((3, 448, 448), "RGB", 1 / 255, (1, 2, 3))
    assert (spec.mean, spec.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert spec.stages == (PadToSize(size=(640, 640), color=(0, 0, 0)), Resize(size=(448, 448)))


@pytest.mark.parametrize(
    ("listed", "reason"),
    [
        ([SQUARE, TENSOR, {"type": "rotate"}], "stage 2: 'rotate' is not known"),
        ([SQUARE], "has no to_tensor stage"),
        ([TENSOR], "must end in a square"),
        ([{"type": "resize", "size": 448}, TENSOR], "must end in a square"),
        ([{"type": "center_crop", "size": [448, 300]}, TENSOR], "must end in a square"),
        ([SQUARE | {"interpolation": "magic"}, TENSOR], "stages.0.resize.filter: Input should be 'nearest'"),
        ([SQUARE | {"max_size": 9}, TENSOR], "stage 0: max_size is not supported"),
        (
            [{"type": "pad_to_size", "size": 448, "background_color": "octarine"}, TENSOR],
            "'octarine' is no colour",
        ),
        ([SQUARE, TENSOR, {"type": "normalize", "mean": [0.5]}], "mean"),
        ([SQUARE, TENSOR, {"type": "normalize", "mean": [0, 0, 0], "std": [0, 1, 1]}], "std: must not be 0"),
        (["resize"], "must list its stages"),
    ],
)
def test_a_preprocess_json_that_cannot_be_followed(tmp_path: Path, listed: list[object], reason: str) -> None:
    with pytest.raises(StartupFailed, match=reason) as caught:
        stages(tmp_path, *listed)
    assert str(tmp_path / "preprocess.json") in caught.value.message
    assert "\n" not in caught.value.message


# --- thresholds ---


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", "category,name,alpha,threshold\n0,general,1.0,0.4\n4,Character,1.0,0.6\n5,meta,1,0.2\n"),
        ("t.json", '{"general": 0.4, "character": 0.6}'),
        ("t.json", '[{"name": "general", "threshold": 0.4}, {"name": "character", "threshold": 0.6}]'),
    ],
)
def test_thresholds_of_the_categories(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    assert read_thresholds(tmp_path / name, {"general", "character"}) == {"general": 0.4, "character": 0.6}


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("t.csv", "name\ngeneral\n", "must give a name and a threshold"),
        ("t.json", '{"general": "high"}', "must give a name and a threshold"),
        ("t.json", '{"general": 35}', "must hold a threshold of 0 to 1 for general"),
        ("t.json", '{"meta": 0.5}', "must hold a threshold of 0 to 1 for general"),
        ("t.json", "{", "is not JSON"),
    ],
)
def test_thresholds_that_are_none(tmp_path: Path, name: str, content: str, reason: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(StartupFailed, match=reason):
        read_thresholds(tmp_path / name, {"general"})
    with pytest.raises(StartupFailed, match="cannot read"):
        read_thresholds(tmp_path / "none.csv", {"general"})


BEST = LabelSpec(threshold="best_threshold")


def test_thresholds_of_single_labels_where_the_author_gives_them(tmp_path: Path) -> None:
    path = written(tmp_path, "name,category,best_threshold\nsky,0,0.41\nsea,0,\nmiku,4,0.6\n")
    assert read_label_file(path, BEST).thresholds == {
        Label("sky", "general"): 0.41,
        Label("miku", "character"): 0.6,
    }
    path = written(tmp_path, "name,category\nsky,0\n")
    assert read_label_file(path, BEST).thresholds == {}, "not every export has the column"


@pytest.mark.parametrize("value", ["high", "1.5", "nan", "-0.1"])
def test_a_threshold_that_is_none(value: str, tmp_path: Path) -> None:
    with pytest.raises(StartupFailed, match=f"line 2: the threshold '{value}' is no number from 0 to 1"):
        read_label_file(written(tmp_path, f"name,category,best_threshold\nsky,0,{value}\n"), BEST)
