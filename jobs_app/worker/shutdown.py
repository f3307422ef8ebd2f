"""When a run has to end: a signal, its seconds, or its limit of rows."""

import os
import signal
import time
from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stop:
    """The end of a run: asked for by SIGTERM or SIGINT, or by its budget of seconds. A second signal ends at once.

    The handler only sets attributes: anything that locks could deadlock with the main thread that it interrupts.
    """

    def __init__(self, max_seconds: float | None = None) -> None:
        self.signalled = False
        self._ends_at = None if max_seconds is None else time.monotonic() + max_seconds

    def __bool__(self) -> bool:
        return self.signalled or (self._ends_at is not None and time.monotonic() >= self._ends_at)

    def listen(self) -> None:
        """From now on the signals set this. To be called from the main thread."""
        for number in _SIGNALS:
            signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.signalled:
            os._exit(128 + number)  # leases hand the rest back
        self.signalled = True


def ignore_signals() -> None:
    """Of a process that has done its work: Python's own end would give them back their deadly default."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
