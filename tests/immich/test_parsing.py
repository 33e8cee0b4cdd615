from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotagger.immich import parsing
from autotagger.immich.parsing import BadAnswer
from autotagger.immich.types import ServerVersion, Tag, settled
from tests.immich.support import ASSET, OWNER, item, page_of, uuid

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@pytest.mark.parametrize(
    ("text", "moment_ms"),
    [
        ("2026-11-22T15:24:58.587Z", 1795361098587),
        ("2026-11-22T14:41:16.34834+00:00", 1795358476348),
        ("2026-11-22T15:41:16.34834+01:00", 1795358476348),
        ("2026-11-22T14:41:16.348999+00:00", 1795358476348),
        ("2026-11-22T14:41:16", 1795358476000),
        ("1969-12-31T23:59:59.9995Z", -1),
    ],
)
def test_times(text: str, moment_ms: int) -> None:
    assert parsing.iso_ms(text) == moment_ms


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01T00:00:00Z", "0001-01-01T00:00:00+23:00x"])
def test_no_times(text: str) -> None:
    with pytest.raises(BadAnswer):
        parsing.iso_ms(text)


@given(st.datetimes(timezones=st.just(UTC)))
def test_times_round_trip_to_the_millisecond(moment: datetime) -> None:
    moment_ms = parsing.iso_ms(moment.isoformat())
    assert parsing.iso_ms(parsing.ms_iso(moment_ms)) == moment_ms


def test_the_date_header_has_whole_seconds() -> None:
    assert parsing.http_date_ms("Sun, 22 Nov 2026 15:24:58 GMT") == 1795361098000
    for beyond in ("soon", "Fri, 31 Dec 9999 23:59:59 GMT", "Sun, 99 Foo 1 x"):
        assert parsing.http_date_ms(beyond) is None
    assert parsing.http_date_ms(None) is None


@pytest.mark.parametrize(
    "beyond", ["9999-12-31T23:59:59.999Z", "0001-01-01T00:00:00.000Z", "2200-01-01T00:00:00Z"]
)
def test_times_beyond_sense_are_no_times(beyond: str) -> None:
    [tag] = parsing.tags([{"id": uuid(1), "value": "sky", "updatedAt": beyond}])
    assert tag.updated_ms == 0
    for name in ("createdAt", "updatedAt"):
        with pytest.raises(parsing.BadAnswer, match="out of range"):
            parsing.asset(item(1, **{name: beyond}))


def test_settled_means_changed_since_the_call() -> None:
    answered_ms = 1795361098000
    assert not settled(5, 5, 0)
    assert not settled(answered_ms - 9000, answered_ms - 1, answered_ms)
    assert settled(answered_ms - 9000, answered_ms, answered_ms)
    assert settled(answered_ms - 9000, answered_ms + 250, answered_ms)
    assert not settled(answered_ms + 250, answered_ms + 250, answered_ms)


def test_an_asset_as_immich_sends_it() -> None:
    asset = parsing.asset(item(7, libraryId=ASSET, isTrashed=True, updatedAt="2026-11-22T15:24:58.587Z", new="?"))
    assert (asset.id, asset.owner_id, asset.library_id) == (uuid(7), OWNER, ASSET)
    assert (asset.kind, asset.visibility, asset.mime) == ("IMAGE", "timeline", "image/jpeg")
    assert asset.file_name == "7.jpg"
    assert asset.updated_ms == 1795361098587
    assert asset.trashed


@pytest.mark.parametrize("name", ["id", "ownerId", "type", "visibility", "updatedAt"])
def test_what_we_decide_by_must_be_there(name: str) -> None:
    broken: Any
    for broken in (None, 5, []):
        with pytest.raises(BadAnswer):
            parsing.asset(item(1) | {name: broken})


@pytest.mark.parametrize("name", ["libraryId", "originalMimeType", "thumbhash", "checksum", "originalFileName"])
def test_the_rest_may_be_missing_or_odd(name: str) -> None:
    odd: Any
    for odd in (None, 5, {}):
        assert parsing.asset(item(1) | {name: odd}).id == uuid(1)


@pytest.mark.parametrize(
    "raw",
    [
        "00000000-0000-1000-8000-000000000000",  # version 1: one of these in a call and all of it is a 400
        "00000000-0000-4000-c000-000000000000",
        "../../admin",
        f"{ASSET}\n",
        f"{ASSET}/..",
        "\u0660" * 8 + "-0000-4000-8000-000000000000",
        "",
        None,
        5,
    ],
)
def test_what_is_no_id(raw: Any) -> None:
    with pytest.raises(BadAnswer):
        parsing.checked_id(raw)


