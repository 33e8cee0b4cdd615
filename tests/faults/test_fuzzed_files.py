"""Files that come from elsewhere - labels, manifests, a model's graph, settings - in every state of disrepair.

Each reader may answer, or refuse with the one error that names the file; nothing else may come out of it.
"""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotagger.config import load_settings
from autotagger.errors import BadConfig, Fatal, StartupFailed
from autotagger.settings import leaves
from autotagger.tagger.catalog import SHIPPED
from autotagger.tagger.labels import read_label_file
from autotagger.tagger.manifest import LabelSpec, parse_manifest
from autotagger.tagger.onnxfile import external_files, read_signature

#: Hypothesis counts time on a machine that is shared; what is judged here is what comes out.
QUICK = settings(max_examples=80)
ODD_TEXT = st.text(st.characters(codec="utf-8") | st.sampled_from('\x00\x1b\u202e\ufeff\r\n",;[]{}'), max_size=30)
CATEGORIES = {"0": "general", "general": "general", "rating:": "rating"}
ANYTHING: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ODD_TEXT | st.sampled_from(["a", "0", "general"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["0", "1", "tag", "category", "a"]) | ODD_TEXT, inner, max_size=4)
    ),
    max_leaves=8,
)
FORMATS = ["wd-csv", "lines", "tag-mapping", "camie"]


