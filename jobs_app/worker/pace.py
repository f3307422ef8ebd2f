"""How fast jobs end here, and so how many to hold: enough to keep busy, and no more than is recorded soon."""

import math
import time
from threading import Lock

_LEAST_SECONDS = 0.03  # over which a pace is taken
_STEADY_SECONDS = 0.1  # ends are recorded by hundreds: a pace that follows each batch keeps too few or too many waiting
_LITTLE = 1000.0  # jobs per second: a pace that says little of what comes when work comes


class Pace:
    """Jobs that end per second, of late. May be asked from several threads."""

    def __init__(self) -> None:
        self._per_second = 0.0
        self._taken_at, self._ended = time.monotonic(), 0
        self._lock = Lock()

    def per_second(self, ended: int) -> float:
        """`ended`: jobs so far. Comes near to what it is now, in 0.1 s by two thirds; from next to nothing, at once."""
        with self._lock:
            now = time.monotonic()
            if (seconds := now - self._taken_at) >= _LEAST_SECONDS:
                was, now_is = self._per_second, (ended - self._ended) / seconds
                share = 1.0 if was < _LITTLE else 1.0 - math.exp(-seconds / _STEADY_SECONDS)
                self._per_second = was + share * (now_is - was)
                self._taken_at, self._ended = now, ended
            return self._per_second