def test_a_page_leaves_out_what_makes_no_sense_and_counts_it() -> None:
    broken: list[Any] = [None, "x", {}, item(3, id="nonsense"), item(4, type="AUDIO"), item(5, updatedAt="soon")]
    page = parsing.page(page_of([item(1), *broken, item(2), item(1)], nextPage="2"))
    assert [asset.id for asset in page.assets] == [uuid(1), uuid(2)]
    assert page.unreadable == len(broken)
    assert page.next_page == 2
    assert page.next_cursor is None


@pytest.mark.parametrize("next_page", ["", "two", "0", -1, 1.5, True, ["2"], "²"])
def test_a_next_page_that_is_none_is_no_silent_end(next_page: Any) -> None:
    with pytest.raises(BadAnswer):
        parsing.page(page_of([], nextPage=next_page))


def test_a_tag_that_cannot_be_read_is_left_out_of_a_list_but_not_of_an_asset() -> None:
    tag = {"id": ASSET, "value": "a/b", "name": "b"}
    assert parsing.tags([tag, {"id": "x", "value": "c"}, None, {"id": ASSET}]) == [Tag(ASSET, "a/b")]
    assert parsing.tagged_asset(item(1, tags=[tag])).tags == {"a/b"}
    broken: list[Any] = [[tag, {"id": ASSET}], None, {}]
    for tags in broken:
        with pytest.raises(BadAnswer):
            parsing.tagged_asset(item(1, tags=tags))


def test_versions_are_ordered() -> None:
    assert parsing.version({"major": 3, "minor": 0, "patch": 3, "prerelease": None}) == ServerVersion(3, 0, 3)
    assert ServerVersion(2, 7, 0) < ServerVersion(2, 10, 0) < ServerVersion(3, 0, 0)
    with pytest.raises(BadAnswer):
        parsing.version({"major": "3", "minor": 0, "patch": 3})


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"message": "Invalid API key"}, "Invalid API key"),
        ({"message": ["size must not be greater than 1000", "page is odd"], "statusCode": 400},
         "size must not be greater than 1000: page is odd"),
        ({"message": "Validation failed", "errors": [{"path": ["assetIds", 0], "message": "Invalid UUID"}, 5]},
         "Validation failed: assetIds.0: Invalid UUID"),
        ({"message": "two\nlines"}, "two lines"),
        ({"message": "x" * 5000}, "x" * 300),
        ({"message": None}, ""),
        ({"error": "Bad Gateway"}, ""),
        (["?"], ""),
    ],
)  # fmt: skip
def test_both_error_formats(body: Any, said: str) -> None:
    assert parsing.problem(orjson.dumps(body)) == said


def test_html_is_no_error_of_immich() -> None:
    assert parsing.problem(b"<html><body>502 Bad Gateway") == ""
    with pytest.raises(BadAnswer, match="web page"):
        parsing.decode(b"\n <!DOCTYPE html>")
    with pytest.raises(BadAnswer, match="JSON"):
        parsing.decode(b'{"major":')


@given(ANYTHING)
def test_nothing_but_a_bad_answer_comes_of_hostile_json(raw: Any) -> None:
    readers = (parsing.page, parsing.asset, parsing.tagged_asset, parsing.tags, parsing.version, parsing.total)
    for read in (*readers, parsing.permissions, parsing.user_id, parsing.count):
        for answer in (raw, {"assets": raw}, {"assets": {"items": raw}}, [raw], item(1) | {"tags": raw}):
            try:
                read(answer)
            except BadAnswer:
                continue


@given(st.dictionaries(st.sampled_from(sorted(item(1))), ANYTHING))
def test_one_hostile_item_never_costs_the_page(fields: dict[str, Any]) -> None:
    page = parsing.page(page_of([item(1), item(2) | fields]))
    assert page.assets[0].id == uuid(1)
    assert len({asset.id for asset in page.assets}) + page.unreadable in (1, 2)


@pytest.mark.parametrize(
    ("said", "duration"),
    [
        ("0:00:00.00000", None),
        ("00:00:07.000", 7000),
        ("1:02:03.50000", 3_723_500),
        (7000, 7000),
        (0, None),
        (None, None),
        (True, None),
        (-5, None),
        ("soon", None),
    ],
)
def test_durations_of_every_version(said: object, duration: int | None) -> None:
    assert parsing.duration_ms(said) == duration