@contextmanager
def file_of(content: bytes, name: str = "file") -> Iterator[Path]:
    """Hypothesis runs a test many times: each needs a file of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        yield path


@contextmanager
def or_refused(kind: type[Fatal], name: str) -> Iterator[None]:
    """Done to its end, or refused with this error, whose line holds `name`."""
    line = name
    try:
        yield
    except kind as error:
        line = error.message
    assert name in line


def labels_or_refusal(content: bytes, layout: str, series: str | None = None) -> None:
    spec = LabelSpec.model_validate({"format": layout, "categories": CATEGORIES, "series": series})
    with file_of(content) as path, or_refused(StartupFailed, str(path)):
        found = read_label_file(path, spec)
        names = [label.name for label in found.labels]
        assert all(names)
        "".join(names).encode()
        assert len(set(found.labels)) == len(found.labels)
        assert {label.category for label in found.labels} <= set(CATEGORIES.values())


@QUICK
@given(content=st.binary(max_size=200), layout=st.sampled_from(FORMATS))
def test_any_bytes_as_a_label_file(content: bytes, layout: str) -> None:
    labels_or_refusal(content, layout)


@QUICK
@given(
    rows=st.lists(
        st.lists(ODD_TEXT | st.sampled_from(["0", "a", '["x"]', "[", "1" * 5000]), max_size=5), max_size=5
    ),
    header=st.sampled_from(
        ["name,category", "\ufeffname,category\r", "category,name,ips", "name", "name,name,category"]
    ),
    series=st.sampled_from([None, "ips"]),
)
def test_any_rows_below_the_columns_of_a_csv(rows: list[list[str]], header: str, series: str | None) -> None:
    text = "\n".join([header, *(",".join(row) for row in rows)])
    labels_or_refusal(text.encode(), "wd-csv", series)


@QUICK
@given(entries=st.dictionaries(st.sampled_from("0123"), ANYTHING), other=ANYTHING, layout=st.sampled_from(FORMATS))
def test_any_json_as_a_label_file(entries: dict[str, Any], other: Any, layout: str) -> None:
    labels_or_refusal(json.dumps(entries).encode(), layout)
    labels_or_refusal(json.dumps({"idx_to_tag": entries, "tag_to_category": other}).encode(), layout)
    labels_or_refusal(json.dumps({"dataset_info": {"tag_mapping": other}}).encode(), layout)


@pytest.mark.parametrize("layout", FORMATS)
@pytest.mark.parametrize(
    "content",
    [
        b"[" * 100_000,
        b'{"0": {"tag": "a", "category": ' + b"1" * 5000 + b"}}",
        b'{"0": {"tag": "\\ud800", "category": "0"}}',
        b"name,category,ips\na,0," + b"[" * 20_000,
        b"name,category\n" + b"a" * 200_000 + b",0\n",
        b'{"idx_to_tag": {"0": ["a"]}, "tag_to_category": {"a": "0"}}',
        b"\xef\xbb\xbf",
        b"\xff\xfea\x00",
    ],
    ids=[
        "brackets",
        "digits",
        "half a character",
        "series",
        "a long field",
        "a list as a name",
        "a mark",
        "UTF-16",
    ],
)
def test_what_once_got_out_of_a_label_parser(content: bytes, layout: str) -> None:
    labels_or_refusal(content, layout, "ips" if b"ips" in content else None)


@QUICK
@given(
    st.text(st.characters(codec="utf-8"), max_size=80) | st.sampled_from(["a=" + "[" * 5000, "size=" + "9" * 5000])
)
def test_any_text_as_a_manifest(text: str) -> None:
    with or_refused(StartupFailed, "manifest.toml"):
        parse_manifest(text, Path("manifest.toml"))


@QUICK
@given(
    places=st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), max_size=12), length=st.integers(0, 9000)
)
def test_any_damage_to_a_model_s_graph(places: list[tuple[int, int]], length: int) -> None:
    graph = bytearray((SHIPPED["palette"] / "model.onnx").read_bytes())
    for place, value in places:
        graph[place % len(graph)] = value
    with file_of(bytes(graph[:length]), "model.onnx") as path, or_refused(StartupFailed, str(path)):
        outside = [each for each in external_files(path, read_signature(path)) if path.parent not in each.parents]
        assert outside == [], "weights are only ever read from the model's own folder"


def refused_or_settings(text: str, **environ: str) -> None:
    with file_of(text.encode("utf-8", "surrogateescape"), "config.toml") as path, or_refused(BadConfig, ""):
        load_settings(environ={"AUTOTAGGER_CONFIG": str(path), **environ})


@QUICK
@given(st.text(st.characters(codec="utf-8"), max_size=100))
def test_any_text_as_a_configuration(text: str) -> None:
    refused_or_settings(text)


TOML_VALUES = st.sampled_from(
    [
        *(
            '""',
            '"x"',
            '"\\u0000"',
            '"\\u001b[31m"',
            '"~nobody-of-that-name/x"',
            '"regex:("',
            '"regex:' + "(" * 3000 + '"',
        ),
        *(
            "-1",
            "0",
            "1e999",
            "nan",
            "-inf",
            "9" * 30,
            "9" * 5000,
            "true",
            "1979-05-27",
            "[]",
            "[[]]",
            '["regex:["]',
        ),
        *("{}", '{a = "{name"}', '{rating = "{}"}', "{general = 2}", '{a = ["b", 1]}', "[" * 5000),
    ]
)


@QUICK
@given(st.lists(st.tuples(st.sampled_from(sorted(leaves())), TOML_VALUES), min_size=1, max_size=4))
def test_any_value_for_any_key(chosen: list[tuple[tuple[str, ...], str]]) -> None:
    refused_or_settings("\n".join(f"{'.'.join(path)} = {value}" for path, value in dict(chosen).items()))


@QUICK
@given(
    path=st.sampled_from(sorted(leaves())),
    value=st.sampled_from(
        ["", "x", "-1", "nan", "[", "{", '{"a": ' + "[" * 5000, "9" * 5000, "\x1b[31m", ",,", "\udcff"]
    ),
)
def test_any_value_for_any_variable(path: tuple[str, ...], value: str) -> None:
    refused_or_settings("", **{"AUTOTAGGER_" + "_".join(path).upper(): value})


def misspelt(key: str) -> Iterator[str]:
    yield key[:-1]
    yield key + "s"
    yield key.replace("_", "-") if "_" in key else key.upper()
    yield key[1] + key[0] + key[2:]


@pytest.mark.parametrize("path", [path for path in leaves() if len(path) == 2 and len(path[1]) > 3], ids=".".join)
def test_every_misspelt_key_is_answered_with_the_right_one(path: tuple[str, ...]) -> None:
    section, key = path
    known = {leaf[-1] for leaf in leaves()}
    for typo in misspelt(key):
        if typo in known:
            continue
        with (
            file_of(f"[{section}]\n{typo} = 1\n".encode(), "config.toml") as file,
            pytest.raises(BadConfig) as caught,
        ):
            load_settings(environ={"AUTOTAGGER_CONFIG": str(file)})
        assert f"did you mean [{section}] {key}?" in caught.value.message, typo
