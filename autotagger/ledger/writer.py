"""The ledger as the one process that writes it has it: every question, and every change."""

from autotagger.ledger.calls import CallsWriter
from autotagger.ledger.reader import LedgerReader
from autotagger.ledger.runs import RunsWriter
from autotagger.ledger.scores import ScoresWriter
from autotagger.ledger.selecting import SelectingWriter


class LedgerWriter(SelectingWriter, ScoresWriter, CallsWriter, RunsWriter, LedgerReader):
    """Every change of the ledger. There is one writer: it holds the `LedgerLock`."""
