"""The listing: the fetcher lists what is due, and the writer holds still while it must."""

from autotagger.ledger.store import Ledger
from autotagger.pipeline.ipc import messages as m
from autotagger.pipeline.supervisor.processes import Crew
from autotagger.pipeline.supervisor.schedule import Clockwork


class Listing:
    """Has the crew do what the clockwork says; nobody is told anything before fetcher and writer are ready."""

    def __init__(self, crew: Crew, clockwork: Clockwork, ledger: Ledger) -> None:
        self._crew = crew
        self._clockwork = clockwork
        self._ledger = ledger
        self._held = False

    def go_on(self) -> None:
        """Begin what is due, and have the writer hold or go on."""
        if not (self._crew.writer.ready and self._crew.fetcher.ready):
            return
        order = self._clockwork.next_order(self._ledger.next_sweep)
        if self._held != self._clockwork.holds:
            self._held = self._clockwork.holds
            self._crew.writer.send(m.Hold(on=self._held))
        if order:
            self._crew.fetcher.send(order)

    def done(self, end: m.Swept | m.Polled) -> None:
        """The listing is in the ledger."""
        self._clockwork.done(end)
        self.go_on()

    def failed(self) -> None:
        """Immich was not there: again in a while."""
        self._clockwork.failed()
        self.go_on()

    def fetcher_is_new(self) -> None:
        """What the last one was listing is listed again."""
        self._clockwork.interrupted()
        self.go_on()

    def writer_is_new(self) -> None:
        """What the last one had not noted is listed again; the new one has not been told to hold."""
        self._held = False
        self._clockwork.interrupted()
        self.go_on()
