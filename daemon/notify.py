"""What the service tells systemd: sd_notify(3). Writes to one datagram socket, or to nobody where there is none.

The protocol is a line of text for each fact, so this is all of it; a library would do no more.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from dataclasses import dataclass, field


@dataclass(slots=True)
class Notifier:
    """Tells the service manager how the service is."""

    address: str = ""
    """A path, or "@name" of an abstract socket; "": nobody listens."""
    watchdog: float = 0.0
    """Seconds within which the manager wants to hear WATCHDOG=1; 0: it does not."""
    _status: str = field(default="", init=False)

    def ready(self) -> None:
        """It runs; after `reloading`, the reload is over."""
        self._tell("READY=1")

    def reloading(self, monotonic: float) -> None:
        """`monotonic`: seconds of CLOCK_MONOTONIC. A manager of Type=notify-reload takes a message without it for an
        old one and waits on."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={int(monotonic * 1e6)}")

    def stopping(self, seconds: float) -> None:
        """It ends within `seconds`, however little the unit grants; asked for again where that is not yet over."""
        self._tell("STOPPING=1", f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")

    def status(self, text: str) -> None:
        """One line for `systemctl status`; nothing is sent where it has not changed."""
        line = " ".join(text.split())
        if line != self._status:
            self._status = line
            self._tell(f"STATUS={line}")

    def alive(self) -> None:
        if self.watchdog:
            self._tell("WATCHDOG=1")

    def _tell(self, *lines: str) -> None:
        if not self.address:
            return
        address = "\0" + self.address[1:] if self.address.startswith("@") else self.address
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.settimeout(1.0)  # a manager that is stuck must not stop us
            channel.sendto("\n".join(lines).encode(), address)
