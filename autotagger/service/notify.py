"""What a service of Type=notify tells systemd: one datagram a message, to the socket that it names.

The protocol is sd_notify(3): lines of NAME=value. Nothing comes back, and nobody may be listening.
"""

import os
import socket
from collections.abc import MutableMapping
from typing import Self

from loguru import logger


class Notifier:
    """The way to systemd, or to nobody. `watchdog_s`: how often it wants to hear WATCHDOG=1 at the least."""

    def __init__(self, address: str = "", watchdog_s: float | None = None) -> None:
        self.watchdog_s = watchdog_s
        # A name that begins with @ has no place in the file system: unix(7), abstract.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._failed = False

    @classmethod
    def take_from(cls, environ: MutableMapping[str, str]) -> Self:
        """As the environment says; what is meant for this process alone is removed, so no child inherits it."""
        address = environ.pop("NOTIFY_SOCKET", "")
        watchdog_us = environ.pop("WATCHDOG_USEC", "")
        meant_for = environ.pop("WATCHDOG_PID", "")
        is_ours = not meant_for or meant_for == str(os.getpid())
        wanted = address and is_ours and watchdog_us.isdecimal() and int(watchdog_us) > 0
        return cls(address, int(watchdog_us) / 1e6 if wanted else None)

    def __bool__(self) -> bool:
        return bool(self._address)

    def send(self, **assignments: object) -> None:
        """Tell `READY=1`, `STATUS=...`. A socket that is gone is logged once and never in the way."""
        if not self:
            return
        lines = [f"{name}={' '.join(str(value).splitlines())}" for name, value in assignments.items()]
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as end:
                # Never wait: a systemd that does not read must not stop the work.
                end.sendto("\n".join(lines).encode(), socket.MSG_DONTWAIT, self._address)
        except OSError as error:
            if not self._failed:
                logger.warning("cannot send the status to systemd: {}", error.strerror or error)
            self._failed = True
