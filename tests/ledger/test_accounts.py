"""Several accounts in one ledger: each sees its own work, and identical pictures are scored once."""

from pathlib import Path

import pytest

from autotagger.ledger.rows import ListedAsset
from autotagger.ledger.states import Probe, State
from autotagger.ledger.writer import LedgerWriter
from tests.ledger.test_store import ME, NOW, a_model, listed

PARTNER = "partner"


def twins(count: int = 2, *, looks: str | None = "h", library: str = "") -> list[ListedAsset]:
    return [
        ListedAsset(**{field: getattr(asset, field) for field in ListedAsset.__slots__} | {"thumbhash": looks})
        for asset in listed(count, library=library)
    ]


def test_an_account_sees_its_own_assets_and_no_others(tmp_path: Path) -> None:
    with LedgerWriter(tmp_path / "l") as ledger:
        mine = ledger.of_account(ledger.register_account("me", ME))
        theirs = ledger.of_account(ledger.register_account("partner", PARTNER))
        ours, other = listed(2), listed(1, owner=PARTNER)
        mine.add_listed(ours)
        theirs.add_listed(other)
        assert [row.owner_id for row in theirs.collections()] == [PARTNER]
        assert {work.asset_id for work in ledger.due(NOW, 9, [theirs.account])} == {other[0].asset_id}
        ledger.record_scores(a_model(ledger), [(asset.asset_id, b"s") for asset in (*ours, *other)])
        for collection in ledger.collections():
            ledger.open_collection(collection.id, NOW)
        assert {row.asset_id for row in mine.scored(9)} == {asset.asset_id for asset in ours}
        mine.record_known("sky", [], ours=True)
        assert "sky" not in theirs.known_tags()
        counts = ledger.account_counts()
        assert (counts["me"][State.SCORED], counts["partner"][State.SCORED]) == (2, 1)


def test_a_user_keeps_the_account_whatever_it_is_called(tmp_path: Path) -> None:
    with LedgerWriter(tmp_path / "l") as ledger:
        first = ledger.register_account("default", ME)
        assert ledger.register_account("anna", ME) == first
        other = ledger.register_account("ben", PARTNER)
        assert (ledger.register_account("ben", ME), ledger.register_account("anna", PARTNER)) == (first, other)


def test_what_a_partner_s_key_could_not_tag_its_owner_s_takes_up(tmp_path: Path) -> None:
    with LedgerWriter(tmp_path / "l") as ledger:
        only = ledger.of_account(ledger.register_account("default", None))
        shared = listed(1, owner=PARTNER)
        only.add_listed([*listed(1), *shared])
        for row in ledger.collections():
            decide = ledger.open_collection if row.owner_id == ME else None
            if decide:
                decide(row.id, NOW)
            else:
                ledger.close_collection(row.id, "not ours", NOW)
        assert ledger.register_account("me", ME) == only.account, "its key tagged this user's assets"
        theirs = ledger.of_account(ledger.register_account("partner", PARTNER))
        assert theirs.collections()[0].state is Probe.UNTRIED
        assert [work.asset_id for work in ledger.due(NOW, 9, [theirs.account])] == [shared[0].asset_id]


@pytest.mark.parametrize(
    ("looks", "other", "library", "copied"),
    [("h", "h", "", True), ("h", None, "", True), ("h", "x", "", False), ("h", None, "L", False)],
)
def test_identical_pictures_share_their_scores(
    looks: str, other: str | None, library: str, copied: bool, tmp_path: Path
) -> None:
    with LedgerWriter(tmp_path / "l") as ledger:
        [first], [second] = twins(1, looks=looks), twins(1, looks=other, library=library)
        ledger.add_listed([first, second])
        model = a_model(ledger)
        assert ledger.twin_scores([second.asset_id], model) == {}
        ledger.record_scores(model, [(first.asset_id, b"scores")])
        found = ledger.twin_scores([second.asset_id], model)
        assert found == ({second.asset_id: b"scores"} if copied else {})
        assert ledger.twin_scores([second.asset_id], a_model(ledger, "another")) == {}
