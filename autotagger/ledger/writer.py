"""The ledger as the one process that writes it has it: every question, and every change."""

from autotagger.ledger.calls import CallsWriter
from autotagger.ledger.imports import ImportsWriter
from autotagger.ledger.losses import LossesWriter
from autotagger.ledger.reader import LedgerReader
from autotagger.ledger.runs import RunsWriter
from autotagger.ledger.scores import ScoresWriter
from autotagger.ledger.selecting import SelectingWriter
from autotagger.ledger.strangers import StrangersWriter


class LedgerWriter(
    SelectingWriter,
    ImportsWriter,
    ScoresWriter,
    StrangersWriter,
    LossesWriter,
    CallsWriter,
    RunsWriter,
    LedgerReader,
):
    """Every change of the ledger. There is one writer: it holds the `LedgerLock`."""
