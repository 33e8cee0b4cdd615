"""The ledger for those who only read it: the file is open for reading, and no method changes anything.

All times are epoch milliseconds; `now_ms` is our clock and comes from the caller.
"""

from autotagger.ledger.accounts import AccountsReader
from autotagger.ledger.assets import AssetsReader
from autotagger.ledger.calls import CallsReader
from autotagger.ledger.imports import ImportsReader
from autotagger.ledger.losses import LossesReader
from autotagger.ledger.reports import ReportsReader
from autotagger.ledger.runs import RunsReader
from autotagger.ledger.scores import ScoresReader
from autotagger.ledger.selecting import SelectingReader
from autotagger.ledger.strangers import StrangersReader


class LedgerReader(
    SelectingReader,
    AssetsReader,
    ScoresReader,
    StrangersReader,
    LossesReader,
    CallsReader,
    RunsReader,
    AccountsReader,
    ImportsReader,
    ReportsReader,
):
    """Every question to the ledger. Any number of readers; a run may write meanwhile."""
