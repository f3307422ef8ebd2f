"""Sends spans beside the work: it never waits for a collector, and loses spans rather than time."""

import atexit
from collections import deque
from collections.abc import Sequence
from threading import Event, Lock, Thread

import structlog
from django.db import Error

from jobs_app.db.connections import close_connections
from jobs_app.db.faults import fault_line
from jobs_app.printable import one_line
from requests_app.monitoring.spans import NotSent, Spans

log = structlog.stdlib.get_logger(__name__)

_MOST_WAITING = 20_000  # attempts and requests whose spans are not sent yet; the oldest of more are dropped
_BATCH = 500
_GATHER_SECONDS = 1.0  # from one look at what has ended to the next
_FLUSH_SECONDS = 3.0  # that the end of a process waits for its last spans


class SpanSender:
    """Notes what has ended; a thread of its own, and of its own connection, makes the spans and sends them.

    When spans are lost, for whatever reason, the log says so once, and again only after sending has succeeded.
    """

    def __init__(self) -> None:
        self._waiting: deque[tuple[bool, int]] = deque(maxlen=_MOST_WAITING)  # whether it is a request, and its id
        self._spans = Spans()  # here: OpenTelemetry starts threads for it, which a process that ends refuses
        self._thread: Thread | None = None
        self._lock = Lock()
        self._closing = Event()
        self._is_failing = False

    def note(self, attempts: Sequence[int], requests: Sequence[int]) -> None:
        """Their rows are committed."""
        if len(self._waiting) + len(attempts) + len(requests) > _MOST_WAITING:
            self._log_lost(f"more than {_MOST_WAITING} wait to be sent")
        self._waiting.extend((False, id_) for id_ in attempts)
        self._waiting.extend((True, id_) for id_ in requests)
        if self._thread is None:
            self._start()

    def close(self) -> None:
        """Sends what waits, as far as it goes within _FLUSH_SECONDS."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join(_FLUSH_SECONDS)
            if self._thread.is_alive():
                self._log_lost(f"the collector took them not within {_FLUSH_SECONDS:g} seconds of this process's end")

    def _start(self) -> None:
        """By the first thread that has something to send, so that a process that forks at its start has it after."""
        with self._lock:
            if self._thread is None:
                self._thread = Thread(target=self._work, name="spans", daemon=True)
                self._thread.start()
                atexit.register(self.close)

    def _work(self) -> None:
        while not self._closing.wait(_GATHER_SECONDS):
            self._send_waiting()
        self._send_waiting()

    def _send_waiting(self) -> None:
        while batch := self._next_batch():
            try:
                self._send(batch)
            except Exception as error:  # noqa: BLE001 - whatever it is, it must end nothing
                self._log_lost(_line(error))
                close_connections()
                if self._closing.is_set():
                    return  # a collector that is away would be away for the next batch
            else:
                self._is_failing = False
        close_connections()

    def _next_batch(self) -> list[tuple[bool, int]]:
        return [self._waiting.popleft() for _ in range(min(_BATCH, len(self._waiting)))]

    def _send(self, batch: list[tuple[bool, int]]) -> None:
        ids: dict[bool, list[int]] = {False: [], True: []}
        for is_request, id_ in batch:
            ids[is_request].append(id_)
        self._spans.send(ids[False], ids[True])

    def _log_lost(self, fault: str) -> None:
        if not self._is_failing:
            self._is_failing = True
            log.warning("spans_lost", fault=fault)


def _line(error: Exception) -> str:
    """Of an unexpected error only its kind: its text may quote a row."""
    match error:
        case Error():
            return fault_line(error)
        case NotSent():
            return one_line(str(error))
    return type(error).__name__
