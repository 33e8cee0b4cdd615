"""The mailbox: a request is there whole, until it is carried out, whatever dies."""

import errno
from pathlib import Path

import pytest

from autotagger.pipeline.control.mailbox import FOLDER, MAX_BYTES, Mailbox


def test_requests_are_handed_out_once_and_oldest_first(tmp_path: Path) -> None:
    posted = [Mailbox(tmp_path).post("retry", kind=None, asset_id=str(number)) for number in range(3)]
    mailbox = Mailbox(tmp_path)
    assert mailbox.fresh() == posted
    assert mailbox.fresh() == []
    assert posted[0].wish == {"kind": None, "asset_id": "0"}


def test_a_request_stays_until_it_is_settled_and_is_handed_out_again_when_its_taker_died(tmp_path: Path) -> None:
    request = Mailbox(tmp_path).post("retry")
    mailbox = Mailbox(tmp_path)
    mailbox.fresh()
    mailbox.hand_out_again()
    assert mailbox.fresh() == [request]
    assert Mailbox(tmp_path).fresh() == [request], "the next run finds it too"
    mailbox.settle(request.id)
    mailbox.settle(request.id)
    assert not mailbox.is_waiting(request)
    assert Mailbox(tmp_path).fresh() == []


def test_an_empty_or_missing_folder_holds_no_request(tmp_path: Path) -> None:
    assert Mailbox(tmp_path / "nowhere").fresh() == []


def test_what_makes_no_sense_is_put_aside_and_stops_nobody(tmp_path: Path) -> None:
    mailbox = Mailbox(tmp_path)
    request = mailbox.post("retry")
    for number, body in enumerate((b"{", b"[]", b'{"kind": 1, "wish": {}}', b" " * (MAX_BYTES + 1))):
        (tmp_path / FOLDER / f"0{number}.json").write_bytes(body)
    assert mailbox.fresh() == [request]
    assert len(list((tmp_path / FOLDER).glob("*.bad"))) == 4
    (tmp_path / FOLDER / ".half.json.part").write_bytes(b"{")
    assert mailbox.fresh() == []


def test_a_request_that_cannot_be_read_just_now_is_none_that_makes_no_sense(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mailbox = Mailbox(tmp_path)
    request = mailbox.post("retry")

    def refused(path: Path) -> bytes:
        raise OSError(errno.EMFILE, "Too many open files", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", refused)
        assert mailbox.fresh() == []
    assert mailbox.fresh() == [request]
