"""Every question to the ledger and every change of it. One writer; any number of readers.

All times are epoch milliseconds; `now_ms` is our clock and comes from the caller. Each part of the store is a
module of its own, in the order of a picture's way.
"""

from autotagger.ledger.inspecting import Inspecting
from autotagger.ledger.listing import Listing
from autotagger.ledger.proof import Proof
from autotagger.ledger.rebuilding import Rebuilding
from autotagger.ledger.reports import Reports
from autotagger.ledger.retrying import Retrying
from autotagger.ledger.runs import Runs
from autotagger.ledger.scoring import Scoring
from autotagger.ledger.watching import Watching


class Ledger(Runs, Listing, Scoring, Retrying, Watching, Proof, Reports, Inspecting, Rebuilding):
    """The open ledger: what all parts of the store can do, on one file."""
